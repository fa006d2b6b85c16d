"""Builds the services of a process from its settings, once per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache, partial

from datagen.channels.channels import Channels
from datagen.channels.chat_services import ChatServices
from datagen.channels.mail import MailServer
from datagen.channels.target_policy import AllowedHosts
from datagen.entrypoints.installation import ProcessRole, join, join_when_answered
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.projects.provisioning import ServerAccess
from datagen.queue.gpu_availability import engine_problems
from datagen.queue.queues import Queues, connect
from datagen.settings import Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.store.signed_urls import SignedUrls
from datagen.synthesis.engine import EngineSettings
from datagen.workflow.generation.shard_rendering import FittedEngineCache
from datagen.workflow.services import JobRequest, Limits, Services


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process's settings. They are read at the first call."""
    return Settings()


def build_services(chosen: Settings, enqueue: Callable[[Sequence[JobRequest]], None]) -> Services:
    """Return services that are configured by the settings ``chosen``, and that enqueue jobs with ``enqueue``."""
    return Services(
        database=Database(chosen.resolved_database_url),
        images=BlobStore(chosen.resolved_store_url),
        download_files=DownloadFiles(chosen.resolved_store_url),
        decoder=DecoderSandbox(max_bytes=chosen.max_image_bytes, max_pixels=chosen.max_image_pixels),
        label_studio=LabelStudio(chosen.label_studio_url, chosen.api_key),
        links=SignedUrls(chosen.own_url, chosen.signing_keys, chosen.image_link_days),
        limits=Limits(image_bytes=chosen.max_image_bytes, image_pixels=chosen.max_image_pixels),
        enqueue=enqueue,
        channels=channels_of(chosen),
        own_url=chosen.own_url,
        shard_size=chosen.shard_size,
        audit_size=chosen.audit_size,
        spot_checks=chosen.spot_checks,
        max_run_images=chosen.max_run_images,
        lease_seconds=chosen.lease_seconds,
        outage_patience=timedelta(hours=chosen.outage_hours),
        engine_parameters=chosen.engine_parameters,
        engine_settings=engine_settings_of(chosen),
        engine_problems=partial(engine_problems, chosen.redis_url, engine_settings_of(chosen)),
    )


def channels_of(chosen: Settings) -> Channels:
    """Return the channels that notifications are sent through.

    Raises:
        SettingsProblem: the mail server's setting is wrong.
    """
    smtp_url, hosts = chosen.smtp_url.get_secret_value(), AllowedHosts(chosen.notification_hosts.split())
    return Channels(
        mail=MailServer.of(smtp_url, chosen.mail_from) if smtp_url else None,
        hosts=hosts,
        services=ChatServices(chosen.notification_services.split(), hosts),
    )


def engine_settings_of(chosen: Settings) -> EngineSettings:
    """Return the settings that every engine is created with."""
    return EngineSettings(folder=chosen.data_dir.absolute(), hang_seconds=chosen.hang_seconds, shares_fits=True)


def server_access_of(chosen: Settings) -> ServerAccess:
    """Return the address and credentials with which Label Studio reaches the web process."""
    return ServerAccess(
        url=chosen.own_url,
        webhook_secret=chosen.secret_of_webhooks,
        basic_user=chosen.basic_auth_user,
        basic_pass=chosen.password,
    )


@lru_cache(maxsize=1)
def joined_roles() -> set[ProcessRole]:
    """Return the roles in which this process has joined the installation."""
    return set()


def join_as(role: ProcessRole, *, waits: bool = False) -> None:
    """Join the installation in a role, unless this process has joined in that role already.

    A process that has joined in any other role need not join as ``ProcessRole.PART``.

    Args:
        role: What this process does with the secrets.
        waits: Whether to wait for an unavailable database.

    Raises:
        SchemaProblem, SecretProblem, sqlalchemy.exc.SQLAlchemyError: see ``installation.join``.
    """
    joined = joined_roles()
    if role in joined or (role is ProcessRole.PART and joined):
        return
    (join_when_answered if waits else join)(settings(), role)
    joined.add(role)


@lru_cache(maxsize=1)
def services() -> Services:
    """Return the process's services.

    Raises:
        SchemaProblem: the database's schema is not this version's.
        SecretProblem: this process does not belong to the installation; see ``installation.join``.
    """
    join_as(ProcessRole.PART)
    return build_services(settings(), queues().enqueue)


@lru_cache(maxsize=1)
def queues() -> Queues:
    """Return the process's queues."""
    return Queues(connect(settings().redis_url))


@lru_cache(maxsize=1)
def fitted_engines() -> FittedEngineCache:
    """Return the process's fitted engines."""
    return FittedEngineCache(services())
