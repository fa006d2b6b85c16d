"""Opening of the filesystem behind an fsspec URL, with time-outs, and with errors that are sentences."""

from __future__ import annotations

from typing import Any

from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from datagen.errors import StoreError
from datagen.store.refusals import STORE_SETTING

#: Time-out for a connection to S3, seconds.
CONNECT_S = 3.0
#: Time-out for a read from S3, seconds; a request without an answer is sent once more.
ANSWER_S = 10.0
#: URL schemes of the S3 driver.
S3_SCHEMES = ("s3", "s3a")


def open_filesystem(
    url: str, *, answer_s: float = ANSWER_S, setting: str = STORE_SETTING
) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem of a URL and the path in it, without a slash at the end.

    Args:
        url: ``file:///folder``, ``s3://bucket/prefix``, or a URL of another installed driver.
        answer_s: time-out for an answer of S3, seconds.
        setting: the name of the setting or option with the URL, for error messages.

    Raises:
        StoreError: the installed packages cannot open the URL.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    try:
        # A cached listing would not contain an object that another process has just written.
        filesystem, root = url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **_time_outs(scheme, answer_s)
        )
    except ImportError as missing:
        raise StoreError(
            f"{setting} begins with {scheme}://, which needs a package that is not installed ({missing}); "
            "for S3: pip install 'label-studio-datagen[s3]'"
        ) from missing
    except ValueError as unknown:
        raise StoreError(
            f"{setting} begins with {scheme}://, which is no kind of store ({unknown}); "
            "use file:///folder or s3://bucket/prefix"
        ) from unknown
    if isinstance(filesystem, LocalFileSystem):
        filesystem.auto_mkdir = True
    return filesystem, root.rstrip("/")


def _time_outs(scheme: str, answer_s: float) -> dict[str, Any]:
    """Return the options that limit how long the driver of ``scheme`` waits for an answer.

    Time-outs in fsspec's configuration take precedence over ``answer_s``, which is in seconds.
    """
    if scheme not in S3_SCHEMES:
        return {}
    time_outs = {"connect_timeout": CONNECT_S, "read_timeout": answer_s, "retries": {"total_max_attempts": 2}}
    return {
        "config_kwargs": time_outs | conf.get("s3", {}).get("config_kwargs", {}),
        "max_concurrency": 1,  # pictures are small: read in one request, without a request for their size
    }
