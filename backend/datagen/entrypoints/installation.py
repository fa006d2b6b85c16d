"""Whether this process belongs to the installation: same schema, same secrets, same image store.

Checked before a process works: a worker with a signing key of its own posts pictures that nobody can open, and a
command with another secret points every webhook at the wrong one. The first process of a fresh database makes what is
missing and registers it; after that the web process alone says what is accepted, because it is the one that lets in.
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
from datagen.store.tables import SharedSecretRow, StudyRow

log = structlog.get_logger()

#: The number of the lock that a registration takes in PostgreSQL: any, as long as it is always the same.
REGISTRATION_LOCK = 7_301_927
#: The name under which the image store's mark is registered; the mark is no secret.
IMAGE_STORE = "image_store"
#: Waits between looks at a database that does not answer, seconds: doubled from the first to the second.
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
#: Nothing waits longer for the mark of an image store, seconds: until it first answers, and in all.
MARK_ANSWER_SECONDS, MARK_SECONDS = 1.5, 5.0

_REGISTER_HERE = "or, if this machine's is the right one, run: datagen secrets accept"


class ProcessRole(StrEnum):
    """What a process does with the secrets."""

    WEB = "web"  #: lets others in by them: registers changed ones
    PROVISION = "provision"  #: writes them into Label Studio
    PART = "part"  #: everything else


def join(settings: Settings, role: ProcessRole) -> None:
    """Check that this process belongs to the installation; register what is registered nowhere yet.

    Raises:
        SchemaProblem: the database's schema is not this version's.
        SecretProblem: a secret or the image store is another one than the installation's; the sentence names the fix.
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
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
    """Join; while the database does not answer, wait for it and say so in the log. Raises as ``join`` does."""
    wait = FIRST_WAIT
    while True:
        try:
            join(settings, role)
        except SQLAlchemyError as fault:
            if not is_unavailable(fault):
                raise
            log.warning("installation.database_unavailable", reason=explain(fault), looks_again_in=wait)
            time.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)
        else:
            return


def join_web(settings: Settings) -> None:
    """Join as the web process; without its database it still answers webhooks with 503, and is not checked.

    Raises:
        SchemaProblem, SecretProblem: as ``join`` does.
        sqlalchemy.exc.SQLAlchemyError: the database answers, and with an error.
    """
    try:
        join(settings, ProcessRole.WEB)
    except SQLAlchemyError as fault:
        if not is_unavailable(fault):
            raise
        log.warning("installation.not_checked", reason=explain(fault))


def mismatches(settings: Settings, database: Database) -> list[str]:
    """What is wrong with this machine's secrets, a sentence each; changes nothing."""
    with database.read() as session:
        found = list(_mismatches(session, settings, ProcessRole.PROVISION))
        return found or [
            f"no process has registered its {SECRET_NAMES[secret.name]} yet; start the web process: datagen up"
            for secret in own_secrets(settings)
            if standing(session, secret) is Standing.UNREGISTERED
        ]


def exposed(database: Database) -> bool:
    """Whether the webhook secret was sent in webhooks' headers by an earlier release, and was not changed since."""
    with database.read() as session:
        return is_exposed(session, "webhook_secret")


def image_store_mismatch(settings: Settings, database: Database) -> str | None:
    """What is wrong with the image store that the settings name; None if it is the installation's.

    Raises:
        StoreError: it cannot be read.
    """
    with database.read() as session:
        registered = _registered_mark(session)
    return None if registered is None else _mark_mismatch(settings, registered, _image_store(settings).mark())


def _mark_mismatch(settings: Settings, registered: str, found: str | None) -> str | None:
    if found == registered:
        return None
    what = "has no mark of this installation" if found is None else "belongs to another installation"
    return (
        f"the image store at {settings.resolved_store_url} {what}: set DATAGEN_STORE_URL (or DATAGEN_DATA_DIR) as on "
        "the machine where the web process runs. After a move copy everything, the file “installation” too; "
        f"{_REGISTER_HERE}"
    )


