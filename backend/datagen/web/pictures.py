"""``/images/<digest>.png``: synthesized pictures, for who has a signed link."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from datagen.errors import Refused, StoreError
from datagen.store.images import ImageStore
from datagen.store.links import PREFIX, Links


def pictures_blueprint(images: ImageStore, links: Links) -> Blueprint:
    """The view; Label Studio's editor draws pictures on a canvas, and so needs the CORS header."""
    blueprint = Blueprint("pictures", __name__)

    @blueprint.get(f"/{PREFIX}/<string(length=64):digest>.png")
    def picture(digest: str) -> ResponseReturnValue:
        try:
            links.check(digest, request.args.get("key", ""))
            data = images.get(digest)
        except Refused as refusal:
            return {"error": str(refusal)}, 403
        except StoreError as missing:
            return {"error": str(missing)}, 404
        return Response(
            data,
            mimetype="image/png",
            headers={
                "Access-Control-Allow-Origin": "*",  # the link is the permission; no cookie is involved
                "Cache-Control": "private, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    return blueprint
