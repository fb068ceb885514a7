"""A task's value as a region of Label Studio's JSON, and back: a choice, or a number."""

from collections.abc import Mapping
from typing import Any

from atlas.taxonomy import Taxonomy


def region(task: str, value: str, taxonomy: Taxonomy) -> dict[str, Any]:
    """What Label Studio keeps where `value` is chosen or typed at the control of `task`."""
    number = task in taxonomy.quantities
    return {
        "id": task,
        "from_name": task,
        "to_name": "image",
        "type": "number" if number else "choices",
        "value": {"number": float(value)} if number else {"choices": [value]},
    }


def value_of(region: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    """What a region says, unchecked; a number as text, as in every label.

    Raises:
        KeyError, TypeError, ValueError: it is no region of its control.
    """
    value = region["value"]
    if region["from_name"] in taxonomy.quantities:
        return str(value["number"])
    (choice,) = value["choices"]
    return str(choice)
