"""Rate limit for wrong passwords and secrets, which are counted for each address.

Above a number per minute, the response to a wrong credential has the status 429, and is delayed if the credential is a
guess. Correct credentials always pass, because Label Studio, people and an attacker may share the address of one proxy.

A *guess* is a wrong credential that the address has not sent before. A repeated wrong credential is not delayed: it
usually comes from a Label Studio that still uses a replaced secret, and a delay would make its annotators wait.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from cachetools import FIFOCache, TTLCache

log = structlog.get_logger()

#: Length of the counting window from the first wrong credential, seconds.
WINDOW_SECONDS = 60.0
#: Seconds that each guess above the limit adds to the delay, and the longest delay, seconds.
STEP_SECONDS, LONGEST_DELAY_SECONDS = 0.25, 5.0
#: Maximum number of addresses that are counted, and of wrong credentials (as digests) that are remembered for each.
MAX_ADDRESSES, MAX_DIGESTS = 4096, 32


@dataclass(frozen=True, slots=True)
class Penalty:
    """Penalty for a wrong credential above the limit, in seconds: ``Retry-After``, and the delay of the response."""

    retry_after: int
    delay: float


@dataclass(slots=True)
class _Count:
    began: float
    number: int = 0
    guesses: int = 0
    seen: FIFOCache[bytes, None] = field(default_factory=lambda: FIFOCache(MAX_DIGESTS))


class WrongCredentials:
    """Counter of wrong credentials in this process; thread-safe."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._counts: TTLCache[str, _Count] = TTLCache(MAX_ADDRESSES, WINDOW_SECONDS, clock)
        self._key = secrets.token_bytes(16)
        self._guard = threading.Lock()

    def note(self, address: str, credential: str) -> Penalty | None:
        """Count one wrong credential and return its penalty; None while the address is within the limit."""
        digest = hashlib.blake2b(credential.encode(errors="replace"), key=self._key, digest_size=8).digest()
        network = network_of(address)
        now = self._clock()
        with self._guard:
            count = self._counts.setdefault(network, _Count(now))
            count.number += 1
            guess = digest not in count.seen
            if guess:
                count.guesses += 1
                count.seen[digest] = None
            number, guesses, ends = count.number, count.guesses, count.began + WINDOW_SECONDS
        if number <= self._most:
            return None
        if number == self._most + 1:
            log.warning("credentials.wrong", address=network, number=number, within_seconds=WINDOW_SECONDS)
        over = max(0, guesses - self._most) if guess else 0
        return Penalty(max(1, math.ceil(ends - now)), min(LONGEST_DELAY_SECONDS, STEP_SECONDS * over))


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and an IPv6 address as its /64 network, which one host usually controls."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
