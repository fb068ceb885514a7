"""What the present model says of pictures: sent as they are, or named."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from fastapi import APIRouter, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool

from atlas.errors import ModelError
from atlas.images import read_bytes
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import Image
from atlas.tokens import Role
from services.api import answers
from services.api.access import needs
from services.api.common import NAME, project_of
from services.api.fetching import MAX_BYTES, fetch
from services.predicting import Picture, Predicting

MAX_PICTURES = 16
MAX_JSON_BYTES = 64 * 2**10
SENT = "sent"  # the name of a picture that came without one
JSON = "application/json"

router = APIRouter(
    prefix="/api/v1",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(needs(Role.VIEWER))],
)


class Named(BaseModel):
    """Pictures that are somewhere already."""

    model_config = ConfigDict(extra="forbid")
    images: list[Annotated[str, Field(pattern=NAME, max_length=32)]] = Field(
        default=[], description="Ids of images of this project."
    )
    urls: list[Annotated[str, Field(max_length=2000)]] = Field(
        default=[], description="Addresses on hosts that service.picture_hosts names."
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse none and too many."""
        if not 1 <= len(self.images) + len(self.urls) <= MAX_PICTURES:
            raise ValueError(f"name 1 to {MAX_PICTURES} pictures")
        return self


class Ranked(answers.Answer):
    """A class and how likely it is."""

    name: str = Field(alias="class")
    probability: float


class Shown(Ranked):
    """What may be told to people: the finest class that is sure enough, empty where none is."""

    level: str


class Prediction(answers.Answer):
    """What the model says of one picture, the likeliest classes first."""

    image: str
    tasks: dict[str, list[Ranked]]
    quantities: dict[str, float]
    shown: Shown


class Predictions(answers.Answer):
    """Of every picture, in the order of the request; ids before addresses."""

    model: str
    predictions: list[Prediction]


BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "required": True,
    "description": "A picture's file, or the names of several pictures as JSON.",
    "content": {
        JSON: {"schema": Named.model_json_schema()},
        **dict.fromkeys(("image/jpeg", "image/png", "application/octet-stream"), BINARY),
    },
}
TOO_LARGE: answers.Responses = {413: {"model": answers.Refused, "description": "Too many bytes"}}


@router.post(
    "/predict",
    response_model=Predictions,
    responses={**answers.NOT_THERE, **TOO_LARGE},
    openapi_extra={"requestBody": BODY},
)
async def predict(request: Request) -> dict[str, Any]:
    """What the present model says of pictures.

    Send the picture's bytes, or JSON that names up to 16. The first request loads the model, which
    takes seconds; later ones take fractions of one.
    """
    is_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON
    body = await _read(request, MAX_JSON_BYTES if is_json else MAX_BYTES)
    try:
        named = Named.model_validate_json(body) if is_json else None
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    predicting: Predicting = request.app.state.predicting
    with predicting.place():  # before anything is fetched
        project = project_of(request)
        pictures = [(SENT, body)] if named is None else await _pictures(project, named)
        return await run_in_threadpool(_predict, project, predicting, pictures)


def _predict(
    project: Project, predicting: Predicting, pictures: Sequence[Picture]
) -> dict[str, Any]:
    with project.database.reader() as session:
        if current_id(session) is None:  # told at once, with nothing loaded
            raise ModelError("no model yet; label some queries, then run `atlas train`")
    return predicting.ask(pictures)


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"more than {limit} bytes")
    return bytes(body)


async def _pictures(project: Project, named: Named) -> Sequence[Picture]:
    """Their names and files; never a path that the request says."""
    stored = await run_in_threadpool(_stored, project, named.images)
    hosts = project.settings.service.picture_hosts
    return [*stored, *[(url, await fetch(url, hosts)) for url in named.urls]]


def _stored(project: Project, image_ids: Sequence[str]) -> list[Picture]:
    with project.database.reader() as session:
        rows = [(one, session.get(Image, one)) for one in image_ids]
    found = []
    for image_id, row in rows:
        if row is None:
            raise HTTPException(404, f"no image {image_id!r}")
        found.append((image_id, read_bytes(project.absolute(row.location))))
    return found
