"""Signed, expiring links to pictures: who has the link may see the picture, until it expires."""

from __future__ import annotations

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from datagen.errors import Refused

#: The links' first path segment below the web process's own address.
PREFIX = "images"


class Links:
    """Makes and checks links; ``key`` signs them, ``days`` is how long one lives."""

    def __init__(self, own_url: str, key: bytes, days: int) -> None:
        self._base = f"{own_url}/{PREFIX}"
        self._signer = URLSafeTimedSerializer(key, salt="datagen.image")
        self._max_age = days * 86_400

    def make(self, digest: str) -> str:
        """The address of a stored picture."""
        return f"{self._base}/{digest}.png?key={self._signer.dumps(digest[:16])}"

    def check(self, digest: str, key: str) -> None:
        """Let a good link pass.

        Raises:
            Refused: the link was not made by us for this picture, or has expired.
        """
        try:
            signed = self._signer.loads(key, max_age=self._max_age)
        except SignatureExpired:
            raise Refused("this link has expired; publish the task again to get a new one") from None
        except BadSignature:
            raise Refused("this link is not valid") from None
        if signed != digest[:16]:
            raise Refused("this link is for another picture")