def accept(settings: Settings) -> list[str]:
    """Make this machine's secrets and image store the installation's, whatever is registered; what changed.

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
    """The shared secrets as this process has them; those it lacks have no values."""
    missing = settings.missing_secrets()
    webhook = () if "webhook_secret" in missing else (settings.secret_of_webhooks,)
    password = () if "basic_auth_pass" in missing else (settings.password,)
    keys = () if "signing_key" in missing else tuple(key.decode() for key in settings.signing_keys)
    before = [(value,) if value else () for value in (settings.previous_secret_of_webhooks, settings.previous_password)]
    return (
        SharedSecret("webhook_secret", before[0] + webhook if webhook else ()),
        SharedSecret("basic_auth_pass", before[1] + password if password else ()),
        SharedSecret("signing_key", keys),
    )


def _unregistered(session: Session, settings: Settings, role: ProcessRole) -> list[SharedSecret]:
    """What this process is to register: its changed secrets, if it is the web process, and the first ones."""
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
    if fresh and (made := settings.make_missing_secrets()):
        log.info("installation.secrets_made", names=made, folder=str(settings.data_dir / "secrets"))
    for secret in _unregistered(session, settings, role):
        if not secret.values:
            continue  # said by the comparison that follows
        state = standing(session, secret)
        # with studies but without a registered secret: an earlier release sent this very value with every webhook
        register(session, secret, exposed=state is Standing.UNREGISTERED and not fresh)
        log.info("installation.secret_registered", secret_name=secret.name, state=str(state))


def _mismatches(session: Session, settings: Settings, role: ProcessRole) -> Iterator[str]:
    """For each secret with which this process must not work a sentence that names the fix."""
    for secret in own_secrets(settings):
        what, variable = SECRET_NAMES[secret.name], VARIABLES[secret.name]
        kept = settings.data_dir.absolute() / "secrets" / secret.name
        copy = f"set {variable}, or copy the file {kept}, as on the machine where the web process runs"
        match standing(session, secret):
            case Standing.MISSING:
                yield f"this machine lacks the installation's {what}: {copy}"
            case Standing.OTHER:
                yield f"this machine has another {what} than the installation: {copy}; {_REGISTER_HERE}"
            case Standing.PREVIOUS if role is not ProcessRole.PART:
                yield f"this machine has the {what} from before the last change: {copy}; {_REGISTER_HERE}"
            case Standing.PREVIOUS:
                log.warning("installation.secret_outdated", secret_name=secret.name, fix=copy)
            case Standing.NEWER if role is not ProcessRole.WEB:
                yield (
                    f"the {what} was changed on this machine, and the web process does not accept it yet: change it "
                    "there first and send the web process SIGHUP"
                )
            case Standing.UNREGISTERED if not secret.values:
                yield f"this machine lacks the installation's {what}: {copy}; {_REGISTER_HERE}"
            case Standing.UNREGISTERED if not _is_fresh(session):
                yield (
                    f"the installation's {what} is not registered yet: start its web process first (datagen up, or "
                    f"datagen web); {_REGISTER_HERE}"
                )
            case _:
                pass


def _is_fresh(session: Session) -> bool:
    """Whether no process registered anything and no study is there."""
    kinds = (SharedSecretRow.name, StudyRow.id)
    return all(session.scalar(select(column).limit(1)) is None for column in kinds)


def _join_image_store(database: Database, settings: Settings, role: ProcessRole) -> None:
    """Compare the image store's mark; the first process, or the web process, writes it where there is none."""
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
    except StoreError as fault:  # it may come back; until then nothing can be read from it or written to it
        log.warning("installation.image_store_not_checked", reason=str(fault))


def _image_store(settings: Settings) -> BlobStore:
    """The image store, for its mark alone: a start, a reload or a command does not wait for one that hangs."""
    return BlobStore(settings.resolved_store_url, answer_s=MARK_ANSWER_SECONDS, whole_s=MARK_SECONDS)


def _registered_mark(session: Session) -> str | None:
    return session.scalar(select(SharedSecretRow.fingerprint).where(SharedSecretRow.name == IMAGE_STORE))


def _register_mark(session: Session, mark: str) -> None:
    for row in session.scalars(select(SharedSecretRow).where(SharedSecretRow.name == IMAGE_STORE)):
        session.delete(row)
    session.flush()
    session.add(SharedSecretRow(name=IMAGE_STORE, fingerprint=mark))
