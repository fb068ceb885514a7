"""The shapes of what the API answers; the published OpenAPI is made of them.

A field that is not named here is a mistake in this file and not left out in silence.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "running", "done", "failed", "stopped"]
MeasuredState = Literal["ok", "too_few_labels"]


class Answer(BaseModel):
    """Parent of every answer."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Accuracy(Answer):
    """Accuracy at a level or of an attribute, with its interval; null without audit labels."""

    state: MeasuredState
    accuracy: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float


class MeanError(Answer):
    """How far off a quantity is on average, in its own unit, with its interval."""

    state: MeasuredState
    mean_absolute_error: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float


class ModelAccuracy(Accuracy):
    """An accuracy that says whose it is and when it was measured."""

    model: str | None
    measured_at: datetime | None


class ModelMeanError(MeanError):
    """A mean error that says whose it is and when it was measured."""

    model: str | None
    measured_at: datetime | None


class PastAccuracy(ModelAccuracy):
    """An accuracy in the history: of which level, and after how many labels."""

    level: str
    round: int | None
    labels: int


class PastMeanError(ModelMeanError):
    """A mean error in the history: of which quantity, and after how many labels."""

    level: str
    round: int | None
    labels: int


class ClassAccuracy(Accuracy):
    """The share of a class's audit images that are predicted right."""

    level: str
    name: str = Field(alias="class")
    model: str | None


class Forecast(Answer):
    """What the next `ahead` labels should add to the accuracy of a level."""

    state: str
    gain: float | None
    low: float | None
    high: float | None
    ahead: int


class Round(Answer):
    """One round of queries."""

    round: int
    state: Literal["open", "closed"]
    sampler: str
    queries: int
    waiting: int
    labels: int
    model: str | None
    accuracy: dict[str, Accuracy]
    errors: dict[str, MeanError]
    label_to_queue_s: float | None
    opened_at: datetime
    closed_at: datetime | None
    note: str


class AnyJob(Answer):
    """What every answer says of a job."""

    id: str
    kind: str
    state: JobState
    attempts: int
    progress: dict[str, Any]
    error: str
    created_at: datetime
    finished_at: datetime | None


class LatestJob(AnyJob):
    """A job in the status; one that is lost was killed, and nobody has gone on with it yet."""

    lost: bool


class Job(AnyJob):
    """A job: what should be done, by whose wish, and what became of it."""

    key: str
    arguments: dict[str, Any]
    sent_at: datetime | None
    started_at: datetime | None
    stop_asked_at: datetime | None


class Images(Answer):
    """How many images there are."""

    pool: int
    audit: int
    left_out: int


class Status(Answer):
    """Everything at a glance."""

    name: str
    directory: str
    levels: list[str]
    images: Images
    labels: int
    audit: str
    waiting: int
    disagreements: dict[str, int]
    open_round: int | None
    model: str | None
    jobs: list[LatestJob]
    accuracy: dict[str, Accuracy]
    errors: dict[str, MeanError]
    forecast: dict[str, Forecast]
    rounds: list[Round]


class Query(Answer):
    """A picture that waits for an answer, and why it was asked."""

    query: str
    image: str
    priority: int
    guess: str
    confidence: float | None
    reason: str
    picture: str


class Model(Answer):
    """A registered model; `finetune` says what its promotion was decided on."""

    model: str
    current: bool
    round: int | None
    labels: int
    head: str
    created_at: datetime
    accuracy: dict[str, Accuracy]
    errors: dict[str, MeanError]
    out_of_fold: dict[str, Any]
    finetune: dict[str, Any] | None


class Current(Answer):
    """The model that answers now."""

    model: str


class Received(Answer):
    """What a webhook call brought: annotations that were new, and the job they ask for."""

    new: int
    job: str | None


class Refused(Answer):
    """Why a request was refused."""

    detail: str


class Problem(Answer):
    """What is wrong and how to mend it."""

    error: str


class WrongField(Answer):
    """What is wrong with one part of a request; `loc` is where."""

    type: str
    loc: list[str | int]
    msg: str


class WrongRequest(Answer):
    """A request that is not of the published shape."""

    detail: list[WrongField]


Responses = dict[int | str, dict[str, Any]]

WRONG: Responses = {
    422: {"model": Problem | WrongRequest, "description": "Cannot be done before it is mended"},
    503: {"model": Problem, "description": "Something that is needed does not answer; try later"},
}
NO_TOKEN: Responses = {
    401: {"model": Refused, "description": "No token, or one that does not hold"},
    403: {"model": Refused, "description": "The token's role is not enough"},
}
NOT_THERE: Responses = {404: {"model": Refused, "description": "No such thing"}}
TAKEN: Responses = {
    409: {"model": Refused, "description": "A round is open, or the job goes on as another wanted"}
}
