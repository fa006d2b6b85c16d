"""A real Label Studio server from an environment of its own, on a free port, without telemetry."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from stage import label_studio_database
from stage.layout import LABEL_STUDIO_VENV, LABEL_STUDIO_VERSION
from stage.ports import free_port
from stage.processes import Processes, StageError

#: Name of the server among the processes.
NAME = "label-studio"
#: Maximum seconds for a start on a busy machine; a start on an older release's data includes migrations.
START_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class LabelStudio:
    """A running server and its only user. ``token`` is the user's legacy token.

    ``kept_token`` is the file that contains the user's personal access token.
    """

    url: str
    email: str
    password: str
    token: str
    kept_token: Path

    def personal_token(self) -> str:
        """The user's personal access token.

        Label Studio shows it only once, so it is stored in the file ``kept_token``.

        Raises:
            StageError: the user has a token that is not stored here.
        """
        if self.kept_token.exists():
            return self.kept_token.read_text().strip()
        with closing(self.session()) as browser:
            answer = browser.post("/api/token/", headers={"X-CSRFToken": browser.cookies["csrftoken"]})
        if answer.status_code == httpx.codes.CONFLICT:
            raise StageError(
                f"{self.email} has a personal access token already, and Label Studio shows one only once: "
                f"write it into {self.kept_token}, or revoke it in Account & Settings."
            )
        answer.raise_for_status()
        self.kept_token.touch(mode=0o600)
        self.kept_token.write_text(str(answer.json()["token"]))
        return self.kept_token.read_text()

    def session(self) -> httpx.Client:
        """Return a client with cookies, logged in as a browser is. The caller closes it."""
        browser = httpx.Client(base_url=self.url, follow_redirects=True, timeout=60, headers={"Referer": self.url})
        form = browser.get("/user/login/")
        form.raise_for_status()
        entry = {"email": self.email, "password": self.password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = browser.post("/user/login/", data=entry)
        if answer.status_code != httpx.codes.OK or "sessionid" not in browser.cookies:
            browser.close()
            raise StageError(f"Label Studio at {self.url} refused the log-in of {self.email}.")
        return browser


def start(
    processes: Processes, folder: Path, *, port: int | None = None, token: str = "", ssrf_protection: bool = False
) -> LabelStudio:
    """Start a server with its data in ``folder``; a later start with the same folder uses these data again.

    User, password and token are those of the first start, because Label Studio sets them once. SSRF protection is off
    by default, because all servers run on the loopback address. With ``ssrf_protection`` it is on, as in Label Studio's
    defaults.
    """
    program = LABEL_STUDIO_VENV / "bin" / "label-studio"
    if not program.exists():
        raise StageError(
            f"Label Studio {LABEL_STUDIO_VERSION} is not installed in {LABEL_STUDIO_VENV}; run scripts/test once "
            "(or scripts/demo): it sets it up."
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = folder / "files"
    files.mkdir(exist_ok=True)
    port = port or free_port()
    server = LabelStudio(
        url=f"http://127.0.0.1:{port}",
        email="annotator@example.com",
        password=kept_secret(folder / "password", secrets.token_urlsafe(12)),
        token=kept_secret(folder / "token", token or secrets.token_hex(20)),
        kept_token=folder / "personal_token",
    )
    env = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        **({} if ssrf_protection else {"SSRF_PROTECTION_ENABLED": "false", "ML_BLOCK_LOCAL_IP": "false"}),
        # one address for links, log-in and cookies, whatever the machine calls itself
        "LABEL_STUDIO_HOST": server.url,
        "PYTHONWARNINGS": "ignore",
    }
    label_studio_database.provide(folder, env)
    env |= {
        "LABEL_STUDIO_USERNAME": server.email,
        "LABEL_STUDIO_PASSWORD": server.password,
        "LABEL_STUDIO_USER_TOKEN": server.token,
    }
    argv: list[str | Path] = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(port)]
    processes.start(NAME, argv, env=env, cwd=folder, ready=lambda: _answers(server), within=START_WITHIN_S)
    return server


def _answers(server: LabelStudio) -> bool:
    """Return whether the started server answers on its port.

    If the port is taken, the server uses the next one. The token shows whether the answer comes from the started
    server.
    """
    try:
        return (
            httpx.get(
                f"{server.url}/api/current-user/whoami", headers={"Authorization": f"Token {server.token}"}, timeout=5
            ).status_code
            == httpx.codes.OK
        )
    except httpx.TransportError:
        return False


def kept_secret(path: Path, fresh: str) -> str:
    """Return the content of a file. If the file is missing, first write ``fresh`` to it, readable by its owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(fresh)
    return path.read_text().strip()
