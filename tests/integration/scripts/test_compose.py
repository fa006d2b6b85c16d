"""The databases' script of ``docker-compose.yml``, on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess

import psycopg

from stage import postgres_server
from stage.layout import ROOT
from stage.processes import wait_until


def test_each_owner_enters_its_own_database_alone_and_the_superuser_none_over_the_network() -> None:
    """The script as PostgreSQL's image runs it, on a real PostgreSQL."""
    passwords = {"labelstudio": "ls-secret", "datagen": "dg-secret", "postgres": "pg-secret"}
    with postgres_server.cluster() as cluster, psycopg.connect(f"{cluster.url}/postgres", autocommit=True) as admin:
        [data] = admin.execute("SHOW data_directory").fetchone() or ()
        [sockets] = admin.execute("SHOW unix_socket_directories").fetchone() or ()
        admin.execute("ALTER USER postgres PASSWORD 'pg-secret'")
        environment = {
            "PATH": os.environ["PATH"],
            "PGHOST": sockets,
            "PGPORT": str(admin.info.port),
            "PGDATA": data,
            "POSTGRES_USER": "postgres",
            "LABEL_STUDIO_DB_PASSWORD": passwords["labelstudio"],
            "DATAGEN_DB_PASSWORD": passwords["datagen"],
        }
        subprocess.run(["sh", ROOT / "docker/create-databases.sh"], env=environment, check=True, capture_output=True)
        admin.execute("SELECT pg_reload_conf()")

        def enters(user: str, database: str, host: str = "127.0.0.1") -> bool:
            login = {"user": user, "password": passwords[user], "dbname": database}
            try:
                psycopg.connect(host=host, port=admin.info.port, connect_timeout=5, **login).close()
            except psycopg.OperationalError as refused:
                assert "no pg_hba.conf entry" in str(refused) or "permission denied" in str(refused)  # noqa: PT017
                return False
            return True

        wait_until(lambda: not enters("postgres", "postgres"), 10, "The new rules")
        entered = {
            (user, name) for user in passwords for name in ("labelstudio", "datagen", "postgres") if enters(user, name)
        }
        assert entered == {("labelstudio", "labelstudio"), ("datagen", "datagen")}
        # nor on the server's own socket, where pg_hba.conf trusts everybody
        assert not enters("labelstudio", "datagen", host=sockets)
        assert not enters("datagen", "labelstudio", host=sockets)
