"""A folder is a registry: what is there is known, and nothing else."""

from pathlib import Path
import sys

import pytest

from atlas import plugins
from atlas.errors import PluginError

GOOD = """
class Good:
    def __init__(self, level, size=3):
        self.level, self.size = level, size

WIDGET = Good
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of widgets: one good, one without a class, one piece of machinery."""
    folder = tmp_path / "made_up" / "widgets"
    folder.mkdir(parents=True)
    for name, text in {
        "../__init__": "",
        "__init__": "",
        "good": GOOD,
        "bare": "",
        "_machinery": GOOD,
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [one for one in sys.modules if one.startswith("made_up")]:
        monkeypatch.delitem(sys.modules, name)
    return "made_up.widgets"


def test_the_files_name_is_the_plugins_name(package: str) -> None:
    assert plugins.available(package) == ("bare", "good")
    assert plugins.load(package, "good").__name__ == "Good"


def test_the_family_is_there() -> None:
    wanted = {"random", "margin", "entropy", "least_confidence", "k_center", "kmeans"}
    assert wanted <= set(plugins.available("atlas.samplers"))
    assert {"tree", "shared_trunk"} <= set(plugins.available("atlas.heads"))


def test_an_unknown_name_lists_the_known(package: str) -> None:
    with pytest.raises(PluginError, match="unknown widget 'god'; known: bare, good"):
        plugins.load(package, "god")
    for name in ("_machinery", "__init__", "../widgets/good", "good.py", ""):
        with pytest.raises(PluginError, match="unknown widget"):
            plugins.load(package, name)


def test_a_file_that_registers_nothing(package: str) -> None:
    with pytest.raises(PluginError, match="widgets.bare must end with `WIDGET = <its class>`"):
        plugins.load(package, "bare")


def test_arguments_are_checked_against_the_constructor(package: str) -> None:
    built = plugins.build(package, "good", {"level": "kind"})
    assert (built.level, built.size) == ("kind", 3)
    with pytest.raises(PluginError, match="good does not take siz; it takes: level, size"):
        plugins.build(package, "good", {"level": "kind", "siz": 3})
    with pytest.raises(PluginError, match="good needs the argument level"):
        plugins.build(package, "good", {})


@pytest.mark.parametrize("name", ["atlas.nothing", "atlas.errors"])
def test_no_folder(name: str) -> None:
    with pytest.raises(PluginError, match="is not a package"):
        plugins.available(name)


def test_a_plugin_of_ones_own(package: str) -> None:
    assert plugins.load(package, "made_up.widgets.good:Good").__name__ == "Good"
    for wrong in ("made_up.widgets.good:Bad", "made_up.nothing:Good", ":Good"):
        with pytest.raises(PluginError, match="write it as module:Class"):
            plugins.load(package, wrong)
