"""Builds the Celery app of a project from its settings."""

from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery
from kombu.transport import get_transport_cls

from atlas.errors import SettingsError
from atlas.project import Project
from services import broker
from services.schedule import beat_schedule

QUEUE = "atlas"
GPU_QUEUE = "gpu"  # what a machine with an accelerator takes
QUEUE_OF = {"finetune": GPU_QUEUE}  # job kind → queue; the others go to `QUEUE`
POLL_S = 0.05


def build_app(project: Project) -> Celery:
    """The project's Celery app; nothing connects before a message is sent or a worker starts.

    No results are kept and no remote control is offered: what became of a job is in its row.

    Raises:
        SettingsError: a `service.broker_url` that Celery cannot use here.
    """
    service = project.settings.service
    app = Celery("atlas", include=["services.tasks"])
    app.conf.update(
        **_broker(project),
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_ignore_result=True,
        task_publish_retry=False,  # the tick sends again what did not get out
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        beat_schedule=beat_schedule(service),
        timezone="UTC",
    )
    return app


def _broker(project: Project) -> dict[str, object]:
    url = project.settings.service.broker_url
    if url:
        _check_transport(url)
        return {"broker_url": url}
    return {
        "broker_url": broker.URL,
        "broker_transport": broker.TRANSPORT,
        "broker_transport_options": {"folder": str(folder(project)), "polling_interval": POLL_S},
    }


def _check_transport(url: str) -> None:
    scheme = urlsplit(url).scheme
    try:
        get_transport_cls(scheme)
    except (KeyError, ImportError, AttributeError) as error:  # kombu's, where a client is missing
        raise SettingsError(
            f"service.broker_url begins with {scheme!r}, which Celery cannot use here ({error}); "
            "install its client (redis: `pip install redis`) or leave broker_url empty"
        ) from error


def folder(project: Project) -> Path:
    """Where the messages of the folder broker lie."""
    return project.run / "broker"
