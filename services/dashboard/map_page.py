"""The map of the pool: a page that loads at once, and its points as one binary answer."""

import json
import struct
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
import numpy as np

from atlas.analysis.points import Points, points
from atlas.analysis.pool_map import MOST
from atlas.analysis.stored import count_images
from atlas.errors import ModelError
from atlas.project import Project
from services.api.common import ImageId
from services.dashboard.pictures import short_names
from services.dashboard.rendering import render
from services.signed_links import LARGEST, SMALLEST, signed_path

HOVER_SIDE = 168
KEPT_S = 600
ALIGNED = 8

router = APIRouter(include_in_schema=False)


@router.get("/map")
def get_map(request: Request) -> Response:
    """The page without its points."""
    project: Project = request.app.state.project
    with project.database.reader() as session:
        images = count_images(session)
    tasks = list(project.taxonomy.tasks)
    finest = project.taxonomy.levels[-1]
    return render(request, "map.html.j2", levels=tasks, finest=finest, images=images, most=MOST)


@router.get("/map/points")
def get_points(request: Request, level: str) -> Response:
    """Every point at one level, see `pack`; JSON that says why not where the map is not drawn."""
    project: Project = request.app.state.project
    if level not in project.taxonomy.tasks:
        known = ", ".join(project.taxonomy.tasks)
        raise HTTPException(404, f"no level {level!r}; known: {known}")
    try:
        found = points(project, level)
    except ModelError as error:
        return JSONResponse({"why_not": str(error)}, headers={"Cache-Control": "no-store"})
    return Response(
        pack(found),
        media_type="application/octet-stream",
        headers={"Cache-Control": "no-store"},
    )


@router.get("/map/pictures/{image_id}")
def get_picture(
    image_id: ImageId,
    request: Request,
    side: Annotated[int, Query(ge=SMALLEST, le=LARGEST)] = HOVER_SIDE,
) -> Response:
    """The way to a picture: signing a link for every point beforehand would be slow."""
    answer = RedirectResponse(signed_path(request.app.state.project, image_id, side=side))
    answer.headers["Cache-Control"] = f"private, max-age={KEPT_S}"
    return answer


def pack(found: Points) -> bytes:
    """Points as a browser reads them without parsing, little-endian.

    uint32 length of the header, the header (JSON, padded with blanks so that what follows begins
    at a multiple of 8), then one after the other, N each: x and y float32; label, predicted,
    asked and sure int16, the last in thousandths; the eight bytes of the id.
    """
    header = json.dumps(
        {
            "n": len(found.ids),
            "pool": found.pool,
            "classes": short_names(found.classes),
            "explained": found.explained,
        }
    ).encode()
    header += b" " * (-(len(header) + 4) % ALIGNED)
    places = found.places.astype("<f4")
    ids = "".join(one.removeprefix("img_") for one in found.ids)
    return b"".join(
        (
            struct.pack("<I", len(header)),
            header,
            np.ascontiguousarray(places[:, 0]).tobytes(),
            np.ascontiguousarray(places[:, 1]).tobytes(),
            found.label.astype("<i2").tobytes(),
            found.predicted.astype("<i2").tobytes(),
            found.asked.astype("<i2").tobytes(),
            np.rint(found.sure * 1000).astype("<i2").tobytes(),
            bytes.fromhex(ids),
        )
    )
