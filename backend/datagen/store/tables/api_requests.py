"""Table of the requests to the API that carry an idempotency key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from datagen.store.tables.base import Row, now


class ApiRequestRow(Row):
    """One request, by the digest of its idempotency key and the account that sent it; see ``store.api_requests``."""

    __tablename__ = "api_request"

    key_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: digest of its method, path and body
    request_digest: Mapped[str] = mapped_column(String(64))
    #: fencing token of the process that carries it out
    token: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime] = mapped_column(default=now, index=True)
    #: whether its change is stored; written in the transaction of the change
    applied: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: status and body of its response; None while it is carried out
    status: Mapped[int | None] = mapped_column(default=None)
    body: Mapped[str | None] = mapped_column(Text, default=None)
