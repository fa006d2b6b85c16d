"""Starts an installation with all its parts, for tests that disturb some of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datagen.entrypoints import bootstrap
from plant import LEASE_S, RECONCILE_S, SWEEP_S, Plant, queues_of
from stage import label_studio_server, redis_server
from stage.gateway import Gateway
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port
from stage.processes import Processes
from studio import ROUND, end_process, install, settings_of

#: Number of samples in a shard: enough that a worker can be killed while it renders one.
SHARD = 30


@contextmanager
def installation(label_studio: Server, processes: Processes, folder: Path, **settings_of_it: str) -> Iterator[Plant]:
    """Context manager of an installation whose parts all run.

    ``settings_of_it`` are additional environment variables.
    """
    web_port = free_port()
    to_label_studio, to_web = Gateway(label_studio.url), Gateway(f"http://127.0.0.1:{web_port}")
    environment = {
        "LABEL_STUDIO_URL": to_label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "REDIS_URL": redis_server.url_of(free_port(), secrets.token_hex(20)),
        "PORT": str(web_port),
        "DATAGEN_PUBLIC_URL": to_web.url,
        "DATAGEN_DATA_DIR": str(folder / "data"),
        "DATAGEN_SHARD_SIZE": str(SHARD),
        "DATAGEN_PREVIEW_SIZE": str(ROUND),
        "DATAGEN_LEASE_SECONDS": str(LEASE_S),
        "DATAGEN_SWEEP_SECONDS": str(SWEEP_S),
        "DATAGEN_RECONCILE_SECONDS": str(RECONCILE_S),
        "LOG_LEVEL": "INFO",
        **settings_of_it,
    }
    settings = settings_of(environment)
    end_process()
    # what a test does as a person goes to Label Studio directly, whatever is meddled with
    queues = queues_of(settings.redis_url)
    direct = settings.model_copy(update={"label_studio_url": label_studio.url})
    install(direct)
    services = bootstrap.build_services(direct, queues.enqueue)
    plant = Plant(
        server=label_studio,
        settings=settings,
        environment=environment,
        services=services,
        queues=queues,
        processes=processes,
        folder=folder,
        to_label_studio=to_label_studio,
        to_web=to_web,
        owns_label_studio=any(process.name == label_studio_server.NAME for process in processes.noted()),
    )
    plant.ensure_all()
    yield plant
    plant.undisturbed()
    plant.ensure_label_studio()
    for name in plant.opened:
        for project in plant.client.find_projects(name):
            plant.client.delete_project(project.id)
    plant.kill_all()
    for gateway in (to_label_studio, to_web):
        gateway.close()
    plant.client.close()
    services.database.close()
    queues.redis.close()
