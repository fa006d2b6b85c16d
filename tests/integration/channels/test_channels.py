"""Channels with real sockets: signed webhooks, mails, what is refused, and how long a receiver may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from apprise import NotifyBase

from datagen.channels import webhooks
from datagen.channels.channels import Channels
from datagen.channels.chat_services import ChatServices
from datagen.channels.mail import MailServer
from datagen.channels.target_policy import AllowedHosts, TargetPolicy
from datagen.channels.webhooks import new_secret, signature
from datagen.domain.notification import Channel, Message, NotificationEvent
from datagen.errors import DeliveryFailed, DeliveryRefused, Refused, SettingsProblem
from notification_servers import HookServer, SmtpServer, hook_server, smtp_server

SECRET = new_secret()
TITLE = "\u2068خدش 🦠\u2069: preview round 3 is ready for review"
MESSAGE = Message(
    id="msg_1",
    event=NotificationEvent.ROUND_READY,
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    title=TITLE,
    text=f"{TITLE}.\n\nhttps://datagen.test/studio/studies/1/round/3\n",
    data={"study": {"id": 1, "name": "خدش 🦠"}},
)
HERE = AllowedHosts(["127.0.0.1", "localhost"])


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with hook_server() as server:
        yield server


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


def send_hook(url: str, channels: Channels | None = None) -> str:
    return (channels or Channels(hosts=HERE)).send(Channel.WEBHOOK, url, SECRET, MESSAGE)


def mail_to(smtp: SmtpServer, user: str = "") -> Channels:
    mail = MailServer.of(f"smtp://{user}127.0.0.1:{smtp.port}", "datagen@example.org")
    return Channels(mail=mail)


def test_webhook_is_signed_with_id_and_time(hooks: HookServer) -> None:
    assert send_hook(f"{hooks.url}/path?key=1") == "answered with 204"
    [hook] = hooks.hooks
    assert (hook.path, hook.headers["content-type"]) == ("/path?key=1", "application/json")
    assert hook.body.decode() == (
        '{"type":"round.ready","timestamp":"2026-01-02T03:04:05.000Z","data":{"study":{"id":1,"name":"خدش 🦠"}}}'
    )
    sent_at = int(hook.headers["webhook-timestamp"])
    assert abs(time.time() - sent_at) < 60
    assert hook.headers["webhook-id"] == "msg_1"
    assert hook.headers["webhook-signature"] == signature(SECRET, "msg_1", sent_at, hook.body)


def test_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's reference libraries."""
    secret, message_id, sent_at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, message_id, sent_at, b'{"test": 2432232314}') == expected


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_answer_that_is_no_success_is_a_failure_and_no_redirect_is_followed(hooks: HookServer, status: int) -> None:
    hooks.answers = [status]
    with pytest.raises(DeliveryFailed, match=f"answered with {status}"):
        send_hook(hooks.url)
    assert [hook.path for hook in hooks.hooks] == ["/"]


def test_receiver_that_is_gone_refuses_for_good(hooks: HookServer) -> None:
    hooks.answers = [410]
    with pytest.raises(DeliveryRefused, match="wants no more"):
        send_hook(hooks.url)


def test_receiver_that_does_not_answer_in_time_is_a_failure(hooks: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "EXCHANGE_SECONDS", 0.3)
    gave_up = threading.Event()
    hooks.before_answer = lambda: gave_up.wait(30)
    with pytest.raises(DeliveryFailed, match="did not answer within"):
        send_hook(hooks.url)
    gave_up.set()


@contextmanager
def dripping_server() -> Iterator[str]:
    """A receiver that sends the head of its answer one byte at a time, without end."""
    stopped = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while not stopped.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    stopped.set()
    thread.join()
    server.close()


def test_receiver_that_answers_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "EXCHANGE_SECONDS", 0.5)
    began = time.monotonic()
    with dripping_server() as url, pytest.raises(DeliveryFailed, match="did not answer within"):
        send_hook(url)
    assert time.monotonic() - began < 5


