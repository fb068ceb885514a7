"""docs/settings.md names every key, with its default, and no other."""

from pathlib import Path
import re

from atlas.settings import Section, Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_key_is_documented_with_its_default() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            for key, value in field.default.model_dump().items():
                expected[f"{name}.{key}"] = value
        else:
            expected[name] = field.default
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| (?:`(.*?)`)? ?\|", PAGE.read_text(), re.MULTILINE)
    shown = {
        key: str(value).lower() if isinstance(value, bool) else str(value or "0" * (value == 0))
        for key, value in expected.items()
        if not isinstance(value, dict)
    }
    documented = dict(rows)
    assert set(documented) == set(expected)
    assert {key: documented[key] for key in shown} == shown
