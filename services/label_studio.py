"""The Label Studio that `atlas up` runs: its own environment, its own data, loopback only.

`python -m services.label_studio make-template` migrates an empty database once, so that a new
project starts in four seconds instead of forty.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import sqlite3
import subprocess
import sys
import time

import httpx

from atlas.errors import ServiceError, explain_full_disk
from atlas.oracle._pictures import media_root
from atlas.project import Project
from services.ports import take_port

HOST = "127.0.0.1"
ADMIN_EMAIL = "atlas@localhost.local"
ANNOTATOR_EMAIL = "annotator@localhost.local"
MIGRATE_TIMEOUT_S = 600.0
INIT_TIMEOUT_S = 120.0
# Above this silence an annotator's open task goes to somebody else; by default after a day,
# during which its round could not close.
TASK_LOCK_TTL_S = 900
# Enter submits beside Label Studio's own Ctrl+Enter: a key less a label (docs/benchmarks/keys.md).
KEYMAP = json.dumps(
    {"annotation:submit": {"key": "enter,ctrl+enter", "mac": "enter,command+enter"}}
)
# Nothing else of the environment gets in: HOST, PORT, DEBUG, USERNAME, DJANGO_DB … mean something
# to Label Studio, and a proxy would catch its calls to the webhook.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Login:
    """Who may log in to a managed Label Studio."""

    email: str
    password: str
    token: str

    def __repr__(self) -> str:
        return f"Login(email={self.email!r}, password=…, token=…)"


def admin(project: Project) -> Login:
    """Atlas's own account, which a person may use too."""
    password = project.secret("label_studio_password")
    return Login(ADMIN_EMAIL, password, project.secret("label_studio_token"))


def annotator(project: Project) -> Login:
    """The account of the automatic annotator; see `ensure_annotator`."""
    password = project.secret("annotator_password")
    return Login(ANNOTATOR_EMAIL, password, project.secret("annotator_token"))


def find_command(project: Project) -> Path:
    """The `label-studio` program.

    Raises:
        ServiceError: not installed.
    """
    configured = project.settings.label_studio.command
    path = Path(configured).expanduser() if configured else _installed()
    if not path.is_file():
        raise ServiceError(
            f"no Label Studio at {path}; install it with `make setup`, or name the program in "
            "label_studio.command (or a running server in label_studio.url)"
        )
    return path.absolute()


def command_and_env(project: Project, port: int) -> tuple[list[str], dict[str, str]]:
    """What starts the server on `port` of this machine; makes its data folder where missing.

    Raises:
        ServiceError: not installed, or its database cannot be made.
        PortInUse: another program listens there.
    """
    command = find_command(project)
    # On a busy port Label Studio would silently take the next one.
    take_port(HOST, port, "label_studio.port")
    prepare_data(project, command)
    arguments = ["start", "--no-browser", "--internal-host", HOST, "-p", str(port)]
    return [str(command), *arguments], _server_environment(project, admin(project))


def prepare_data(project: Project, command: Path) -> None:
    """Make the data folder: a copy of the migrated template, or migrated here (half a minute).

    Raises:
        ServiceError: the migration failed.
        DiskFull: no room for it.
    """
    data = _data(project)
    media_root(project).mkdir(parents=True, exist_ok=True)
    if data.exists():
        return
    part = data.with_name("data.part")
    shutil.rmtree(part, ignore_errors=True)
    template = _template(command)
    with explain_full_disk(data):
        if template.is_dir():
            shutil.copytree(template, part)
        else:
            _migrate(command, part)
        part.chmod(0o700)
        part.rename(data)


def make_template(command: Path) -> Path:
    """Migrate an empty database beside the program, without any user or secret key in it.

    Raises:
        ServiceError: the migration failed.
    """
    template = _template(command)
    part = template.with_name("template.part")
    for folder in (part, template):
        shutil.rmtree(folder, ignore_errors=True)
    _migrate(command, part)
    part.rename(template)
    return template


