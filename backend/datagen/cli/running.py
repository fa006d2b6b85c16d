"""Commands that run Datagen's parts: all of them on one machine, or each one alone."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Annotated

import typer

from datagen.cli.admin import migrate
from datagen.cli.console import err, print_error, report_errors
from datagen.entrypoints.bootstrap import engine_settings_of, join_as, services, settings
from datagen.entrypoints.installation import ProcessRole, join_web
from datagen.errors import SettingsProblem

#: Added to the niceness of a worker without a GPU. On a shared machine, Label Studio and the web process (which has one
#: second to answer a webhook) then get the processor first. A worker with a GPU keeps its niceness.
WORKER_NICENESS = 5


def up(
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one a core.")] = None,
) -> None:
    """Run web, workers and scheduler on this machine until Ctrl-C."""
    from datagen.operations.supervisor import commands, supervise
    from datagen.synthesis.engine import needs_gpu

    with report_errors():
        migrate()
        join_as(ProcessRole.WEB)  # once, before several processes need the secrets
        if os.geteuid() == 0:
            err.print("[yellow]Running as root:[/] a fault in a decoder would be root's; use a user of its own.")
        supervise(commands(workers or os.cpu_count() or 1, gpu=needs_gpu(settings().engine)))


def web() -> None:
    """Run the web process (gunicorn) alone."""
    with report_errors():
        chosen = settings()
        join_web(chosen)
    bind = f"{chosen.host}:{chosen.port}"
    arguments = ["--config", "python:datagen.web.gunicorn_config", "--bind", bind]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments, "datagen.web.app:joined_app()"])  # noqa: S606


def worker(
    queue: Annotated[
        list[str] | None,
        typer.Option(help="Serve only this queue; may be repeated. By default all but that of downloads and pushes."),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Render for engines that need a GPU: a process for each.")] = False,
    device: Annotated[str | None, typer.Option(hidden=True, help="The one GPU of this process.")] = None,
) -> None:
    """Run one worker; with --gpu, one for each GPU of this machine."""
    from datagen.operations.parent_watch import stop_on_parent_exit
    from datagen.operations.supervisor import INNER_STOP_SECONDS, gpu_commands, supervise
    from datagen.queue.gpu_availability import log_problems, report_problems
    from datagen.queue.jobs import ALL_QUEUES, GPU, WORKER_QUEUES
    from datagen.queue.worker import GPU_JOBS, run_worker
    from datagen.synthesis.engine import gpu_engine_names, installed_gpus, needs_gpu

    if queue and gpu:
        raise typer.BadParameter("--gpu serves a queue of its own; give either --queue or --gpu")
    if unknown := [name for name in queue or () if name not in ALL_QUEUES]:
        served = f"; “{GPU}” is served by: datagen worker --gpu" if GPU in unknown else ""
        print_error(f"there is no queue named {unknown[0]!r}; there are: {', '.join(ALL_QUEUES)}{served}")
    stop_on_parent_exit()
    with report_errors():
        join_as(ProcessRole.PART, waits=True)
        services()
        if not gpu:
            os.nice(WORKER_NICENESS)
            chosen = settings()
            if not needs_gpu(chosen.engine):  # it is imported now, so that the first preview does not wait for that
                log_problems(engine_settings_of(chosen), chosen.engine, chosen.engine_parameters)
            run_worker(chosen.redis_url, queue or WORKER_QUEUES)
            return
        if device is None:
            supervise(gpu_commands(installed_gpus()), INNER_STOP_SECONDS)
            return
        if device:
            # without its GPU the worker would take work that others can do; the supervisor restarts it for a new check
            if device not in installed_gpus():
                raise SettingsProblem(f"the GPU {device} is gone, or its driver does not answer; see nvidia-smi")
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        chosen = settings()
        engine_settings = engine_settings_of(chosen)
        engines = [chosen.engine] if needs_gpu(chosen.engine) else gpu_engine_names()
        parameters = {engine: log_problems(engine_settings, engine, chosen.engine_parameters) for engine in engines}
        report = partial(report_problems, settings=engine_settings, parameters=parameters)
        run_worker(chosen.redis_url, (GPU,), max_jobs=GPU_JOBS, report=report)


def scheduler() -> None:
    """Run the scheduler of the periodic jobs."""
    from datagen.entrypoints.scheduler import run_scheduler
    from datagen.operations.parent_watch import stop_on_parent_exit

    stop_on_parent_exit()
    with report_errors():
        join_as(ProcessRole.PART, waits=True)
        run_scheduler(settings())
