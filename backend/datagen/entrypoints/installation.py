"""Checks that this process belongs to the installation: same schema, same secrets, same image store.

The check runs before a process starts work. A worker with another signing key would publish image links that cannot be
opened, and a command with another secret would give every webhook the wrong secret. The first process of a new database
creates and registers the missing secrets. After that only the web process registers changed secrets, because it
authenticates the requests.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from datagen.errors import SecretProblem, StoreError
from datagen.settings import SECRET_NAMES, VARIABLES, Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database, explain, is_unavailable
from datagen.store.fingerprints import SharedSecret, Standing, accepts_others, is_exposed, register, standing
from datagen.store.tables.installation import SharedSecretRow
from datagen.store.tables.studies import StudyRow

log = structlog.get_logger()

#: Key of the advisory lock that a registration takes in PostgreSQL; arbitrary, but the same in every release.
REGISTRATION_LOCK = 7_301_927
#: The name under which the image store's mark is registered; the mark is not a secret.
IMAGE_STORE = "image_store"
#: First and longest wait between attempts to reach an unavailable database, seconds; each wait is twice the last one.
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
#: Timeouts for the mark of an image store, seconds: until its first response, and in total.
MARK_ANSWER_SECONDS, MARK_SECONDS = 1.5, 5.0

_REGISTER_HERE = "or, if this machine's is the right one, run: datagen secrets accept"


class ProcessRole(StrEnum):
    """The role of a process, by what it does with the secrets."""

    WEB = "web"  #: authenticates requests with them, and registers changed ones
    PROVISION = "provision"  #: writes them into Label Studio
    PART = "part"  #: neither of these, as a worker or most commands


def join(settings: Settings, role: ProcessRole) -> None:
    """Check that this process belongs to the installation; register secrets that are not registered yet.

    Raises:
        SchemaProblem: the database's schema is not this version's.
        SecretProblem: a secret or the image store differs from the installation's; the sentence names the fix.
        sqlalchemy.exc.SQLAlchemyError: the database is unavailable.
    """
    with closing(Database(settings.resolved_database_url)) as database:
        database.check_schema()
        with database.read() as session:
            must_write = bool(_unregistered(session, settings, role))
        if must_write:
            with database.write_alone(REGISTRATION_LOCK) as session:
                _register(session, settings, role)
        with database.read() as session:
            for sentence in _mismatches(session, settings, role):
                raise SecretProblem(sentence)
        _join_image_store(database, settings, role)


def join_when_answered(settings: Settings, role: ProcessRole) -> None:
    """Join the installation. While the database is unavailable, log a warning and wait.

    Raises:
        SchemaProblem, SecretProblem: see ``join``.
        sqlalchemy.exc.SQLAlchemyError: the database is available and reports an error.
    """
    wait = FIRST_WAIT
    while True:
        try:
            join(settings, role)
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            log.warning("installation.database_unavailable", reason=explain(error), looks_again_in=wait)
            time.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)
        else:
            return


def join_web(settings: Settings) -> None:
    """Join as the web process. Skip the check if the database is unavailable: webhooks are then answered with 503.

    Raises:
        SchemaProblem, SecretProblem: see ``join``.
        sqlalchemy.exc.SQLAlchemyError: the database is available and reports an error.
    """
    try:
        join(settings, ProcessRole.WEB)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        log.warning("installation.not_checked", reason=explain(error))


def mismatches(settings: Settings, database: Database) -> list[str]:
    """Return a sentence for each problem with this machine's secrets. Nothing is registered."""
    with database.read() as session:
        sentences = list(_mismatches(session, settings, ProcessRole.PROVISION))
        return sentences or [
            f"no process has registered its {SECRET_NAMES[secret.name]} yet; start the web process: datagen up"
            for secret in own_secrets(settings)
            if standing(session, secret) is Standing.UNREGISTERED
        ]


def exposed(database: Database) -> bool:
    """Return whether an earlier release sent the current webhook secret in webhooks' headers."""
    with database.read() as session:
        return is_exposed(session, "webhook_secret")


def image_store_mismatch(settings: Settings, database: Database) -> str | None:
    """Return the problem with the image store in the settings; None if it is the installation's.

    Raises:
        StoreError: the image store cannot be read.
    """
    with database.read() as session:
        registered = _registered_mark(session)
    return None if registered is None else _mark_mismatch(settings, registered, _image_store(settings).mark())


def _mark_mismatch(settings: Settings, registered: str, mark: str | None) -> str | None:
    if mark == registered:
        return None
    state = "has no mark of this installation" if mark is None else "belongs to another installation"
    return (
        f"the image store at {settings.resolved_store_url} {state}: set DATAGEN_STORE_URL (or DATAGEN_DATA_DIR) as on "
        "the machine where the web process runs. After a move copy everything, the file “installation” too; "
        f"{_REGISTER_HERE}"
    )


def accept(settings: Settings) -> list[str]:
    """Register this machine's secrets and image store as the installation's, and return the names of changed ones.

    Raises:
        SchemaProblem: the database's schema is not this version's.
        StoreError: the image store cannot be read or marked.
    """
    settings.make_missing_secrets()
    store = _image_store(settings)
    mark = store.mark() or store.write_mark(secrets.token_hex(16))
    with closing(Database(settings.resolved_database_url)) as database:
        database.check_schema()
        with database.write_alone(REGISTRATION_LOCK) as session:
            changed = [
                SECRET_NAMES[secret.name]
                for secret in own_secrets(settings)
                if standing(session, secret) is not Standing.CURRENT
            ]
            for secret in own_secrets(settings):
                register(session, secret)
            if mark != _registered_mark(session):
                changed.append("image store")
                _register_mark(session, mark)
    return changed


