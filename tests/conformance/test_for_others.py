"""What other people build on: a new connector's package, the inherited suite (which can fail), pytest's fixtures."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli_commands import call
from tieout.canonical.outcome import Confirmed, OutcomeUnknown, Receipt, Rejected, SendOutcome
from tieout.cli.connecting import renamed, skeleton
from tieout_lab.conformance.bulk import SIZE, listed, no_better_than, shuffled

ROOT = Path(__file__).resolve().parents[2]
LEFT = {
    "test_behaviours_have_the_vendors_own_sources",
    "test_mapping_is_the_vendors",
    "test_twin_is_the_vendors",
}


def write(folder: Path, name: str = "acme") -> Path:
    for path, text in skeleton(name, folder / name).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / name


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def failed(ended: subprocess.CompletedProcess[str]) -> set[str]:
    """Names of the failed tests, without parameters."""
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return {line.split(" ")[1].rpartition("::")[2].partition("[")[0] for line in lines}


# ------------------------------------------------------------------------------------------------ connectors new, list


def test_new_connector_is_green_at_once_but_for_what_is_left_to_write(tmp_path: Path) -> None:
    folder = write(tmp_path, "big_bank")
    ended = run_pytest(folder)
    assert failed(ended) == LEFT, ended.stdout
    # Where CI is set, pytest says it once more in its summary.
    said = [line for line in ended.stdout.splitlines() if line.startswith("left to write: ")]
    assert len(said) == len(LEFT)
    assert "46 passed" in ended.stdout, ended.stdout[-500:]


def test_new_connector_is_typed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "src"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": f"src:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_new_refuses_what_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("connectors", "new", "acme", "--folder", tmp_path) == 0
    assert (tmp_path / "acme" / "src" / "tieout_acme" / "MAPPING.md").exists()
    capsys.readouterr()
    for name, why in (
        ("acme", "stands already"),
        ("stripe", "already"),
        ("Acme", "no name"),
        ("../x", "no name"),
        ("a__b", "no name"),
    ):
        assert call("connectors", "new", name, "--folder", tmp_path) == 2
        assert why in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["acme"]


def test_name_of_the_invented_vendor_is_nowhere_left(tmp_path: Path) -> None:
    for path, text in skeleton("big_bank", tmp_path).items():
        assert "acme" not in str(path.relative_to(tmp_path)).lower()
        assert "acme" not in text.lower(), path
    assert renamed("Acme acme ACME x-acme tieout-acme", "a_b") == "AB a_b A_B x-a-b tieout-a-b"


def test_list_shows_every_connector(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import json

    assert call("-c", tmp_path / "none.toml", "connectors", "list", "--json") == 0
    found = {one["vendor"]: one for one in json.loads(capsys.readouterr().out)["connectors"]}
    assert {"netsuite", "salesforce", "stripe"} <= found.keys()
    for vendor in ("netsuite", "salesforce", "stripe"):
        assert found[vendor]["certifies"]
        assert found[vendor]["behaviours"]["verified"] == 0
        assert sum(found[vendor]["behaviours"].values()) > 10


# ------------------------------------------------------------------------------------------------- the suite can fail

PLANTED: list[tuple[str, str, str, str]] = [
    (
        "test_write_without_an_answer_is_unknown",
        "src/tieout_acme/client.py",
        "return self.http.send_failed(error)",
        "return Transient(reason=error.reason)",
    ),
    ("test_paging_to_the_end", "src/tieout_acme/listing.py", "if not page.more:", "if page:"),
    (
        "test_page_that_repeats_is_refused",
        "src/tieout_acme/listing.py",
        'raise Failure(Transient(reason="invoice.list: a page repeats"))',
        "return",
    ),
    ("test_unknown_word_is_pending", "src/tieout_acme/mapping.py", 'f"pending:{invoice.status}"', '"paid"'),
    (
        "test_same_write_twice_makes_one_document",
        "src/tieout_acme/outbound.py",
        'f"/customers/{segment(keys.document)}", document',
        'f"/customers/{segment(keys.document)}-{id(object())}", document',
    ),
    (
        "test_absence_is_not_believed_too_soon",
        "src/tieout_acme/outbound.py",
        "conclusive_at=conclusive_at(sent_at, self.operations[operation])",
        "conclusive_at=sent_at",
    ),
    (
        "test_answers_of_an_impostor_are_not_believed",
        "src/tieout_acme/client.py",
        'if account in ("", self.config.account):',
        "if True:",
    ),
    (
        "test_another_account_or_mode_processes_nothing",
        "src/tieout_acme/connection.py",
        " or told.live != self._config.live",
        "",
    ),
    (
        "test_secret_is_never_shown",
        "src/tieout_acme/client.py",
        "return self.http.send_status(response, error_.code, error_.message)",
        'return self.http.blocked(f"{response.status} with {self.config.api_key.reveal()}")',
    ),
    (
        "test_redirect_is_not_followed",
        "src/tieout_acme/client.py",
        "if response.status != 200:",
        "if response.status >= 400:",
    ),
    (
        "test_read_over_the_limit",
        "src/tieout_acme/client.py",
        "            self.http.read_status(response, error_.code, error_.message)",
        "            raise Failure(Transient(reason=error_.code))",
    ),
    (
        "test_session_that_ends_between_two_writes",
        "tests/test_conformance.py",
        'lacks={"expire": "an API key has no session that could end"}',
        "lacks={}",
    ),
]


@pytest.fixture(scope="module")
def found_out(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Every planted fault in a connector of its own, each asked by the test that must find it: (connector, test) that
    failed. In one process, because each one's start would cost more than its test."""
    folder = tmp_path_factory.mktemp("planted")
    nodes = []
    for number, (test, path, right, wrong) in enumerate(PLANTED):
        name = f"planted{number}"
        file = write(folder, name) / renamed(path, name)
        right, wrong, text = renamed(right, name), renamed(wrong, name), file.read_text(encoding="utf-8")
        assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {path}"
        file.write_text(text.replace(right, wrong), encoding="utf-8")
        nodes.append(f"{name}/tests/test_conformance.py::Test{name.capitalize()}::{test}")
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        f"addopts = --import-mode=importlib\npythonpath = {' '.join(str(one) for one in folder.glob('*/src'))}\n",
        encoding="utf-8",
    )
    ended = run_pytest(folder, *nodes)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("FAILED ")]
    assert lines, ended.stdout
    nodes = [line.split(" ")[1] for line in lines]
    return {(node.partition("/")[0], node.rpartition("::")[2].partition("[")[0]) for node in nodes}


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[one[0] for one in PLANTED])
def test_planted_fault_is_found(found_out: set[tuple[str, str]], number: int) -> None:
    assert (f"planted{number}", PLANTED[number][0]) in found_out


