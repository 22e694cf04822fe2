"""`tieout usage`: what a file must look like, and what is said when it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.process.web_world import write_company
from tests.unit.test_cli_commands import _own_logging, call
from tieout.cli.metering import read
from tieout.engine.usage import Unfit
from tieout.store.upgrading import upgrade

__all__ = ["_own_logging"]
HEAD = "identifier,customer,meter,quantity,at\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "usage.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_is_read_as_it_stands(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, "\ufeff" + HEAD + "u-1,cus_1,calls,12.50,2026-01-31T12:00:00+01:00\n"))
    assert (row.identifier, row.customer, row.meter, row.quantity) == (
        "u-1",
        "cus_1",
        "calls",
        Decimal("12.50"),
    )
    assert row.at == datetime(2026, 1, 31, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line"),
        ("customer,identifier,meter,quantity,at\n", "first line"),
        (HEAD + "u-1,cus_1,calls,12\n", "usage.csv:2: 5 columns"),
        (HEAD + "u-1,cus_1,calls,12,2026-01-31T12:00:00Z,x\n", "usage.csv:2: 5 columns"),
        (HEAD + "u-1,cus_1,calls,many,2026-01-31T12:00:00Z\n", "'many' is no number"),
        (HEAD + "u-1,cus_1,calls,NaN,2026-01-31T12:00:00Z\n", "'NaN' is no number"),
        (HEAD + "u-1,cus_1,calls,1,yesterday\n", "usage.csv:2"),
        (HEAD + "u-1,c,m,1,2026-01-31T12:00:00Z\nu-2,c,m,x,2026-01-31T12:00:00Z\n", "usage.csv:3"),
    ],
)
def test_what_is_no_row_is_said_by_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        read(written(tmp_path, text))


def test_the_command_refuses_in_words_and_takes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_company(tmp_path)
    upgrade(f"sqlite:///{tmp_path / 'tieout.db'}")
    good = HEAD + "u-1,cus_1,calls,1,2026-01-31T12:00:00Z\n"
    file = written(tmp_path, good)
    begin = ("--config", path, "usage", "report", file, "--connection")
    assert call(*begin, "nobody") == 2
    assert "there is no connection 'nobody'" in capsys.readouterr().err
    assert call(*begin, "erp-main") == 2
    assert "erp-main takes no usage" in capsys.readouterr().err
    # Billing does not answer here: nothing can be judged, and it is no traceback.
    assert call(*begin, "billing-us", "--dry-run", "--json") == 1
    assert "Traceback" not in capsys.readouterr().err
    written(tmp_path, "what\n")
    assert call(*begin, "billing-us") == 2
    assert "first line must be identifier,customer,meter,quantity,at" in capsys.readouterr().err
    assert call("--config", path, "usage", "of", "in_1", "--connection", "erp-main") == 2
    assert "erp-main is no connection" in capsys.readouterr().err
    assert call("--config", path, "events", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
