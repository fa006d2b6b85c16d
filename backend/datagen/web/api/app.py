"""The application that answers the requests below ``/api/v1``; the process of the pages serves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from flask import Flask, Response, request
from flask_limiter import Limiter
from pydantic import Field

from datagen.label_studio.api.accounts import Account
from datagen.operations.readiness import ReadinessCache
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.web.api.batches import add_batches
from datagen.web.api.bearer import TokenAccounts
from datagen.web.api.decisions import add_decisions
from datagen.web.api.downloads import add_downloads
from datagen.web.api.inputs import add_inputs
from datagen.web.api.limits import LARGEST_UPLOAD, ROOT
from datagen.web.api.openapi import document
from datagen.web.api.operations import Operations, Resource
from datagen.web.api.problems import answer_with_problems
from datagen.web.api.reading import Links
from datagen.web.api.samples import add_samples
from datagen.web.api.studies import CloneStudy, CreateStudy, add_studies
from datagen.web.api.verdicts import add_verdicts
from datagen.web.api.versions import add_versions
from datagen.web.download_sending import DownloadSender
from datagen.web.responses import quiet_headers
from datagen.web.wrong_credentials import network_of
from datagen.workflow.services import Services
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: Requests that one network may send in a second, and those of them that may change something.
REQUESTS_PER_SECOND, CHANGES_PER_SECOND = 100, 10


class Health(Resource):
    """Whether the parts of the installation work."""

    ready: bool
    parts: dict[str, bool] = Field(description="Part → whether it works; empty until they are checked.")
    age_seconds: float = Field(description="How old the check is.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Dependencies of the API."""

    database: Database
    images: BlobStore
    #: sends the files of downloads
    downloads: DownloadSender
    accounts: TokenAccounts
    readiness: ReadinessCache
    #: returns the address of a project or task in Label Studio
    address_of: Callable[[LabelStudioTarget], str]
    #: returns the services that carry out changes; it is called at the first change
    services: Callable[[], Services]
    create_study: CreateStudy
    clone_study: CloneStudy


def create_api(parts: ApiParts) -> Flask:
    """Return the application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_UPLOAD
    answer_with_problems(app)
    app.after_request(quiet_headers)
    operations = operations_of(parts)

    def account() -> Account:
        return parts.accounts.account_of(request.headers.get("Authorization", ""), request.remote_addr or "")

    operations.add_to(app, account)

    @cache
    def described() -> str:
        return json.dumps(document(operations.all))

    @app.get(f"{ROOT}/openapi.json", provide_automatic_options=False)
    def openapi() -> Response:
        response = Response(described(), content_type="application/json")
        response.add_etag()
        response.make_conditional(request)
        return response

    limiter = Limiter(_network, app=app, storage_uri="memory://", default_limits=[f"{REQUESTS_PER_SECOND} per second"])
    changes = [operation.name for operation in operations.all if operation.method != "GET"]
    for name in changes:
        app.view_functions[name] = limiter.limit(f"{CHANGES_PER_SECOND} per second")(app.view_functions[name])  # type: ignore[assignment]
    return app


def operations_of(parts: ApiParts) -> Operations:
    """Return all operations."""
    operations, links = Operations(parts.database), Links(parts.address_of)
    add_studies(operations, parts.database, links, parts.services, parts.create_study, parts.clone_study)
    add_inputs(operations, parts.database, links, parts.services)
    add_versions(operations, parts.database)
    add_batches(operations, parts.database, links)
    add_samples(operations, parts.database, parts.images, links)
    add_verdicts(operations, parts.database, parts.services)
    add_decisions(operations, parts.database, parts.services)
    add_downloads(operations, parts.database, parts.downloads, parts.services)

    @operations.get("/health", Health)
    def get_health(account: Account) -> Health:  # noqa: ARG001
        """Return whether the parts of the installation work."""
        latest = parts.readiness.latest()
        is_ready = bool(latest.parts) and all(latest.parts.values()) and not latest.stale
        return Health(ready=is_ready, parts=dict(latest.parts), age_seconds=latest.age)

    return operations


def _network() -> str:
    """Return the network of the current request, for the rate limits."""
    return network_of(request.remote_addr or "") or "unknown"
