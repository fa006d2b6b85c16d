"""An HTTP server that takes the place of the web process and stores the requests of Label Studio."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Delivery:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Receiver:
    """The server. It answers Label Studio and stores the requests."""

    url: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, wanted: Callable[[Delivery], bool], seconds: float = 10.0) -> Delivery:
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(map(wanted, self.deliveries)), seconds), "nothing such arrived"
            return next(filter(wanted, self.deliveries))
