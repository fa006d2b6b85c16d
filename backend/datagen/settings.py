"""All settings, in one documented class. They are read from the environment, ``.env`` and the folder ``secrets``.

Conventional names have no prefix (``LABEL_STUDIO_URL``, ``BASIC_AUTH_USER``, ``REDIS_URL``, ``HOST``, ``PORT``, …); all
others begin with ``DATAGEN_``. The README's table is checked against this class.
"""

from __future__ import annotations

import json
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AliasGenerator, Field, JsonValue, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from datagen.domain.wording import counted
from datagen.errors import SecretProblem, SettingsProblem

#: Prefix of the variables that are Datagen's own.
_PREFIX = "DATAGEN_"
#: Example in an error message. The outer quotes of the value preserve the inner ones, in a shell and in .env.
_EXAMPLE = """e.g. DATAGEN_ENGINE_PARAMETERS='{"weights": "/models/sd15-inpainting"}', with both kinds of quotes"""

#: Minimum length of Datagen's passwords and secrets, characters. A secret from “openssl rand -hex 32” has 64.
SHORTEST_SECRET = 16
#: The secrets that all processes of an installation share. Both tables are indexed by the name of the secret's file in
#: the secrets folder. They hold its title in messages, and its environment variable.
SECRET_NAMES = {
    "webhook_secret": "webhook secret",
    "basic_auth_pass": "basic-auth password",
    "signing_key": "key of image links",
}
VARIABLES = {
    "webhook_secret": "DATAGEN_WEBHOOK_SECRET",
    "basic_auth_pass": "BASIC_AUTH_PASS",
    "signing_key": "DATAGEN_SIGNING_KEYS",
}


def _variable(field: str) -> str:
    return f"{_PREFIX}{field.upper()}"


