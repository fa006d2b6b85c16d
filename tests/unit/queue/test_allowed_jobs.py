"""The allow-list of jobs: write access to Redis does not suffice to run any other function."""

from __future__ import annotations

import inspect

import pytest
from redis import Redis
from rq.serializers import JSONSerializer

from datagen.entrypoints import rq_tasks
from datagen.errors import Refused
from datagen.queue.allowed_jobs import AllowedJob
from datagen.queue.jobs import FUNCTION_NAMES


def job_of(function: str) -> AllowedJob:
    """A job that names a function; the connection is not used."""
    job = AllowedJob.create(function, connection=Redis(), serializer=JSONSerializer)
    assert isinstance(job, AllowedJob)
    return job


@pytest.mark.parametrize("function", sorted(FUNCTION_NAMES))
def test_allowed_job_calls_its_function_with_a_row_id_at_most(function: str) -> None:
    called = job_of(function).func
    assert called is getattr(rq_tasks, function.rpartition(".")[2])
    assert [parameter.annotation for parameter in inspect.signature(called).parameters.values()] in ([], ["int"])


@pytest.mark.parametrize(
    "function",
    [
        "os.system",
        "datagen.entrypoints.rq_tasks",
        "datagen.entrypoints.rq_tasks.services",
        "datagen.entrypoints.rq_tasks.sweep ",
        "sweep",
        "datagen.entrypoints.bootstrap.settings",
    ],
)
def test_function_that_is_not_on_the_list_is_refused(function: str) -> None:
    with pytest.raises(Refused, match="none of Datagen's"):
        assert job_of(function).func