def test_body_of_an_answer_is_not_read() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nendless")
            while connection.recv(65536):  # until the sender ends the connection
                pass

    thread = threading.Thread(target=answer)
    thread.start()
    assert send_hook(f"http://127.0.0.1:{server.getsockname()[1]}") == "answered with 200"
    thread.join(10)
    assert not thread.is_alive()
    server.close()


def test_nothing_listens_there_is_a_failure_without_the_address() -> None:
    with pytest.raises(DeliveryFailed, match="no connection to the receiver") as failure:
        send_hook("http://127.0.0.1:1/secret-path")
    assert "secret-path" not in str(failure.value)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"),
        *("64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "::7f00:1", "fec0::1"),
    ],
)
def test_name_that_means_this_machine_or_the_local_network_is_not_sent_to(hooks: HookServer, address: str) -> None:
    channels = Channels(policy=TargetPolicy(AllowedHosts(), lambda _host, _port: [ip_address(address)]))
    url = f"http://hooks.example.org:{hooks.url.rpartition(':')[2]}/"
    assert channels.address_of(url).value == url, "the name alone does not tell"
    with pytest.raises(DeliveryFailed, match=r"not on the internet|nothing is fetched from"):
        send_hook(url, channels)
    assert hooks.hooks == []


def test_address_that_is_a_number_of_this_machine_is_not_sent_to(hooks: HookServer) -> None:
    port = hooks.url.rpartition(":")[2]
    with pytest.raises(DeliveryFailed):
        send_hook(f"http://2130706433:{port}/", Channels())
    assert hooks.hooks == []


def test_with_a_list_of_hosts_only_those_are_sent_to(hooks: HookServer) -> None:
    port = hooks.url.rpartition(":")[2]
    listed = AllowedHosts(["*.example.org", "10.0.0.7"])
    policy = TargetPolicy(listed, lambda _host, _port: [ip_address("127.0.0.1")])
    channels = Channels(policy=policy)
    assert send_hook(f"http://hooks.Example.org:{port}/", channels) == "answered with 204"
    for host in ("example.org", "hooks.example.com", "evil-example.org", "8.8.8.8"):
        with pytest.raises(Refused, match="none of DATAGEN_NOTIFICATION_HOSTS"):
            channels.address_of(f"https://{host}/")
        with pytest.raises(DeliveryFailed, match="none of DATAGEN_NOTIFICATION_HOSTS"):
            send_hook(f"http://{host}:{port}/", channels)


def test_mail_has_names_of_any_letters_and_an_id_that_stays(smtp: SmtpServer) -> None:
    for _ in range(2):
        outcome = mail_to(smtp, "datagen:pass%40word@").send(Channel.EMAIL, "ann@example.org", "", MESSAGE)
        assert outcome == "accepted by the mail server"
    first, second = smtp.mails
    assert first["Subject"] == TITLE
    assert TITLE in first.get_content()
    assert (first["To"], first["From"]) == ("ann@example.org", "datagen@example.org")
    assert first["Message-ID"] == second["Message-ID"] == "<msg_1@example.org>"
    assert smtp.recipients == ["ann@example.org"] * 2
    assert smtp.log_ins[0] == ("datagen", "pass@word")


def test_mail_server_that_refuses_for_now_is_asked_again_and_one_that_refuses_for_good_is_not(smtp: SmtpServer) -> None:
    smtp.answers = ["451 later", "550 nobody of that name"]
    with pytest.raises(DeliveryFailed, match="SMTP 451") as later:
        mail_to(smtp).send(Channel.EMAIL, "ann@example.org", "", MESSAGE)
    assert not isinstance(later.value, DeliveryRefused)
    with pytest.raises(DeliveryRefused, match="SMTP 550"):
        mail_to(smtp).send(Channel.EMAIL, "ann@example.org", "", MESSAGE)


