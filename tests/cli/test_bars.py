"""Progress without a terminal: plain lines, few of them."""

import pytest

from csasn.cli.bars import Bars


def test_without_a_terminal_a_part_is_told_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 29.0, 31.0, 32.0, 33.0])
    monkeypatch.setattr("csasn.cli.bars.time.monotonic", lambda: next(clock))
    with Bars() as shown:
        for done in (0, 1, 2, 3, 4):
            shown.progress("fit", done, 4, "loss 0.5" if done == 3 else "")
    assert capsys.readouterr().err == "fit 0/4\nfit 3/4 loss 0.5\nfit 4/4\n"