DONE = Confirmed(receipt=Receipt(external_id="1"))


@pytest.mark.parametrize(
    ("outcomes", "truth"),
    [
        ({"a": DONE}, {"a": False}),
        ({"a": Rejected(code="x", message="x")}, {"a": True}),
        ({"b": DONE}, {"a": True}),
    ],
    ids=["done and is not", "refused and is done", "nobody's key"],
)
def test_batch_that_lies_is_found(outcomes: dict[str, SendOutcome], truth: dict[str, bool]) -> None:
    with pytest.raises(AssertionError):
        no_better_than(outcomes, truth)


def test_batch_that_tells_the_truth_passes() -> None:
    told: dict[str, SendOutcome] = {
        "a": DONE,
        "b": Rejected(code="x", message="x"),
        "c": OutcomeUnknown(reason="?"),
    }
    no_better_than(told, {"a": True, "b": False, "c": True, "d": True})


def test_results_are_disordered_at_any_depth() -> None:
    items: list[Any] = [{"n": number} for number in range(SIZE)]
    turned = [*items[1:], items[0]]
    assert listed(shuffled)(items) == turned
    assert listed(shuffled)({"a": {"b": items}, "c": items[:2]}) == {"a": {"b": turned}, "c": items[:2]}


# --------------------------------------------------------------------------------------------------- pytest's fixtures

MINE = """
import http.client
from datetime import datetime, UTC

import pytest
from tieout_lab.twins.clock import SystemTwinClock


@pytest.fixture
def twin_clock():
    return SystemTwinClock(business=datetime(2026, 1, 15, tzinfo=UTC))


def test_all(stripe_twin, salesforce_twin, netsuite_twin):
    assert len({stripe_twin.url, salesforce_twin.url, netsuite_twin.url}) == 3
    stripe_twin.act("seed_catalogue")
    assert salesforce_twin.describe()["org_id"].startswith("00D")
    assert netsuite_twin.control("GET", "clock")["business"].startswith("2026-01-15")
    netsuite_twin.move_clock(datetime(2026, 2, 1, tzinfo=UTC))
    assert netsuite_twin.control("GET", "clock")["business"].startswith("2026-02-01")
    stripe_twin.fail("error_before")
    stripe_twin.deviate({"status": 418})
    stripe_twin.deviate()
    assert stripe_twin.log() == []


def test_fresh(stripe_twin):
    assert stripe_twin.act("snapshot")["acct_us"].get("products", []) == []
"""


def test_fixtures_serve_the_twins(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(MINE, encoding="utf-8")
    ended = run_pytest(tmp_path, "-p", "tieout_lab.pytest_plugin")
    assert "2 passed" in ended.stdout, ended.stdout


def test_plugin_is_declared_under_its_modules_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, module),) = project["entry-points"]["pytest11"].items()
    assert name == module
    assert {"stripe_twin", "salesforce_twin", "netsuite_twin", "serve_twin"} <= vars(
        importlib.import_module(module)
    ).keys()
