"""A job's state and progress as server-sent events, until it is over."""

from collections.abc import AsyncIterator

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from atlas.project import Project
from atlas.store.tables import Job
from services.api import answers
from services.api.common import JobId, job_of, project_of
from services.jobs import ACTIVE

LOOK_EVERY_S = 0.5
ALIVE_EVERY_S = 15.0  # proxies cut what is silent for longer

reading = APIRouter(prefix="/api/v1", responses=answers.WRONG)

STREAM: answers.Responses = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Each event's data is the job as JSON; the last event is named `over`",
    }
}


@reading.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={**answers.NOT_THERE, **STREAM},
)
async def follow_job(request: Request, job_id: JobId) -> StreamingResponse:
    """Follow a job (server-sent events): its present state, every change, and its end.

    A browser's EventSource asks again by itself when the stream ends, so close it at `over`.
    """
    project = project_of(request)
    job = await run_in_threadpool(job_of, project, job_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy holds it back
    return StreamingResponse(
        job_events(project, job), media_type="text/event-stream", headers=headers
    )


async def job_events(project: Project, job: Job) -> AsyncIterator[str]:
    """The text of each event: the job as it is, every change, and the end of it.

    A job that was asked for again before its end was seen ends with what was known of it last.

    It is cancelled when the reader goes away.
    """
    said, silent_s = "", 0.0
    while True:
        text = answers.Job.model_validate(job).model_dump_json()
        if job.state not in ACTIVE:
            yield f"event: over\ndata: {text}\n\n"
            return
        if text != said:
            said, silent_s = text, 0.0
            yield f"data: {text}\n\n"
        elif silent_s >= ALIVE_EVERY_S:
            silent_s = 0.0
            yield ": still here\n\n"
        await anyio.sleep(LOOK_EVERY_S)
        silent_s += LOOK_EVERY_S
        now = await run_in_threadpool(job_of, project, job.id)
        if now.created_at != job.created_at:  # asked for anew: how this one ended is kept nowhere
            yield f"event: over\ndata: {text}\n\n"
            return
        job = now
