"""The in-memory fake keeps the contract of the port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.in_memory import InMemoryLabelStudio
from datagen.label_studio.api.in_memory_server import Delivery
from datagen.label_studio.api.port import LabelStudioPort
from port_contract import PortContract, World

CLOSED = "http://closed.test"


class FakeWorld(World):
    """The fake, its clock at a standstill: nothing may depend on time that passes."""

    receiver_url, closed_url, prefix = "http://receiver.test", CLOSED, "t"

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.client = self.fake = InMemoryLabelStudio(
            deliver=self._deliver, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
        )
        self.fake.unreachable.add(CLOSED)
        self.email = "annotator@example.com"

    def _deliver(self, delivery: Delivery) -> None:
        if delivery.url.startswith(CLOSED):
            raise ConnectionRefusedError
        self.deliveries.append(delivery)

    @property
    def events(self) -> list[tuple[Mapping[str, str], Mapping[str, Any]]]:
        return [(delivery.headers, delivery.body) for delivery in self.deliveries]

    def import_json(self, project_id: int, text: str) -> list[int]:
        return self.fake.import_json(project_id, text)

    def edit_annotation(self, annotation_id: int, *, was_cancelled: bool) -> None:
        self.fake.edit_annotation(annotation_id, was_cancelled=was_cancelled)

    def colleague(self) -> tuple[int, str]:
        self.fake.people[2] = "colleague@example.com"
        return 2, "colleague@example.com"

    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        return self.fake.export_tasks(project_id, task_ids)

    def start_training(self, project_id: int) -> None:
        self.fake.start_training(project_id)

    def stranger(self, kind: TokenKind) -> LabelStudioPort:
        stranger = InMemoryLabelStudio(token_kind=kind)
        stranger.revoke_token()
        return stranger

    def unreachable(self) -> LabelStudioPort:
        fake = InMemoryLabelStudio()
        fake.switch_off()
        return fake

    def refusing(self) -> tuple[LabelStudioPort, str]:
        self.fake.banned_hosts.add("10.0.0.1")
        return self.fake, "http://10.0.0.1:8000"


class TestInMemoryLabelStudio(PortContract):
    """The suite on the fake."""

    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()
