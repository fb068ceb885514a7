"""Reads compose.yaml as `docker compose` does, as far as it uses its language."""

from collections.abc import Mapping
from pathlib import Path
import re
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")

Services = dict[str, dict[str, Any]]


class Unset(Exception):
    """A variable without a value that must have one; its message is the file's."""


def variables() -> dict[str, tuple[str, str]]:
    """Name → what follows it: (":-", default) or (":?", message) or ("", "")."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    return {name: (mark or "", rest or "") for name, mark, rest in VARIABLE.findall(text)}


def services(environment: Mapping[str, str]) -> Services:
    """The services with every variable replaced; an empty value counts as none.

    Raises:
        Unset: a variable that must be set is not.
    """
    content = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    found: Services = _filled(content["services"], environment)
    return found


def _filled(node: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, environment) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        name, mark, rest = match.groups()
        known = environment.get(name, "")
        if not known and mark == "?":
            raise Unset(f"{name}: {rest}")
        return known or (rest if mark == "-" else "")

    return VARIABLE.sub(value, node)
