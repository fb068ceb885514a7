"""What is done, waits, failed: how far it is, what was logged, and buttons to stop or repeat it."""

from typing import Annotated

from celery import Celery
from fastapi import APIRouter, BackgroundTasks, HTTPException, Path, Request, Response
from fastapi.responses import RedirectResponse

from atlas.project import Project
from services import jobs
from services.dashboard.job_views import STATES, JobView, job_view, latest_jobs
from services.dashboard.logs import log_tail
from services.dashboard.rendering import render
from services.dashboard.session import EngineerForm
from services.retraining.facts import JOB_OF
from services.sending import send

SHOWN = 50
FILTERS = {"": "All"} | {
    state: STATES.get(state, state).capitalize()
    for state in ("running", "queued", "failed", "stopped", "done")
}

router = APIRouter(include_in_schema=False)

JobId = Annotated[str, Path(max_length=64)]


@router.get("/jobs")
def get_jobs(request: Request, state: str = "") -> Response:
    """The page; `state` shows only those."""
    chosen = state if state in FILTERS else ""
    return render(
        request, "jobs.html.j2", filters=FILTERS, chosen=chosen, jobs=_listed(request, chosen)
    )


@router.get("/parts/jobs")
def list_part(request: Request, state: str = "") -> Response:
    """The table alone, for the page to renew."""
    chosen = state if state in FILTERS else ""
    return render(request, "jobs_list.html.j2", jobs=_listed(request, chosen))


@router.get("/jobs/{job_id}")
def get_job(request: Request, job_id: JobId) -> Response:
    """One job with its log."""
    return _detail(request, job_id, "job.html.j2")


@router.get("/parts/jobs/{job_id}")
def job_part(request: Request, job_id: JobId) -> Response:
    """What changes on the page of one job, for it to renew."""
    return _detail(request, job_id, "job_detail.html.j2")


@router.post("/jobs/{job_id}/stop")
def stop(request: Request, job_id: JobId, _form: EngineerForm) -> Response:
    """Ask a job to stop."""
    project: Project = request.app.state.project
    _view(project, job_id)
    jobs.stop(project.database, job_id)
    return RedirectResponse(f"/jobs/{job_id}?done=stopping", status_code=303)


@router.post("/jobs/{job_id}/retry")
def retry(request: Request, job_id: JobId, _form: EngineerForm, later: BackgroundTasks) -> Response:
    """Ask for a job once more, with what it was asked for the first time."""
    project: Project = request.app.state.project
    row = _view(project, job_id).facts
    jobs.request(project.database, row.kind, key=row.key, arguments=row.arguments)
    _send_later(request, later, jobs.Due(job_id, row.kind))
    return RedirectResponse(f"/jobs/{job_id}?done=asked-again", status_code=303)


@router.post("/retrain/{kind}")
def retrain(request: Request, kind: str, form: EngineerForm, later: BackgroundTasks) -> Response:
    """Train the heads or the backbone now; what waits or runs already is not asked for twice."""
    if kind not in JOB_OF:
        raise HTTPException(404, f"no kind of training {kind!r}; known: {', '.join(JOB_OF)}")
    project: Project = request.app.state.project
    arguments = {"reason": "asked for on the dashboard", "by": form.by.name}
    job_id = jobs.request(project.database, JOB_OF[kind], arguments=arguments)
    _send_later(request, later, jobs.Due(job_id, JOB_OF[kind]))
    return RedirectResponse(f"/jobs/{job_id}?done=asked", status_code=303)


def _send_later(request: Request, later: BackgroundTasks, due: jobs.Due) -> None:
    celery: Celery = request.app.state.celery
    later.add_task(send, celery, request.app.state.project, due)


def _listed(request: Request, state: str) -> list[JobView]:
    project: Project = request.app.state.project
    return latest_jobs(project, state, limit=SHOWN)


def _detail(request: Request, job_id: str, template: str) -> Response:
    project: Project = request.app.state.project
    job = _view(project, job_id)
    return render(request, template, job=job, log=log_tail(project, job_id))


def _view(project: Project, job_id: str) -> JobView:
    found = job_view(project, job_id)
    if found is None:
        raise HTTPException(404, f"no job {job_id!r}; see /jobs")
    return found
