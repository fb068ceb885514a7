"""The one address that annotators are given: `/label` leads to where the next image waits."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse

from services.addresses import LABEL_PATH, labelling_url

router = APIRouter()


@router.get(LABEL_PATH, status_code=303, response_class=RedirectResponse, include_in_schema=False)
def label(request: Request) -> RedirectResponse:
    """Send the browser to Label Studio, which asks for a login by itself."""
    address = labelling_url(request.app.state.project)
    if not address:
        raise HTTPException(503, "Label Studio is not set up yet; `atlas up` does that")
    return RedirectResponse(address, status_code=303)
