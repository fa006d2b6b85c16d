"""Damaged data from a seed, for tests of code that reads data from outside. The same seed gives the same data.

It is made from valid data by damage in a few places, because the first check would refuse plain noise."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

_TEXTS = (
    *("", " ", "\x00", "\ud800", "é", "‮", "🙂" * 40, "a" * 5000, "../../etc/passwd", "<script>alert(1)</script>"),
    *("'; DROP TABLE inbox; --", "%s%n", "{{7*7}}", "NaN", "null", "-1", "1e999", "good", "bad", "rectanglelabels"),
)
_NUMBERS = (
    *(0, -1, 1, 100, 101, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400),
    *(0.1, -0.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 99.99999999),
)


class Nonsense:
    """Source of damaged values from one seed. It never ends."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a seed makes it repeatable

    def harmed(self, example: Any) -> Any:
        """Return a copy of a valid JSON value, damaged in one to four places."""
        damaged = copy.deepcopy(example)
        for _ in range(self.random.randint(1, 4)):
            damaged = self._harm(damaged)
        return damaged

    def value(self, depth: int = 3) -> Any:
        """Return a random JSON value, possibly one that only Python's JSON accepts (NaN, infinity)."""
        kind = self.random.randrange(8 if depth else 6)
        if kind == 0:
            return self.random.choice((None, True, False))
        if kind in (1, 2):
            return self.random.choice(_NUMBERS)
        if kind in (3, 4, 5):
            return self.text()
        few = range(self.random.randrange(5))
        if kind == 6:
            return [self.value(depth - 1) for _ in few]
        return {self.text(): self.value(depth - 1) for _ in few}

    def text(self) -> str:
        """Return a random text of a kind that is hard to handle."""
        if self.random.random() < 0.8:
            return self.random.choice(_TEXTS)
        return "".join(
            chr(self.random.choice((self.random.randrange(0x20, 0x7F), self.random.randrange(0xD7FF))))
            for _ in range(self.random.randrange(30))
        )

    def body(self, example: Any) -> bytes:
        """Return the JSON of a damaged ``example``, as bytes that may be damaged too."""
        kind = self.random.random()
        if kind < 0.03:
            return self.random.randbytes(self.random.randrange(200))
        if kind < 0.05:
            return b"[" * self.random.choice((10, 1000, 100_000))
        if kind < 0.06:
            return b'{"action":' + b"9" * self.random.choice((10, 5000)) + b"}"
        data = json.dumps(self.harmed(example)).encode("utf-8", "surrogatepass")
        if kind < 0.15 and data:
            cut = self.random.randrange(len(data))
            return data[:cut] + (self.random.randbytes(2) + data[cut + 1 :] if kind < 0.10 else b"")
        if kind < 0.18:
            return data.decode("utf-8", "replace").encode(
                self.random.choice(("utf-16", "utf-32", "latin-1")), "replace"
            )
        return data

    def _harm(self, thing: Any) -> Any:
        places = list(_places(thing))
        if not places:
            return self.value()
        container, key = self.random.choice(places)
        kind = self.random.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif kind == 2 and isinstance(container, dict):
            container[self.text()] = container.pop(key)
        elif kind == 3:
            container[key] = [container[key]]
        else:
            container[key] = self.value()
        return thing


def _places(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of every place in a JSON value."""
    keys = list(thing) if isinstance(thing, dict) else range(len(thing)) if isinstance(thing, list) else ()
    for key in keys:
        yield thing, key
        yield from _places(thing[key])
