"""A folder is a registry: the file's name is the plugin's name.

A plugin file ends with one public constant (`SAMPLER`, `HEAD`, …) that names its class.
Files that start with an underscore are machinery. A plugin of your own, outside the folder, goes by
"module:Class".
"""

from collections.abc import Mapping
import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

from atlas.errors import PluginError


def available(package: str) -> tuple[str, ...]:
    """The plugin names in `package` (such as "atlas.samplers"), sorted."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(f"{package} is not a package; plugins live in a folder of their own")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return tuple(sorted(path.stem for path in folder.glob("[!_]*.py")))


def load(package: str, name: str) -> Any:
    """The class that the file `name` of `package` registers, or that "module:Class" names.

    Raises:
        PluginError: no such file (the message lists the known names), no such class, or no
            constant in it.
    """
    kind = package.rpartition(".")[2].removesuffix("s")
    if ":" in name:
        return _outside(name)
    if name not in available(package):
        known = ", ".join(available(package))
        raise PluginError(f"unknown {kind} {name!r}; known: {known}")
    module = importlib.import_module(f"{package}.{name}")
    if not hasattr(module, kind.upper()):
        raise PluginError(f"{package}.{name} must end with `{kind.upper()} = <its class>`")
    return getattr(module, kind.upper())


def _outside(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"cannot load {name!r}: {error}; write it as module:Class, with the module importable"
        ) from error


def takes(package: str, name: str, argument: str) -> bool:
    """Whether the plugin's constructor has that argument."""
    return argument in inspect.signature(load(package, name)).parameters


def build(package: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """An instance of the plugin, its arguments checked against the constructor.

    Raises:
        PluginError: unknown name, unknown or missing argument.
    """
    plugin = load(package, name)
    parameters = inspect.signature(plugin).parameters
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        takes = ", ".join(parameters) or "none"
        raise PluginError(f"{name} does not take {', '.join(unknown)}; it takes: {takes}")
    missing = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty and parameter.name not in arguments
    ]
    if missing:
        raise PluginError(f"{name} needs the argument {', '.join(missing)}")
    return plugin(**arguments)
