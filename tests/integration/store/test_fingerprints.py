"""Fingerprints of shared secrets: changed and foreign ones are recognized, and no row contains a secret."""

from __future__ import annotations

from sqlalchemy import select

from datagen.store.database import Database
from datagen.store.fingerprints import SharedSecret, Standing, accepts_others, is_exposed, register, standing
from datagen.store.tables.installation import SharedSecretRow


def secret(*values: str) -> SharedSecret:
    return SharedSecret("signing_key", values)


def seen(database: Database, *values: str) -> Standing:
    with database.read() as session:
        return standing(session, secret(*values))


def put(database: Database, *values: str, exposed: bool = False) -> None:
    with database.write() as session:
        register(session, secret(*values), exposed=exposed)


def test_secret_is_compared_with_the_registered_ones(database: Database) -> None:
    assert seen(database, "a") is Standing.UNREGISTERED
    put(database, "a")
    assert seen(database) is Standing.MISSING
    assert seen(database, "a") is Standing.CURRENT
    assert seen(database, "b") is Standing.OTHER
    assert seen(database, "b", "c") is Standing.OTHER
    assert seen(database, "a", "b") is Standing.NEWER
    put(database, "a", "b")
    assert seen(database, "a") is Standing.PREVIOUS
    assert seen(database, "b") is Standing.CURRENT
    assert seen(database, "b", "c") is Standing.NEWER
    assert seen(database, "a", "c") is Standing.OTHER  # from a value that is not the current one nothing follows
    put(database, "b")
    assert seen(database, "a") is Standing.OTHER


def test_a_row_holds_no_secret_and_equal_secrets_look_different(database: Database) -> None:
    put(database, "a secret value")
    with database.write() as session:
        register(session, SharedSecret("webhook_secret", ("a secret value",)))
    with database.read() as session:
        rows = session.scalars(select(SharedSecretRow)).all()
        assert len({row.fingerprint for row in rows}) == 2
        assert "a secret value" not in repr([vars(row) for row in rows])


def test_registering_the_same_again_writes_nothing(database: Database) -> None:
    put(database, "a", "b")
    with database.read() as session:
        before = {row.fingerprint: row.registered_at for row in session.scalars(select(SharedSecretRow))}
    put(database, "a", "b")
    with database.read() as session:
        assert {row.fingerprint: row.registered_at for row in session.scalars(select(SharedSecretRow))} == before


def test_values_that_are_registered_beside_those_of_a_process_are_seen(database: Database) -> None:
    put(database, "a", "b")
    with database.read() as session:
        assert not accepts_others(session, secret("a", "b"))
        assert accepts_others(session, secret("b"))
        assert accepts_others(session, secret("a", "c", "b"))


def test_a_changed_secret_is_exposed_no_more(database: Database) -> None:
    put(database, "a", exposed=True)
    with database.read() as session:
        assert is_exposed(session, "signing_key")
    put(database, "a", "b")
    with database.read() as session:
        assert not is_exposed(session, "signing_key")
