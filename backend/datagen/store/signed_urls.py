"""Signed, expiring links to pictures: who has the link may see the picture, until it expires."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from itsdangerous import BadSignature, TimestampSigner, URLSafeTimedSerializer

from datagen.domain.wording import counted
from datagen.errors import Refused

#: The links' first path segment below the web process's own address.
PREFIX = "images"

_DAY_S = 86_400
#: Days by which the clock of the machine that made a link may be ahead: across midnight, or a wrong time zone.
_DAYS_AHEAD = 1


class _DaySigner(TimestampSigner):
    """Stamps the day instead of the second: the same picture has the same link all day.

    So a task that is told again is found as it is and left alone, and browsers find the picture in their cache.
    """

    def get_timestamp(self) -> int:
        """The beginning of this day (UTC), in seconds since the epoch."""
        return super().get_timestamp() // _DAY_S * _DAY_S


class SignedUrls:
    """Makes and checks links; one lives until the end of the day ``days`` after it was made.

    Of several keys the last one signs, and each lets a link in: so the key is changed while links of the old one are
    still about.
    """

    def __init__(self, own_url: str, key: bytes | Sequence[bytes], days: int) -> None:
        self._base = f"{own_url}/{PREFIX}"
        self._signer = URLSafeTimedSerializer(key, salt="datagen.image", signer=_DaySigner)
        self._days = days

    def make(self, digest: str) -> str:
        """The address of a stored picture."""
        return f"{self._base}/{digest}.png?key={self._signer.dumps(digest[:16])}"

    def opens(self, link: str, digest: str) -> bool:
        """Whether a link leads to us and shows this picture."""
        address, _, key = link.partition("?key=")
        if address != f"{self._base}/{digest}.png":
            return False
        try:
            self.check(digest, key)
        except Refused:
            return False
        return True

    def check(self, digest: str, key: str) -> None:
        """Let a good link pass.

        Raises:
            Refused: the link was not made by us for this picture, has expired, or is dated more than a day ahead.
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