def own_secrets(settings: Settings) -> tuple[SharedSecret, ...]:
    """Return the shared secrets of this process; a missing secret has no values."""
    missing = settings.missing_secrets()
    webhook = () if "webhook_secret" in missing else (settings.secret_of_webhooks,)
    password = () if "basic_auth_pass" in missing else (settings.password,)
    keys = () if "signing_key" in missing else tuple(key.decode() for key in settings.signing_keys)
    previous = [
        (value,) if value else () for value in (settings.previous_secret_of_webhooks, settings.previous_password)
    ]
    return (
        SharedSecret("webhook_secret", previous[0] + webhook if webhook else ()),
        SharedSecret("basic_auth_pass", previous[1] + password if password else ()),
        SharedSecret("signing_key", keys),
    )


def _unregistered(session: Session, settings: Settings, role: ProcessRole) -> list[SharedSecret]:
    """Return the secrets that this process has to register.

    In a new database, any process registers all secrets. Later only the web process registers secrets: those that are
    missing, and those that changed.
    """
    fresh = _is_fresh(session)

    def is_due(secret: SharedSecret) -> bool:
        match standing(session, secret):
            case Standing.UNREGISTERED:
                return fresh or role is ProcessRole.WEB
            case Standing.NEWER:
                return role is ProcessRole.WEB
            case Standing.CURRENT:
                return role is ProcessRole.WEB and accepts_others(session, secret)
            case _:
                return False

    return [secret for secret in own_secrets(settings) if is_due(secret)]


def _register(session: Session, settings: Settings, role: ProcessRole) -> None:
    fresh = _is_fresh(session)
    if fresh and (created := settings.make_missing_secrets()):
        log.info("installation.secrets_made", names=created, folder=str(settings.data_dir / "secrets"))
    for secret in _unregistered(session, settings, role):
        if not secret.values:
            continue  # reported by ``_mismatches`` afterwards
        state = standing(session, secret)
        # studies without a registered secret: an earlier release sent this value with every webhook
        register(session, secret, exposed=state is Standing.UNREGISTERED and not fresh)
        log.info("installation.secret_registered", secret_name=secret.name, state=str(state))


def _mismatches(session: Session, settings: Settings, role: ProcessRole) -> Iterator[str]:
    """Yield a sentence for each secret that this process lacks or must not use, with the fix."""
    for secret in own_secrets(settings):
        title, variable = SECRET_NAMES[secret.name], VARIABLES[secret.name]
        file = settings.data_dir.absolute() / "secrets" / secret.name
        copy = f"set {variable}, or copy the file {file}, as on the machine where the web process runs"
        match standing(session, secret):
            case Standing.MISSING:
                yield f"this machine lacks the installation's {title}: {copy}"
            case Standing.OTHER:
                yield f"this machine has another {title} than the installation: {copy}; {_REGISTER_HERE}"
            case Standing.PREVIOUS if role is not ProcessRole.PART:
                yield f"this machine has the {title} from before the last change: {copy}; {_REGISTER_HERE}"
            case Standing.PREVIOUS:
                log.warning("installation.secret_outdated", secret_name=secret.name, fix=copy)
            case Standing.NEWER if role is not ProcessRole.WEB:
                yield (
                    f"the {title} was changed on this machine, and the web process does not accept it yet: change it "
                    "there first and send the web process SIGHUP"
                )
            case Standing.UNREGISTERED if not secret.values:
                yield f"this machine lacks the installation's {title}: {copy}; {_REGISTER_HERE}"
            case Standing.UNREGISTERED if not _is_fresh(session):
                yield (
                    f"the installation's {title} is not registered yet: start its web process first (datagen up, or "
                    f"datagen web); {_REGISTER_HERE}"
                )
            case _:
                pass


def _is_fresh(session: Session) -> bool:
    """Return whether the database is new: no secret is registered, and there is no study."""
    columns = (SharedSecretRow.name, StudyRow.id)
    return all(session.scalar(select(column).limit(1)) is None for column in columns)


def _join_image_store(database: Database, settings: Settings, role: ProcessRole) -> None:
    """Check that the image store's mark is the registered one, or register it.

    If no mark is registered, the web process registers the store's mark. So does any process while there is no study.
    If the store has no mark, that process writes a new one.

    Raises:
        SecretProblem: the store's mark differs from the registered one.
    """
    store = _image_store(settings)
    with database.read() as session:
        registered = _registered_mark(session)
        may_register = role is ProcessRole.WEB or session.scalar(select(StudyRow.id).limit(1)) is None
    try:
        if registered is not None:
            if (sentence := _mark_mismatch(settings, registered, store.mark())) is not None:
                raise SecretProblem(sentence)
        elif may_register:
            with database.write_alone(REGISTRATION_LOCK) as session:
                if _registered_mark(session) is None:
                    _register_mark(session, store.mark() or store.write_mark(secrets.token_hex(16)))
    except StoreError as error:  # it may become available later; until then it cannot be read or written
        log.warning("installation.image_store_not_checked", reason=str(error))


def _image_store(settings: Settings) -> BlobStore:
    """Return the image store with short timeouts, for reading and writing its mark without a long wait."""
    return BlobStore(settings.resolved_store_url, answer_s=MARK_ANSWER_SECONDS, whole_s=MARK_SECONDS)


def _registered_mark(session: Session) -> str | None:
    return session.scalar(select(SharedSecretRow.fingerprint).where(SharedSecretRow.name == IMAGE_STORE))


def _register_mark(session: Session, mark: str) -> None:
    for row in session.scalars(select(SharedSecretRow).where(SharedSecretRow.name == IMAGE_STORE)):
        session.delete(row)
    session.flush()
    session.add(SharedSecretRow(name=IMAGE_STORE, fingerprint=mark))
