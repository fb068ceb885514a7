"""Whether an answer is JSON or a table, by the Accept header."""

import pytest

from services.api.csv_answers import wants_csv


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),  # a browser
        ("text/csv", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("text/*", True),
        ("text/csv, */*", True),
        ("text/csv, application/json", False),
        ("text/csv, application/json;q=0.1", True),
        ("application/json;q=0.1,text/csv;q=0.9", True),
        ("application/json;q=0.9,text/csv;q=0.1", False),
        ("text/csv;q=0", False),
        ("text/csv;q=0, */*", False),
        ("text/csv;q=0, application/json;q=0", False),
        ("application/json;q=0, */*", True),
        ("text/*;q=0.5, application/*;q=0.4", True),
        ("text/csv;header=present;q=0.2, application/json;q=0.3", False),
        ("text/csv;q=high", False),
    ],
)
def test_the_better_liked_is_sent(accept: str, wanted: bool) -> None:
    assert wants_csv(accept) is wanted
