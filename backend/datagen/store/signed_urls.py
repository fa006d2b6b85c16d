"""Signed, expiring links to pictures: a link grants access to one picture until it expires."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from itsdangerous import BadSignature, TimestampSigner, URLSafeTimedSerializer

from datagen.domain.wording import counted
from datagen.errors import Refused

#: First path segment of the links, below the web process's base URL.
PREFIX = "images"

_DAY_S = 86_400
#: Days by which a link may be dated in the future. This happens around midnight, or if the machine that signed the link
#: has a wrong time zone.
_DAYS_AHEAD = 1


class _DaySigner(TimestampSigner):
    """Signer whose time stamp is the day, not the second, so that a picture's link stays the same all day.

    A task that is published again on the same day is therefore unchanged and need not be rewritten. Browsers use their
    cached picture.
    """

    def get_timestamp(self) -> int:
        """Return the beginning of the current day (UTC), in seconds since the epoch."""
        return super().get_timestamp() // _DAY_S * _DAY_S


def is_link_to(text: str, digest: str) -> bool:
    """Return whether ``text`` is a link to this picture, of whichever address, and whether its key is valid or not."""
    address, has_key, _ = text.partition("?key=")
    return bool(has_key) and address.endswith(f"/{PREFIX}/{digest}.png")


class SignedUrls:
    """Creates and verifies links; a link is valid until the end of the day ``days`` after its creation.

    If there are several keys, the last one signs and each one verifies. This allows a change of the key while links
    that the old key signed are still in use.
    """

    def __init__(self, own_url: str, key: bytes | Sequence[bytes], days: int) -> None:
        self._base = f"{own_url}/{PREFIX}"
        self._signer = URLSafeTimedSerializer(key, salt="datagen.image", signer=_DaySigner)
        self._days = days

    def make(self, digest: str) -> str:
        """Return a link to a stored picture."""
        return f"{self._base}/{digest}.png?key={self._signer.dumps(digest[:16])}"

    def opens(self, link: str, digest: str) -> bool:
        """Return whether a link is a valid link of this installation to this picture."""
        address, _, key = link.partition("?key=")
        if address != f"{self._base}/{digest}.png":
            return False
        try:
            self.check(digest, key)
        except Refused:
            return False
        return True

    def check(self, digest: str, key: str) -> None:
        """Verify the key of a link to a picture.

        Raises:
            Refused: the key was not signed for this picture, has expired, or is dated more than a day ahead.
        """
        try:
            signed, made_at = self._signer.loads(key, return_timestamp=True)
        except BadSignature:
            raise Refused("this link is not valid") from None
        age_days = (datetime.now(UTC) - made_at) // timedelta(days=1)
        if age_days > self._days:
            raise Refused("this link has expired; publish the task again to get a new one")
        if age_days < -_DAYS_AHEAD:
            raise Refused(
                f"this link is dated {made_at:%Y-%m-%d}, {counted(-age_days, 'day')} ahead of this machine's clock; "
                "set the clocks of all machines by NTP"
            )
        if signed != digest[:16]:
            raise Refused("this link is for another picture")
