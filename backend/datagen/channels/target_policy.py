"""Which hosts notifications are sent to: those of an allow-list, or those on the internet.

The address of a webhook is given by a person, so it must not make this machine send requests into its own network. The
name is resolved once, and the connection is made to an address that was checked (see ``Wire``).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address

import httpcore

from datagen.label_studio.api.transport import Address, AddressPolicy, Resolver, resolved

#: Prefixes of IPv6 addresses that contain an IPv4 address, which may be a private one: those that a gateway translates
#: (RFC 6052, RFC 8215), and the compatible ones of RFC 4291.
_TRANSLATED = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
_SETTING = "DATAGEN_NOTIFICATION_HOSTS"


class AllowedHosts:
    """Host names and IP addresses; ``*.example.org`` stands for every name below ``example.org``."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        entries = [host.lower().rstrip(".") for host in hosts]
        self._names = frozenset(entry for entry in entries if not entry.startswith("*."))
        self._suffixes = tuple(entry[1:] for entry in entries if entry.startswith("*."))

    def __bool__(self) -> bool:
        return bool(self._names or self._suffixes)

    def __contains__(self, host: str) -> bool:
        name = host.lower().rstrip(".").strip("[]")
        return name in self._names or name.endswith(self._suffixes)


class TargetPolicy(AddressPolicy):
    """Policy for the IP addresses that notifications are sent to.

    If hosts are listed, only those are allowed, also in the local network. Otherwise every public address is allowed.
    """

    def __init__(self, hosts: AllowedHosts, resolve: Resolver = resolved) -> None:
        super().__init__(resolve)
        self._hosts = hosts

    def problem_of(self, host: str) -> str:
        """Return, as a clause, why requests to a host are refused by its name; empty if they are not."""
        if self._hosts:
            return "" if host in self._hosts else f"the host {host} is none of {_SETTING}"
        try:
            address = ip_address(host.strip("[]"))
        except ValueError:
            is_local = host.lower().rstrip(".") == "localhost"
        else:
            is_local = not _is_public(address)
        return f"the host {host} is not on the internet; an administrator can add it to {_SETTING}" if is_local else ""

    def addresses(self, host: str, port: int) -> list[Address]:
        """The allowed IP addresses of a host, in the resolver's order.

        Raises:
            httpcore.ConnectError: The host is unknown or not allowed; the message says which, without an address.
        """
        if problem := self.problem_of(host):
            raise httpcore.ConnectError(problem)
        addresses = super().addresses(host, port)
        if self._hosts:
            return addresses
        public = [address for address in addresses if _is_public(address)]
        if not public:
            raise httpcore.ConnectError(
                f"the host {host} is not on the internet; an administrator can add it to {_SETTING}"
            )
        return public


def _is_public(address: Address) -> bool:
    """Return whether an address belongs to the internet, and to no tunnel whose end may be elsewhere."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address.is_site_local:
            return False
        if any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast
