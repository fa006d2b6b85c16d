"""The rooms (packages) of `backend/datagen/`, and which other rooms each may import."""

from __future__ import annotations

#: Room → the rooms that it may import besides itself and `errors`; None for all rooms.
MAY_IMPORT: dict[str, set[str] | None] = {
    "domain": set(),
    "imaging": {"domain"},
    "synthesis": {"domain", "imaging"},
    "learning": {"domain", "synthesis"},
    "evaluation": {"domain", "imaging", "synthesis"},
    "export": {"domain", "imaging", "label_studio", "synthesis"},
    "store": {"domain"},
    "label_studio": {"domain", "store"},
    "channels": {"domain", "label_studio"},
    "workflow": {
        "domain",
        "imaging",
        "synthesis",
        "learning",
        "evaluation",
        "export",
        "store",
        "label_studio",
        "channels",
    },
    "queue": {"domain", "synthesis", "store", "label_studio", "workflow"},
    "entrypoints": {
        "domain",
        "imaging",
        "synthesis",
        "store",
        "label_studio",
        "channels",
        "workflow",
        "queue",
        "settings",
    },
    "operations": {
        "domain",
        "imaging",
        "synthesis",
        "store",
        "label_studio",
        "workflow",
        "queue",
        "entrypoints",
        "settings",
    },
    "web": {
        *("domain", "imaging", "export", "store", "label_studio", "workflow"),
        *("queue", "entrypoints", "operations", "settings"),
    },
    "cli": None,
    "__main__": None,
    "errors": set(),
    "settings": {"domain"},
}
