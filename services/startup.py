"""Brings a project up: parts healthy, Label Studio set up, the first jobs asked for."""

from atlas.oracle.label_studio import LabelStudioOracle
from services.addresses import WEBHOOK_PATH
from services.sending import request_and_send, send_tick
from services.supervisor import Report, Supervisor


def bring_up(supervisor: Supervisor, report: Report) -> int:
    """Start what is not started, wait until it is healthy, set Label Studio up, ask for work.

    Returns:
        The id of the Label Studio project.

    Raises:
        ServiceError: a part does not come up.
        OracleError: Label Studio refused something.
    """
    project = supervisor.project
    if project.settings.label_studio.url:
        LabelStudioOracle(project).check()  # a wrong token should not wait for the rest to start
    if not supervisor.parts:
        supervisor.start()
    supervisor.wait_until_healthy(report)
    report("setting up Label Studio")
    webhook_url = supervisor.api_url + WEBHOOK_PATH
    number = LabelStudioOracle(project).setup(webhook_url=webhook_url)
    request_and_send(project, "embed")  # what is embedded already costs nothing
    send_tick(project)
    return number
