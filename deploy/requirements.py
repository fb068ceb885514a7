"""Prints what an image installs, out of requirements.lock: `python requirements.py KIND`.

The lock holds what developing needs too, and names for each package who asked for it. `cuda` is
what Atlas runs on, with hashes. `cpu` leaves out Triton, which compiles for GPUs alone; NVIDIA's
libraries stay, since PyPI's torch for Linux is the CUDA build and does not load without them.
`lean` leaves out those too, and torch and torchvision: their CPU build comes from PyTorch's own
index. `torch` prints those two with their versions. `build` is what makes Atlas's own wheel.
"""

from pathlib import Path
import re
import sys
import tomllib

HERE = Path.cwd()
TORCH = ("torch", "torchvision")
KINDS = ("cuda", "cpu", "lean", "torch", "build")
LEFT_OUT = {"cpu": r"triton", "lean": r"triton|nvidia-.*|cuda-.*|torch|torchvision"}


def read_lock(text: str) -> dict[str, tuple[str, set[str]]]:
    """Name → (its lines, who asked for it); a name may have a version for each Python."""
    found: dict[str, tuple[str, set[str]]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        name = re.match(r"[a-z0-9-]+", block)
        if name is None:
            continue
        comment = block.partition("# via")[2].partition("(pyproject")[0]
        lines, parents = found.get(name[0], ("", set()))
        parents |= set(re.findall(r"[a-z0-9][a-z0-9-]*", comment))
        found[name[0]] = (f"{lines}\n{block}".strip(), parents)
    return found


def closure(lock: dict[str, tuple[str, set[str]]], roots: set[str]) -> list[str]:
    """The roots, what they ask for, what that asks for, and so on."""
    wanted = set(roots)
    while asked := {name for name, (_, parents) in lock.items() if parents & wanted} - wanted:
        wanted |= asked
    return sorted(wanted)


def roots_of(kind: str) -> set[str]:
    """The packages that pyproject.toml names for this kind."""
    content = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    if kind == "build":
        lines = content["build-system"]["requires"]
    else:
        lines = content["project"]["dependencies"]
    return {re.split(r"[\[<>=!~ ;]", line)[0].lower().replace("_", "-") for line in lines}


def main(kind: str) -> str:
    """The requirements of that kind, as pip reads them."""
    lock = read_lock((HERE / "requirements.lock").read_text(encoding="utf-8"))
    if kind == "torch":
        return "\n".join(lock[name][0].partition(" ")[0] for name in TORCH)
    left_out = re.compile(LEFT_OUT.get(kind, ""))
    names = closure(lock, roots_of(kind))
    return "\n".join(lock[name][0] for name in names if not left_out.fullmatch(name))


if __name__ == "__main__":
    if sys.argv[1:] not in [[kind] for kind in KINDS]:
        sys.exit(f"usage: python requirements.py {'|'.join(KINDS)}; got {sys.argv[1:]}")
    sys.stdout.write(main(sys.argv[1]) + "\n")
