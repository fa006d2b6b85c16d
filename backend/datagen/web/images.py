"""``/images/<digest>.png``: synthesized images, served to requests with a signed link."""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from datagen.errors import Refused, StoreError, StoreMissing, StoreUnavailable
from datagen.store.blob_store import BlobStore
from datagen.store.signed_urls import PREFIX, SignedUrls

log = structlog.get_logger()

#: ``Retry-After`` of an image request while the image store is unavailable, seconds.
RETRY_AFTER_SECONDS = 10
_LATER = "the image store is unavailable; try again in a moment"


def pictures_blueprint(images: BlobStore, links: SignedUrls) -> Blueprint:
    """Return the blueprint of the view.

    Responses carry a CORS header, because Label Studio's editor draws images on an HTML canvas.
    """
    blueprint = Blueprint("pictures", __name__)

    @blueprint.get(f"/{PREFIX}/<string(length=64):digest>.png")
    def picture(digest: str) -> ResponseReturnValue:
        try:
            links.check(digest, request.args.get("key", ""))
            data = images.get(digest)
        except Refused as refusal:
            return {"error": str(refusal)}, 403
        except StoreMissing as missing:
            return {"error": str(missing)}, 404
        except StoreUnavailable as unavailable:
            log.warning("picture.store_unavailable", reason=unavailable.reason)
            return {"error": _LATER}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)}
        except StoreError as damaged:
            log.exception("picture.damaged", digest=digest, reason=str(damaged))
            return {"error": f"image {digest} is damaged; restore it from a backup"}, 500
        return Response(
            data,
            mimetype="image/png",
            headers={
                "Access-Control-Allow-Origin": "*",  # the signed link authorizes the request; no cookie is used
                "Cache-Control": "private, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    return blueprint
