"""Accounts of Label Studio and a store of sessions, both in memory, for tests of the studio's pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from datagen.errors import LabelStudioUnavailable, Refused
from datagen.label_studio.api.accounts import LOG_IN_REFUSED, REFUSED_CREDENTIAL, Account


@dataclass
class FakeAccounts:
    """An ``AccountDirectory`` of people with a password and a token each."""

    #: e-mail address → id
    people: dict[str, int] = field(default_factory=lambda: {"ann@example.com": 1, "bo@example.com": 2})
    #: e-mail address → ids of the projects that the person may see; every project of those who are not listed
    restricted: dict[str, frozenset[int]] = field(default_factory=dict)
    is_on: bool = True
    #: number of checks whether an account is still a member
    asked: int = 0

    def by_token(self, token: str, project_ids: Sequence[int]) -> Account:
        self._answer()
        for email in self.people:
            if token == f"token of {email}":
                return self._account(email, project_ids)
        raise Refused(REFUSED_CREDENTIAL)

    def by_password(self, email: str, password: str, project_ids: Sequence[int]) -> Account:
        self._answer()
        if email not in self.people or password != f"password of {email}":
            raise Refused(LOG_IN_REFUSED)
        return self._account(email, project_ids)

    def is_member(self, account: Account) -> bool:
        self.asked += 1
        self._answer()
        return self.people.get(account.email) == account.id

    def _account(self, email: str, project_ids: Sequence[int]) -> Account:
        seen = self.restricted.get(email)
        visible = None if seen is None else seen & frozenset(project_ids)
        return Account(id=self.people[email], email=email, project_ids=visible)

    def _answer(self) -> None:
        if not self.is_on:
            raise LabelStudioUnavailable("Label Studio cannot be reached")


@dataclass
class Expiring:
    """The commands of Redis that sessions use, with a clock that a test moves."""

    now: float = 1_000_000.0
    values: dict[str, tuple[str, float]] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def get(self, name: str, /) -> bytes | None:
        value, until = self.values.get(name, ("", 0.0))
        return value.encode() if until > self.now else None

    def set(self, name: str, value: str, /, *, ex: int, xx: bool) -> None:
        if not xx or self.get(name) is not None:
            self.values[name] = (value, self.now + ex)

    def delete(self, name: str, /) -> None:
        self.values.pop(name, None)
