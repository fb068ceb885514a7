"""The queue: the images that wait, in order, and why each was asked."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from atlas.analysis.waiting import waiting
from atlas.blinding import BLIND_REASON
from atlas.project import Project
from atlas.types import LABEL
from services.dashboard.pictures import gallery
from services.dashboard.rendering import render

PAGE = 50

router = APIRouter(include_in_schema=False)


@router.get("/queue")
def get_queue(
    request: Request, start: Annotated[int, Query(alias="from", ge=1, le=10**9)] = 1
) -> Response:
    """Fifty images from the place `from` on."""
    project: Project = request.app.state.project
    found = waiting(project, start=start - 1, limit=PAGE)
    return render(
        request,
        "queue.html.j2",
        queue=found,
        first=start,
        last=start + len(found.listed) - 1,
        earlier=max(start - PAGE, 1) if start > 1 else None,
        later=start + PAGE if start + PAGE <= found.total else None,
        gallery=gallery(project),
        label=LABEL,
        blind_reason=BLIND_REASON,
        auto_rounds=project.settings.service.auto_rounds,
    )
