"""The queue's server for demo and tests: a password, few commands, and no secret where other users see it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ResponseError
from rq import Queue
from rq.serializers import JSONSerializer

from stage import layout, redis_server
from stage.ports import free_port, is_open
from stage.processes import Processes, StageError

pytestmark = pytest.mark.integration

#: Commands that change the server, run code in it, copy its data elsewhere or delete them.
REFUSED = (
    "ACL LIST",
    "BGSAVE",
    "CLIENT KILL ID 1",
    "CLIENT PAUSE 1",
    "CLUSTER INFO",
    "CONFIG GET *",
    "CONFIG SET dir /tmp",
    "DEBUG SLEEP 0",
    "EVAL return(1) 0",
    "FAILOVER",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION LIST",
    "KEYS *",
    "MIGRATE 127.0.0.1 1 rq:key 0 1",
    "MODULE LIST",
    "MONITOR",
    "REPLICAOF NO ONE",
    "SAVE",
    "SCRIPT FLUSH",
    "SHUTDOWN",
    "SLAVEOF NO ONE",
    "SWAPDB 0 1",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Processes, Path, str]]:
    """As the demo starts it: the processes, its folder, its URL."""
    processes = Processes(tmp_path_factory.mktemp("servers"))
    folder = tmp_path_factory.mktemp("redis")
    yield processes, folder, redis_server.start(processes, folder)
    processes.stop_all()


@pytest.fixture
def client(server: tuple[Processes, Path, str]) -> Iterator[Redis]:
    with Redis.from_url(server[2]) as connected:
        yield connected


def test_the_program_is_new_enough() -> None:
    assert redis_server.version_of(redis_server.executable()) >= redis_server.OLDEST


@pytest.mark.parametrize("user", ["", ":{password}@", ":wrong@", "datagen:wrong@", "default:{password}@"])
def test_connection_without_user_and_password_is_refused(server: tuple[Processes, Path, str], user: str) -> None:
    address = urlsplit(server[2])
    login = user.format(password=address.password)
    with Redis.from_url(f"redis://{login}127.0.0.1:{address.port}/0") as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_rq_does_not_need_is_refused(client: Redis, command: str) -> None:
    with pytest.raises((NoPermissionError, ResponseError), match=r"no permissions|not allowed"):
        client.execute_command(*command.split())


def test_keys_and_channels_of_others_are_out_of_reach(client: Redis) -> None:
    for refused in (lambda: client.set("other", 1), lambda: client.get("other"), lambda: client.publish("other", "x")):
        with pytest.raises(NoPermissionError):
            refused()


def test_rqs_own_scripts_run(client: Redis) -> None:
    """RQ enqueues a unique job by a Lua script."""
    queue = Queue("probe", connection=client, serializer=JSONSerializer)
    queue.enqueue_call("datagen.entrypoints.rq_tasks.sweep", job_id="once", unique=True)
    assert queue.job_ids == ["once"]
    queue.delete(delete_jobs=True)


def test_full_memory_refuses_new_keys_and_evicts_none(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "servers")
    url = redis_server.start(processes, tmp_path / "redis", also_allow="+config|set")
    try:
        with Redis.from_url(url) as client:
            client.set("rq:first", "kept")
            client.config_set("maxmemory", 1)
            with pytest.raises(OutOfMemoryError):
                client.set("rq:second", "refused")
            assert client.get("rq:first") == b"kept"
    finally:
        processes.stop_all()


def test_password_and_digest_are_on_no_command_line(server: tuple[Processes, Path, str]) -> None:
    processes, folder, url = server
    password = str(urlsplit(url).password)
    [started] = processes.alive()
    seen = Path(f"/proc/{started.pid}/cmdline").read_bytes()
    digest = (folder / "valkey.conf").read_text().partition("user datagen on #")[2][:64].encode()
    assert len(digest) == 64
    assert password.encode() not in seen
    assert digest not in seen


def test_its_files_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    processes = Processes(tmp_path / "servers")
    try:
        redis_server.start(processes, tmp_path / "redis")
    finally:
        os.umask(before)
        processes.stop_all()
    secret = [tmp_path / "redis", tmp_path / "redis" / "password", tmp_path / "redis" / "valkey.conf"]
    assert [path.name for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_second_start_has_the_same_password(tmp_path: Path) -> None:
    """Running clients have the URL of the first start, which contains the password."""
    port = free_port()
    processes = Processes(tmp_path / "servers")
    first = redis_server.start(processes, tmp_path / "redis", port=port)
    processes.stop_all()
    assert redis_server.start(processes, tmp_path / "redis", port=port) == first
    processes.stop_all()


def test_only_persistent_keys_survive_a_restart(tmp_path: Path) -> None:
    for keep in (True, False):
        processes = Processes(tmp_path / "servers")
        for round_ in range(2):
            url = redis_server.start(processes, tmp_path / f"redis-{keep}", keep=keep)
            with Redis.from_url(url) as client:
                assert client.exists("rq:key") == (round_ if keep else 0)
                client.set("rq:key", "value")
            processes.stop_all()


def fake_server(folder: Path, name: str, version: str) -> Path:
    """A program that prints a version, as Redis and Valkey do."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64 build=0'\n")
    path.chmod(0o755)
    return path


def test_a_server_on_the_path_that_is_too_old_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_server(tmp_path, "redis-server", "6.2.14")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "BUNDLED", tmp_path / "nothing")
    with pytest.raises(StageError, match=rf"7\.2\.11 or newer; {old} is 6\.2\.14"):
        redis_server.executable()


def test_a_server_on_the_path_that_is_new_enough_is_run_where_none_is_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_server(tmp_path, "redis-server", "6.2.14")
    new = fake_server(tmp_path, "valkey-server", "8.1.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "BUNDLED", tmp_path / "nothing")
    assert redis_server.executable() == new


def test_the_bundled_server_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path, "valkey-server", "8.1.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "BUNDLED", tmp_path / "bundled")
    (tmp_path / "bundled").touch()
    assert redis_server.executable() == tmp_path / "bundled"


def test_the_containers_start_script_makes_the_same_server(tmp_path: Path) -> None:
    """``docker/start-valkey.sh`` becomes the server itself: the same log-in, and nothing secret where others look."""
    port, password = free_port(), "correct-horse-battery"
    processes = Processes(tmp_path / "servers")
    environment = {
        "DATAGEN_REDIS_PASSWORD": password,
        "VALKEY_CONF": str(layout.ROOT / "docker" / "valkey.conf"),
        "VALKEY_SERVER": str(redis_server.executable()),
    }
    script = [layout.ROOT / "docker" / "start-valkey.sh", f"port {port}", f'dir "{tmp_path}"']
    try:
        started = processes.start("valkey", script, env=environment, ready=lambda: is_open(port), within=20)
        for seen in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{started.pid}/{seen}").read_bytes()
        with Redis.from_url(redis_server.url_of(port, password)) as client:
            assert client.ping()
            with pytest.raises(NoPermissionError):
                client.config_get("*")
    finally:
        processes.stop_all()


def test_the_containers_start_script_says_that_the_password_is_missing() -> None:
    script = layout.ROOT / "docker" / "start-valkey.sh"
    result = subprocess.run([script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)
    assert result.returncode != 0
    assert "DATAGEN_REDIS_PASSWORD: set it to a password" in result.stderr


def test_the_suites_own_server_asks_for_the_password(redis_url: str) -> None:
    address = urlsplit(redis_url)
    assert (address.username, bool(address.password)) == (redis_server.USER, True)
    with Redis(port=int(address.port or 0)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
