"""Tables and progress bars in terminals of any width."""

from io import StringIO

import pytest
from rich.console import Console

from atlas.cli import output
from atlas.cli.output import accuracy_cell, column_widths, error_cell, progress_bar, table

LINES = [["model", "kind", "size"], ["m0003 *", "83% (77–88)", "MAE 7.9 (6.9–8.8)"]]


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (90, [7, 11, 17]),  # whole cells: "m0003 *", "83% (77–88)", "MAE 7.9 (6.9–8.8)"
        (35, [7, 11, 17]),
        (23, [7, 7, 9]),  # their longest words; a name is one: "m0003 *", "(77–88)", "(6.9–8.8)"
        # 4 to give, each to the one that needs most lines: 17/9 > 11/7, 17/10 > 11/7, 17/11 < 11/7,
        # 17/11 > 11/8
        (27, [7, 8, 12]),
        (22, [None, None, None]),
    ],
)
def test_no_word_is_broken_where_there_is_room(room: int, widths: list[int | None]) -> None:
    assert column_widths(LINES, room) == widths


@pytest.mark.parametrize("width", [20, 30, 40, 80])
def test_nothing_is_cut_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "stdout", Console(width=width, highlight=False))
    table(LINES[0], LINES[1:], title="on [audit] images")
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    # line by line the letters of a broken cell are apart: compare how often each comes
    told = "".join(cell for line in LINES for cell in line).replace(" ", "")
    for letter in set(told):
        assert out.count(letter) >= told.count(letter)


def test_a_bar_gives_way_to_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, color_system=None, width=66)
    monkeypatch.setattr(output, "stderr", console)
    with progress_bar("embedding at every depth") as advance:
        advance(1, 60000)
        advance(50000, 60000)  # how fast it is, is known after two
        advance(59000, 60000, "epoch 7.0")
    *_, line, note = shown.getvalue().split("\n")[-3:-1]
    assert "embedding at every depth" in line and "59000/60000" in line and "images/s" in line
    assert note.strip() == "epoch 7.0"


def test_cells() -> None:
    found = {"accuracy": 0.8333, "low": 0.77, "high": 0.884, "n": 90, "state": "ok"}
    assert accuracy_cell(found) == "83% (77–88)"
    assert accuracy_cell(found | {"state": "too_few_labels"}) == "83% (77–88) too few"
    wrong = {"mean_absolute_error": 7.8512, "low": 6.91, "high": 8.85, "n": 90, "state": "ok"}
    assert error_cell(wrong) == "MAE 7.9 (6.9–8.8)"  # 8.85 is a little less as a float
    assert error_cell(wrong | {"low": None, "high": None}) == "MAE 7.9"
    assert error_cell(wrong | {"n": 0}) == "no audit labels"
