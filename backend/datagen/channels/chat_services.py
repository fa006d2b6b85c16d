"""Notifications through chat and push services that the library apprise supports (Slack, Teams, Telegram …).

apprise supports more than 180 services. Some of them send requests to any host, show messages on this machine or read
files that an address names. So only listed services are used, with listed options. A service whose address
contains a host is used only if the host is listed, or is one of that service's provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from datagen.channels.target_policy import AllowedHosts
from datagen.domain.notification import Message
from datagen.errors import DeliveryFailed, Refused

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

#: Service whose address contains a host → the hosts of its provider: Microsoft Teams by Power Automate.
_PROVIDER_HOSTS = {
    name: AllowedHosts(("*.logic.azure.com", "*.api.powerplatform.com")) for name in ("workflow", "workflows")
}
#: Hosts of the https addresses that services offer for copying; apprise accepts these addresses, too.
_COPIED_FROM = AllowedHosts(
    (
        "hooks.slack.com",
        "discord.com",
        "discordapp.com",
        "chat.googleapis.com",
        "*.logic.azure.com",
        "*.api.powerplatform.com",
    )
)
#: Options that addresses may contain. Others are refused: some name files of this machine, or weaken the connection.
_OPTIONS = frozenset(
    (
        *("to", "channel", "thread", "topic", "silent", "priority", "sound", "tts"),
        *("format", "footer", "image", "avatar"),
        *("key", "token", "threadkey", "api-version", "sp", "sv", "sig"),  # of copied addresses
    )
)
#: Seconds for one message.
_SECONDS = 20.0
_STATUS = re.compile(r"error=(\d{3})\b")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=://)", re.IGNORECASE)


class ChatServices:
    """The services that notifications may be sent through."""

    def __init__(self, names: Iterable[str] = (), hosts: AllowedHosts | None = None) -> None:
        self._names = frozenset(names)
        self._hosts = hosts if hosts is not None else AllowedHosts()

    def is_copied_address(self, host: str) -> bool:
        """Return whether an http address with this host is one that a service shows to be copied."""
        return host in _COPIED_FROM

    def name_of(self, address: str) -> str:
        """Return the name of the service that an address belongs to, for people.

        Raises:
            Refused: the service or an option is not listed, or the address is not complete; the message does not repeat
                the address.
        """
        return str(self._plugin(address).service_name)

    def send(self, address: str, message: Message) -> str:
        """Send a notification, and return how the service answered.

        Raises:
            DeliveryFailed: the service did not accept it; a later attempt may succeed.
        """
        from apprise import Apprise, NotifyFormat

        try:
            plugin = self._plugin(address)
        except Refused as refusal:  # the settings changed
            raise DeliveryFailed(str(refusal)) from None
        sender = Apprise(asset=plugin.asset)
        sender.add(plugin)
        result = sender.notify(body=message.text, title=message.title, body_format=NotifyFormat.TEXT)
        if not result:
            lines = (entry.message for service in result for attempt in service for entry in attempt)
            statuses = [status[1] for line in lines if (status := _STATUS.search(line))]
            answered = f" (it answered with {statuses[-1]})" if statuses else ""
            raise DeliveryFailed(f"{plugin.service_name} did not accept the message{answered}")
        return f"accepted by {plugin.service_name}"

    def _plugin(self, address: str) -> NotifyBase:
        scheme = _SCHEME.match(address)
        name = scheme[0].lower() if scheme else ""
        if name not in self._names and name != "https":
            raise Refused(
                f"“{name}://” is no service that notifications may be sent through; there are: "
                f"{', '.join(sorted(self._names))} (setting DATAGEN_NOTIFICATION_SERVICES)"
            )
        for option in re.split("[?&;]", address)[1:]:
            option_name = unquote(option.partition("=")[0]).strip().lower()
            if option_name not in _OPTIONS:
                raise Refused(f"the option {option_name[:50]!r} of the address is not accepted; leave it out")
        from apprise import Apprise

        plugin = Apprise.instantiate(address, asset=_asset())
        names = _schemes(plugin) if plugin is not None else frozenset()
        if plugin is None or not names & self._names:
            raise Refused(
                f"this is no complete address of {name}://; the documentation of apprise shows what it consists of"
            )
        templates: Sequence[str] = plugin.templates
        if any("{host}" in template for template in templates):
            self._check_host(str(plugin.host or ""), names)
        plugin.redirects, plugin.verify_certificate = False, True
        return plugin

    def _check_host(self, host: str, names: frozenset[str]) -> None:
        known = any(host in _PROVIDER_HOSTS[name] for name in names if name in _PROVIDER_HOSTS)
        if not known and host not in self._hosts:
            raise Refused(f"the host {host} is none of DATAGEN_NOTIFICATION_HOSTS; an administrator can add it")


def _schemes(plugin: NotifyBase) -> frozenset[str]:
    """Return the beginnings of addresses that a service accepts."""
    protocols: list[str] = []
    for given in (plugin.protocol, plugin.secure_protocol):
        protocols += [given] if isinstance(given, str) else given or []
    return frozenset(protocols)


def _asset() -> AppriseAsset:
    """Return apprise's settings: no redirects, no files, no pictures of other servers, addresses hidden in logs."""
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="Datagen",
        app_desc="Datagen for Label Studio",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,
        secure_logging=True,
        async_mode=False,
        service_timeout=_SECONDS,
        result_log_memory_size=20_000,
    )