class Settings(BaseSettings):
    """The settings, from the environment and .env. An invalid value raises an error that names the variable."""

    # the prefix keeps variables of other programs out, such as DATABASE_URL, which the names of fields would let in;
    # by the aliases, errors name the variable
    model_config = SettingsConfigDict(
        env_file=".env",
        env_prefix=_PREFIX,
        alias_generator=AliasGenerator(validation_alias=_variable),
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    label_studio_url: str = Field(
        "http://localhost:8080",
        validation_alias="LABEL_STUDIO_URL",
        description="Address at which this process reaches Label Studio.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="LABEL_STUDIO_API_KEY",
        description="A personal access token or a legacy token of a Label Studio user; the kind is detected. "
        "Empty: the content of the file secrets/label_studio_api_key in the data folder.",
    )
    basic_auth_user: str = Field(
        "datagen",
        validation_alias="BASIC_AUTH_USER",
        description="User name for basic auth: Label Studio's ML-backend connection and the metrics.",
    )
    basic_auth_pass: SecretStr = Field(
        SecretStr(""),
        validation_alias="BASIC_AUTH_PASS",
        description="Password for basic auth. Empty: the content of the file secrets/basic_auth_pass in the data "
        "folder, which the first process of an installation creates.",
    )
    log_level: str = Field("INFO", validation_alias="LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR.")
    host: str = Field("127.0.0.1", validation_alias="HOST", description="Address the web process listens on.")
    port: int = Field(9090, ge=0, le=65535, validation_alias="PORT", description="Port the web process listens on.")
    public_url: str = Field(
        "",
        description="Address at which Label Studio and browsers reach the web process. Empty: http://HOST:PORT.",
    )
    label_studio_public_url: str = Field(
        "",
        description="Address at which browsers reach Label Studio, for links on the studio's pages. Empty: "
        "LABEL_STUDIO_URL.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret from which every study's webhook secret is derived. Empty: the content of the file "
        "secrets/webhook_secret in the data folder, which the first process of an installation creates.",
    )
    webhook_secret_previous: SecretStr = Field(
        SecretStr(""),
        description="The webhook secret before the last change, accepted as well. Remove it when every study has been "
        "provisioned again. File: secrets/webhook_secret_previous.",
    )
    basic_auth_pass_previous: SecretStr = Field(
        SecretStr(""),
        description="The password before the last change, accepted as well. Remove it when every study has been "
        "provisioned again. File: secrets/basic_auth_pass_previous.",
    )
    signing_keys_given: SecretStr = Field(
        SecretStr(""),
        validation_alias="DATAGEN_SIGNING_KEYS",
        description="Keys of image links, separated by spaces: the last one signs new links, and links of every key "
        "are valid. Empty: the lines of the file secrets/signing_key in the data folder, which the first process of "
        "an installation creates.",
    )
    data_dir: Path = Field(
        Path(".datagen"),
        description="Folder for created secrets, and for the database and the image store unless a URL is set.",
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL; postgresql+psycopg://… for a team. Empty: SQLite in the data folder.",
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", validation_alias="REDIS_URL", description="URL of the Redis server for the queues."
    )
    store_url: str = Field(
        "",
        description="fsspec URL of the image store, e.g. s3://bucket/prefix. Empty: a folder in the data folder.",
    )
    engine: str = Field(
        "composite",
        description="Engine of new studies, and of studies that are provisioned again while it is set.",
    )
    # not decoded by pydantic-settings, which merges the values of the environment and .env, and whose error for
    # malformed JSON is not helpful
    engine_parameters: Annotated[dict[str, JsonValue], NoDecode] = Field(
        {},
        description='The engines\' own parameters, as JSON, e.g. {"weights": …}; “datagen engines NAME --schema” '
        "prints those of one. Each engine takes its own; restart “datagen up” and the workers after a change.",
    )
    hang_seconds: float = Field(
        900.0,
        ge=0,
        description="Seconds for one batch or one step of a fit on a GPU, which take seconds, or minutes where they "
        "are compiled; a worker that takes longer hangs in its driver and ends. 0: it is never ended.",
    )
    preview_size: int = Field(20, ge=1, le=200, description="Samples in a preview round.")
    audit_size: int = Field(
        22,
        ge=1,
        le=200,
        description="Samples in an audit for which no number is given. 22 with none bad promise at least 90 % "
        "acceptable, at 90 % confidence; so do 38 with 1 bad and 52 with 2.",
    )
    spot_checks: int = Field(
        1,
        ge=0,
        le=50,
        description="Samples of each shard of a run that are posted as review tasks, if the run's approval stated what "
        "share is acceptable; at most 500 in a run. If they contradict it, the run is paused. 0: none.",
    )
    shard_size: int = Field(50, ge=1, le=1000, description="Samples that one job renders.")
    max_run_images: int = Field(
        1_000_000,
        ge=1,
        le=1_000_000,
        description="Largest number of images of one generation run. The number above which a run has to be "
        "confirmed is set for each study.",
    )
    lease_seconds: float = Field(
        30.0,
        ge=1,
        description="Seconds without a heartbeat after which a worker is considered dead and its work goes to another.",
    )
    outage_hours: float = Field(
        24.0,
        gt=0,
        description="Hours for which a round or run waits for an image store or database that is unavailable; then it "
        "fails, and “datagen retry” resumes it.",
    )
    sweep_seconds: int = Field(
        5,
        ge=1,
        description="Seconds between scans for work without a queued job, after a lost queue or a dead worker.",
    )
    reconcile_seconds: int = Field(
        20,
        ge=1,
        description="Seconds between polls of Label Studio for changes whose webhooks were lost.",
    )
    image_link_days: int = Field(
        365,
        ge=1,
        description="Days for which a signed link to a synthesized image is valid.",
    )
    max_image_bytes: int = Field(64 * 2**20, ge=1, description="Largest input file, bytes.")
    max_image_pixels: int = Field(
        100_000_000,
        ge=1,
        description="Largest input picture, pixels, checked before it is decoded.",
    )
    webhooks_per_second: int = Field(
        300,
        ge=1,
        description="Requests per second to /webhook from one address; more are answered with 429.",
    )
    wrong_credentials_per_minute: int = Field(
        20,
        ge=1,
        description="Wrong passwords and secrets that one address may send in a minute; more are answered with 429, "
        "with a growing delay. The right one is always accepted.",
    )
    proxies: int = Field(
        0,
        ge=0,
        le=8,
        description="Number of reverse proxies of yours in front of the web process. Each has to append its client's "
        "address to X-Forwarded-For; requests and wrong credentials are then counted for the address that the "
        "outermost one saw. 0: the header is ignored.",
    )
    max_webhook_bytes: int = Field(16 * 2**20, ge=1, description="Largest webhook body.")

    inbox_days: int = Field(
        14,
        ge=1,
        description="Days for which handled events of Label Studio are kept; those that failed are kept four times "
        "as long.",
    )

    smtp_url: SecretStr = Field(
        SecretStr(""),
        description="Mail server of notifications: smtp://USER:PASSWORD@HOST:PORT (STARTTLS), or smtps://…. Empty: "
        "none are sent by e-mail.",
    )
    mail_from: str = Field("", description="Sender of notifications by e-mail: an e-mail address.")
    notification_hosts: str = Field(
        "",
        description="Hosts that webhooks of notifications, and services of your own, may be at, separated by spaces; "
        "*.example.org is every name below example.org. Empty: webhooks may go to every host on the internet, and to "
        "none of the local network.",
    )
    notification_services: str = Field(
        "discord gchat pover slack tgram workflow workflows wxteams",
        description="Services that notifications may be sent through, by the beginnings of their apprise addresses, "
        "separated by spaces.",
    )

    @field_validator("label_studio_url", "public_url", "label_studio_public_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("basic_auth_pass", "basic_auth_pass_previous", "webhook_secret", "webhook_secret_previous")
    @classmethod
    def _cannot_be_guessed(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value.get_secret_value():
            variable = cls.model_fields[info.field_name or ""].validation_alias
            _check_length(value.get_secret_value(), str(variable), ValueError)
        return value

    @field_validator("signing_keys_given")
    @classmethod
    def _no_key_can_be_guessed(cls, value: SecretStr) -> SecretStr:
        for key in value.get_secret_value().split():
            _check_length(key, f"a key of {VARIABLES['signing_key']}", ValueError)
        return value

    @field_validator("engine_parameters", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        text = value.strip() or "{}"
        if not text.startswith("{"):
            raise ValueError(f"must be a JSON object, from names to values; {_EXAMPLE}")
        try:
            return json.loads(text)
        except ValueError as broken:
            raise ValueError(f"is no JSON ({broken}); {_EXAMPLE}") from None

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @property
    def chosen_engine(self) -> str | None:
        """The engine that DATAGEN_ENGINE sets; None if it is not set. Its default value changes no existing study."""
        return self.engine if "engine" in self.model_fields_set else None

    @property
    def own_url(self) -> str:
        """The address at which others reach the web process, without a trailing slash."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def label_studio_address(self) -> str:
        """The address at which browsers reach Label Studio, without a trailing slash."""
        return self.label_studio_public_url or self.label_studio_url

    @property
    def resolved_database_url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'datagen.sqlite3'}"

    def check_database_exists(self) -> None:
        """Check that the database file exists, if the database is a SQLite file in the data folder.

        Raises:
            SettingsProblem: there is no such file.
        """
        file = self.data_dir.absolute() / "datagen.sqlite3"
        if not self.database_url and not file.exists():
            raise SettingsProblem(
                f"there is no database at {file}. Set DATAGEN_DATA_DIR to the data folder of your installation, or "
                "make a database here: datagen migrate"
            )

    @property
    def resolved_store_url(self) -> str:
        """The image store's fsspec URL."""
        return self.store_url or f"file://{self.data_dir.absolute() / 'images'}"

    @property
    def api_key(self) -> str:
        """The Label Studio token.

        Raises:
            SettingsProblem: no token is set.
        """
        key = self._secret("label_studio_api_key", self.label_studio_api_key)
        if not key:
            raise SettingsProblem(
                "LABEL_STUDIO_API_KEY is not set: copy a token from Label Studio, Account & Settings, "
                "Personal Access Token, and set it in the environment or in .env."
            )
        return key

    @cached_property
    def secret_of_webhooks(self) -> str:
        """The secret from which every study's webhook secret is derived.

        Raises:
            SecretProblem: the secret is not set on this machine.
        """
        return self._required("webhook_secret", self.webhook_secret)

    @cached_property
    def previous_secret_of_webhooks(self) -> str:
        """The webhook secret before the last change; empty if it is not set."""
        return self._secret("webhook_secret_previous", self.webhook_secret_previous)

    @cached_property
    def password(self) -> str:
        """The basic-auth password.

        Raises:
            SecretProblem: the password is not set on this machine.
        """
        return self._required("basic_auth_pass", self.basic_auth_pass)

    @cached_property
    def previous_password(self) -> str:
        """The basic-auth password before the last change; empty if it is not set."""
        return self._secret("basic_auth_pass_previous", self.basic_auth_pass_previous)

    @cached_property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys of image links. The last key signs new links, and links that any of the keys signed are valid.

        Raises:
            SecretProblem: no key is set on this machine.
        """
        return tuple(key.encode() for key in self._required("signing_key", self.signing_keys_given).split())

    def missing_secrets(self) -> list[str]:
        """Return the names of the secrets that are set by no environment variable and no file; see ``SECRET_NAMES``."""
        configured = {
            "webhook_secret": self.webhook_secret,
            "basic_auth_pass": self.basic_auth_pass,
            "signing_key": self.signing_keys_given,
        }
        return [name for name, given in configured.items() if not self._secret(name, given)]

    def make_missing_secrets(self) -> list[str]:
        """Create the missing secrets, write each to its file, and return their names.

        Only the first process of an installation may call this, because all processes must have the same secrets.
        """
        names = self.missing_secrets()
        for name in names:
            self._make_secret(name)
        return names

    def known_secrets(self) -> set[str]:
        """Return every secret in the settings and in the secrets folder, for redaction in logs. Create no secret."""
        configured = (
            self.label_studio_api_key,
            self.webhook_secret,
            self.webhook_secret_previous,
            self.basic_auth_pass,
            self.basic_auth_pass_previous,
        )
        known = {secret.get_secret_value() for secret in configured}
        known |= set(self.signing_keys_given.get_secret_value().split())
        urls = (self.database_url, self.redis_url, self.smtp_url.get_secret_value())
        for password in filter(None, (urlsplit(url).password for url in urls)):
            known |= {password, unquote(password)}
        for file in self._secrets_folder.glob("[!.]*"):
            known |= set(file.read_text().split())
        known.add(os.environ.get("HF_TOKEN", ""))  # the Hugging Face Hub's client reads it from the environment
        return known - {""}

    @property
    def _secrets_folder(self) -> Path:
        return self.data_dir / "secrets"

    def _secret(self, name: str, configured: SecretStr) -> str:
        """Return the value ``configured`` if it is not empty, else the content of the secret's file, else “”.

        Raises:
            SettingsProblem: a secret in the file is too short.
        """
        if value := configured.get_secret_value().strip():
            return value
        path = self._secrets_folder / name
        kept = path.read_text().strip() if path.exists() else ""
        if name == "signing_key":
            for key in kept.split():
                _check_length(key, f"a line of {path}", SettingsProblem)
        elif kept and name != "label_studio_api_key":  # this token is Label Studio's, and may be short
            _check_length(kept, f"the content of {path}", SettingsProblem)
        return kept

    def _required(self, name: str, configured: SecretStr) -> str:
        value = self._secret(name, configured)
        if not value:
            raise SecretProblem(
                f"this machine lacks the installation's {SECRET_NAMES[name]}: set {VARIABLES[name]}, or copy the file "
                f"{self._secrets_folder / name} from a machine that has it"
            )
        return value

    def _make_secret(self, name: str) -> None:
        """Create a secret and write it to its file, which only its owner can read.

        If another process created the file first, leave that file as it is.
        """
        path = self._secrets_folder / name
        for folder in (self.data_dir, path.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass  # another process created the file first, and its secret is used
        finally:
            draft.unlink()


def _check_length(secret: str, name: str, error: type[Exception]) -> None:
    """Check that a secret has at least ``SHORTEST_SECRET`` characters, so that it cannot be guessed.

    The error's message describes the secret by ``name``, and does not contain it.

    Raises:
        error: the secret is shorter.
    """
    if len(secret) < SHORTEST_SECRET:
        raise error(
            f"{name} has {counted(len(secret), 'character')} and could be guessed; at least {SHORTEST_SECRET} are "
            "needed. Make one: openssl rand -hex 32"
        )
