"""Small pictures of the pool for web pages, by links that are signed and expire."""

import hmac
import io
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from atlas.images import read_bytes, shrink
from atlas.store.tables import Image
from services.api import answers
from services.api.common import ImageId, project_of
from services.signed_links import LARGEST, PATH, SMALLEST, sign

QUALITY = 85

JPEG: answers.Responses = {
    200: {
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        "description": "The picture, upright, no side longer than `side` pixels",
    },
    403: {"model": answers.Refused, "description": "The link is not Atlas's, or has expired"},
}

router = APIRouter(responses=answers.WRONG)


@router.get(
    PATH + "/{image_id}",
    response_class=Response,
    responses={**JPEG, **answers.NOT_THERE},
)
def get_picture(
    request: Request,
    image_id: ImageId,
    side: Annotated[int, Query(ge=SMALLEST, le=LARGEST)],
    expires: Annotated[int, Query(ge=0, le=10**11, description="Unix time in seconds.")],
    signature: Annotated[str, Query(max_length=64)],
) -> Response:
    """A picture of the pool as JPEG, by a link that Atlas gave out (`picture` in the queue)."""
    project = project_of(request)
    wanted = sign(project, image_id, side, expires)
    if not hmac.compare_digest(signature.encode(), wanted.encode()):
        raise HTTPException(403, "this link was not made by Atlas; take one from /api/v1/queue")
    left_s = expires - int(time.time())
    if left_s <= 0:
        raise HTTPException(403, "this link has expired; load the page it stands on again")
    with project.database.reader() as session:
        image = session.get(Image, image_id)
    if image is None:
        raise HTTPException(404, f"no image {image_id!r}")
    location = project.absolute(image.location)
    file = io.BytesIO()
    shrink(read_bytes(location), location, side).save(file, "JPEG", quality=QUALITY)
    # An id stands for the same bytes for ever.
    kept = f"private, max-age={left_s}, immutable"
    return Response(file.getvalue(), media_type="image/jpeg", headers={"Cache-Control": kept})