def wait_until_healthy(url: str, timeout_s: float, progress: Callable[[float], None]) -> None:
    """Return once the server answers; `progress` is told the seconds waited.

    Raises:
        ServiceError: no answer within `timeout_s`.
    """
    started = time.monotonic()
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while (waited_s := time.monotonic() - started) < timeout_s:
            progress(waited_s)
            if _is_healthy(client, url):
                return
            time.sleep(0.1)
    raise ServiceError(
        f"Label Studio did not answer at {url} within {timeout_s:.0f} s; its log is run/"
        "label-studio.log in the project folder"
    )


def ensure_annotator(project: Project, url: str) -> Login:
    """Make the annotator's account where the server at `url` does not know it yet (3 s).

    Raises:
        ServiceError: it could not be made.
    """
    login = annotator(project)
    if _token_works(url, login.token):
        return login
    environment = _server_environment(project, login)
    command = [str(find_command(project)), "init", "-q"]
    _run(command, environment, INIT_TIMEOUT_S)
    if not _token_works(url, login.token):
        raise ServiceError(
            f"Label Studio at {url} does not take the annotator's token after making the account; "
            "is it the server of this project?"
        )
    return login


def _is_healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:  # it does not listen yet
        return False


def _token_works(url: str, token: str) -> bool:
    headers = {"Authorization": f"Token {token}"}
    response = httpx.get(f"{url}/api/current-user/whoami", headers=headers, trust_env=False)
    return response.status_code == httpx.codes.OK


def _installed() -> Path:
    return Path(sys.prefix).parent / ".venv-label-studio" / "bin" / "label-studio"


def _template(command: Path) -> Path:
    return command.parent.parent / "template"


def _data(project: Project) -> Path:
    return project.label_studio / "data"


def _migrate(command: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    # `version` migrates and makes no user. The first user must come with the first start, since
    # only the making of the organisation allows the tokens that Atlas uses.
    _run([str(command), "version"], _environment(folder), MIGRATE_TIMEOUT_S)
    (folder / ".env").unlink()  # the secret key: each copy makes its own
    connection = sqlite3.connect(folder / "label_studio.sqlite3")
    connection.execute("PRAGMA journal_mode=WAL")  # stays with the file; twice as fast
    connection.close()


def _run(command: list[str], environment: dict[str, str], timeout_s: float) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-8:])
        raise ServiceError(f"`{' '.join(command)}` failed ({done.returncode}):\n{tail}")


def _environment(data: Path) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed_on | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "AZURE_MOUNT_FIX": "1",  # its name for SQLite's write-ahead log
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        "EDITOR_KEYMAP": KEYMAP,
        # New guesses for waiting tasks count those tasks anew, not all of the project.
        "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short": "true",
        "LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }


def _server_environment(project: Project, login: Login) -> dict[str, str]:
    return _environment(_data(project)) | {
        "LABEL_STUDIO_USERNAME": login.email,
        "LABEL_STUDIO_PASSWORD": login.password,
        "LABEL_STUDIO_USER_TOKEN": login.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(media_root(project)),
        "LABEL_STUDIO_TASK_LOCK_TTL": str(TASK_LOCK_TTL_S),
        # Without these two it refuses to call a webhook on this machine.
        "SSRF_PROTECTION_ENABLED": "false",
        "ML_BLOCK_LOCAL_IP": "false",
    }


def main(arguments: list[str]) -> int:
    """`make-template [PROGRAM]`: the one command, which `make setup` calls."""
    if not arguments or arguments[0] != "make-template" or len(arguments) > 2:
        sys.stderr.write("usage: python -m services.label_studio make-template [PROGRAM]\n")
        return 2
    command = Path(arguments[1]).absolute() if len(arguments) == 2 else _installed()
    if not command.is_file():
        sys.stderr.write(f"no Label Studio at {command}; name the program as an argument\n")
        return 2
    sys.stderr.write(f"made {make_template(command)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
