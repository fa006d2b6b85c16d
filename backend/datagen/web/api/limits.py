"""Path and bounds of the API, which the web process and the process that serves it share."""

from __future__ import annotations

#: Path of the API; the number changes with incompatible changes alone.
ROOT = "/api/v1"
#: Path below it of the files of downloads; their requests have threads of their own, see ``web.view_pools``.
DOWNLOADS = "/downloads"
#: Largest JSON body of a request, and largest upload, bytes; a folder of photos is sent in several uploads.
LARGEST_JSON, LARGEST_UPLOAD = 64 * 1024, 15 * 2**20
