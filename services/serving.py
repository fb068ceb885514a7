"""The parts of a project as programs of their own, where a server's machinery starts them.

`atlas up` runs all parts on one machine. Here each one looks first whether what it needs is there,
then becomes the program: no parent, no restarts, JSON lines on stderr, an end on SIGTERM.
"""

from collections.abc import Sequence
import os
import sys
import time
from typing import NoReturn

from kombu.exceptions import OperationalError
import structlog

from atlas.errors import OracleUnreachable, ServiceError, SettingsError
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from services import logs, pulse
from services.addresses import WEBHOOK_PATH, WEBHOOK_SECRET
from services.celery_config import build_app
from services.ports import take_port
from services.sending import request_and_send, send_tick
from services.supervisor import CELERY_QUIET

ANYWHERE = ("0.0.0.0", "::")  # where a server listens, which is no address to call it by
BROKER_TIMEOUT_S = 5.0
LOOK_EVERY_S = 1.0
SILENT_S = 60.0  # without a tick for so long something is wrong

log = structlog.get_logger(__name__)


def serve_api(project: Project) -> None:
    """Answer HTTP until SIGTERM.

    Raises:
        SettingsError: the database does not answer.
        PortInUse: another program listens there.
    """
    import uvicorn

    from services.api import create_app

    logs.use_json_lines("api")
    _open(project)
    project.secret(WEBHOOK_SECRET)
    service = project.settings.service
    take_port(service.host, service.port, "service.port")
    uvicorn.run(
        create_app(project.directory),
        host=service.host,
        port=service.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def become_worker(project: Project, queues: Sequence[str], processes: int) -> NoReturn:
    """Take jobs from these queues until SIGTERM, in as many processes.

    Raises:
        SettingsError: the database does not answer.
        ServiceError: the broker does not.
    """
    arguments = ["worker", "-Q", ",".join(queues), "--concurrency", str(processes), *CELERY_QUIET]
    _become_celery(project, "worker", arguments)


def become_schedule(project: Project) -> NoReturn:
    """Tick until SIGTERM; several at once do no harm.

    Raises:
        SettingsError: the database does not answer.
        ServiceError: the broker does not.
    """
    arguments = ["beat", "--scheduler", "celery.beat:Scheduler", "--pidfile", ""]
    _become_celery(project, "schedule", arguments)


def connect(project: Project, *, patience_s: float) -> int:
    """Make the project in Label Studio, or bring it up to date, and ask for the first jobs.

    Args:
        project: whose queue it is.
        patience_s: how long Label Studio is waited for; its first start takes a minute.

    Returns:
        The id of the Label Studio project.

    Raises:
        SettingsError: the database does not answer, or nobody said where the web API is.
        ServiceError: the broker does not answer.
        OracleError: Label Studio does not answer in time, or refuses something.
    """
    logs.use_json_lines("connect")
    _open(project)
    check_broker(project)
    webhook_url = api_url(project) + WEBHOOK_PATH
    until_s = time.monotonic() + patience_s
    while True:
        try:
            number = LabelStudioOracle(project).setup(webhook_url=webhook_url)
            break
        except OracleUnreachable as error:
            if time.monotonic() >= until_s:
                raise
            log.info("waiting for Label Studio", error=str(error))
            time.sleep(LOOK_EVERY_S)
    request_and_send(project, "embed")  # what is embedded already costs nothing
    send_tick(project)
    log.info("Label Studio is set up", project=number)
    return number


def check(project: Project) -> None:
    """Return where the database and the broker answer and jobs get done.

    Raises:
        SettingsError: the database does not answer.
        ServiceError: the broker does not, or no worker carried out a tick lately.
    """
    _open(project)
    check_broker(project)
    with project.database.reader() as session:
        silent_s = pulse.seconds_since_tick(session)
        working = pulse.is_working(session)
    if silent_s is None:
        raise ServiceError("no tick was carried out yet; are a worker and a schedule running?")
    if silent_s > SILENT_S + project.settings.service.tick_s and not working:
        raise ServiceError(
            f"no tick was carried out for {silent_s:.0f} s; are a worker and a schedule running?"
        )


def check_broker(project: Project) -> None:
    """Return where the broker takes messages.

    Raises:
        ServiceError: nothing answers, or it refuses the password.
    """
    with build_app(project).connection_for_write(connect_timeout=BROKER_TIMEOUT_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.2)
        except OperationalError as error:
            raise ServiceError(
                f"the broker at {connection.as_uri()} does not answer ({error}); start it, "
                "or mend service.broker_url"
            ) from error


def api_url(project: Project) -> str:
    """Where Label Studio reaches the web API.

    Raises:
        SettingsError: it listens everywhere, and `service.url` does not say where that is.
    """
    service = project.settings.service
    if service.url:
        return service.url.rstrip("/")
    if service.host in ANYWHERE:
        raise SettingsError(
            f"service.host is {service.host}, which nobody can call; set service.url to the "
            "address at which Label Studio reaches the web API"
        )
    return f"http://{service.host}:{service.port}"


def _open(project: Project) -> None:
    """Bring the database up to date now, so that what is wrong is said at once."""
    project.database.engine.dispose()  # no connection may be shared with a forked process


def _become_celery(project: Project, part: str, arguments: Sequence[str]) -> NoReturn:
    _open(project)
    check_broker(project)
    environment = {
        **os.environ,
        "ATLAS_PROJECT": str(project.directory),
        logs.LOG_LINES: part,
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "services.celery_app"]
    os.execvpe(command[0], [*command, *arguments], environment)
