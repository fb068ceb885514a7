"""A schedule that is refused: the page says so at once, and marks the fields to mend."""

from fastapi.testclient import TestClient
import pytest

from tests.dashboard_support import Page, faults, send

STARTS = [
    *("cron", "after_labels"),
    *("below.family", "drift.family", "below.shape", "drift.shape"),
]


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ({"cron": "0 3 * *"}, ["cron"]),
        ({"cron": "0 3 * * *", "zone": "Europe/Atlantis"}, ["zone"]),
        ({"after_labels": "many", "per_day": "0"}, ["after_labels", "per_day"]),
        ({"after_labels": "5", "pause_h": "long"}, ["pause_h"]),
        ({"after_labels": "5", "pause_h": "-1"}, ["pause_h"]),
        ({"after_labels": "5", "below.shape": "much"}, ["below.shape"]),
        ({"below.family": "80", "drift.shape": "150", "per_day": "1"}, ["drift.shape"]),
        ({"after_labels": "5", "quiet_from": "08:00"}, ["quiet_to"]),
        ({"after_labels": "5", "quiet_to": "08:00"}, ["quiet_from"]),
        (
            {"after_labels": "5", "quiet_from": "08:00", "quiet_to": "08:00"},
            ["quiet_from", "quiet_to"],
        ),
        ({"below.shape": "80"}, ["pause_h", "per_day"]),
        ({"per_day": "2"}, STARTS),
    ],
)
def test_the_wrong_fields_are_marked_and_led_to(
    engineer: TestClient, typed: dict[str, str], wrong: list[str]
) -> None:
    status_code, html = send(engineer, "/schedule/finetune", "/schedule", **typed)
    assert status_code == 422
    assert faults(html) == []
    page = Page(html)
    marked = [one for one in page.all("input") if one.get("aria-invalid") == "true"]
    assert [one["id"] for one in marked] == [f"finetune-{name}" for name in wrong]
    assert {one["aria-errormessage"] for one in marked} == {"finetune-wrong"}
    assert html.count("aria-errormessage") == len(wrong)
    (alert,) = [one for one in page.all("p") if one.get("role") == "alert"]
    (said,) = [one["text"] for one in page.all("p") if one.get("id") == "finetune-wrong"]
    assert alert["text"] == f"Backbone: {said}. Go there"
    assert f'<a href="#finetune-{wrong[0]}">Go there</a>' in html