def test_password_is_not_sent_without_encryption_to_another_machine(
    smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda _to, *rest: connect(("127.0.0.1", smtp.port), *rest))
    channels = Channels(mail=MailServer.of("smtp://user:secret@mail.test", "datagen@example.org"))
    with pytest.raises(DeliveryFailed, match="offers no encryption"):
        channels.send(Channel.EMAIL, "ann@example.org", "", MESSAGE)
    assert smtp.log_ins == smtp.mails == []


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("http://mail.test", "a@b.org"),
        ("smtp://", "a@b.org"),
        ("smtp://u:secret@mail.test:x", "a@b.org"),
        ("smtp://mail.test/secret", "a@b.org"),
        ("smtp://u:secret@mail.test", ""),
    ],
)
def test_wrong_mail_server_is_refused_without_repeating_it(url: str, sender: str) -> None:
    with pytest.raises(SettingsProblem, match=r"DATAGEN_(SMTP_URL|MAIL_FROM)") as problem:
        MailServer.of(url, sender)
    assert "secret" not in str(problem.value)


def test_without_a_mail_server_mails_are_refused_with_the_setting() -> None:
    with pytest.raises(Refused, match="DATAGEN_SMTP_URL"):
        Channels().address_of("ann@example.org")


@pytest.fixture
def chat(hooks: HookServer) -> tuple[ChatServices, str]:
    """apprise's generic service with a host of its own, listed by an administrator; and its address."""
    return ChatServices(["json", "slack"], HERE), f"json://127.0.0.1:{hooks.url.rpartition(':')[2]}/in"


def test_service_of_an_administrators_list_is_sent_to(hooks: HookServer, chat: tuple[ChatServices, str]) -> None:
    services, address = chat
    assert services.send(address, MESSAGE) == "accepted by JSON"
    assert "خدش 🦠".encode() in hooks.hooks[0].body or "\\u062e" in hooks.hooks[0].body.decode()
    assert hooks.hooks[0].path == "/in"


def test_service_that_fails_is_a_failure_with_its_status(hooks: HookServer, chat: tuple[ChatServices, str]) -> None:
    services, address = chat
    hooks.answers = [503]
    with pytest.raises(DeliveryFailed, match=r"JSON did not accept the message \(it answered with 503\)") as failure:
        services.send(address, MESSAGE)
    assert "127.0.0.1" not in str(failure.value)


def test_service_does_not_follow_a_redirect(hooks: HookServer, chat: tuple[ChatServices, str]) -> None:
    services, address = chat
    hooks.answers = [307]
    with pytest.raises(DeliveryFailed):
        services.send(address, MESSAGE)
    assert [hook.path for hook in hooks.hooks] == ["/in"]


def test_service_with_a_host_that_is_not_listed_is_refused(hooks: HookServer) -> None:
    services = ChatServices(["json", "workflows"], AllowedHosts(["chat.example.org"]))
    address = f"json://127.0.0.1:{hooks.url.rpartition(':')[2]}/"
    with pytest.raises(Refused, match="none of DATAGEN_NOTIFICATION_HOSTS"):
        services.name_of(address)
    with pytest.raises(DeliveryFailed, match="none of DATAGEN_NOTIFICATION_HOSTS"):
        services.send(address, MESSAGE)
    assert hooks.hooks == []


def test_teams_is_sent_to_at_microsofts_hosts_alone() -> None:
    services = ChatServices(["workflow", "workflows"])
    tail = "/workflows/abcd1234/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers&sv=1.0&sig=iXKeq"
    assert "Teams" in services.name_of(f"https://prod-20.uksouth.logic.azure.com:443{tail}")
    with pytest.raises(Refused, match="none of DATAGEN_NOTIFICATION_HOSTS"):
        services.name_of("workflows://evil.example.org/abcd1234/iXKeq")


def test_options_of_an_address_cannot_weaken_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(NotifyBase, "notify", lambda self, **_: seen.append(self) or True)
    services = ChatServices(["slack"])
    services.send("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", MESSAGE)
    assert [(plugin.redirects, plugin.verify_certificate) for plugin in seen] == [(False, True)]
    for option in ("redirect=yes", "verify=no", "retry=10", "rto=99", "template=/etc/passwd", "+header=x"):
        with pytest.raises(Refused, match="option"):
            services.name_of(f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?{option}")
