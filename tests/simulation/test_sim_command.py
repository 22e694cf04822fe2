"""`tieout sim`: one document, the same on every run; bad input is refused with what to write instead."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from tests.simulation.bugs import plant
from tieout_lab.simulation import campaign, profiles
from tieout_lab.simulation.command import sim
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import Tape, draw
from tieout_lab.simulation.seeds import Plan

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_app.command()(sim)


def _sim(*arguments: str):
    return CliRunner(env={"COLUMNS": "400"}).invoke(_app, list(arguments))


def _short(*arguments: str):
    return _sim("--seeds", "2", "--seed", "4", "--days", "0", "--jobs", "1", "--json", *arguments)


def test_one_document_and_the_same_one_again():
    first, second = _short(), _short()
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert list(document) == ["events", "violations", "faults", "hash", "seconds"]
    assert document["violations"] == []
    assert document["events"] > 50
    assert sum(document["faults"].values()) > 10
    assert document["hash"] == json.loads(second.stdout)["hash"]


def test_the_hash_does_not_depend_on_how_many_processes_play():
    plans = [Plan(4, faults="none"), Plan(5, faults="none")]
    assert campaign.run(plans, 1).hash == campaign.run(plans, 2).hash


def test_without_faults_nothing_goes_wrong():
    assert json.loads(_short("--faults", "none").stdout)["faults"] == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--faults", "bad weather"],
            "there are: none, calls, limits, events, processes, store, writes, all",
        ),
        (["--seed", "no-such-file"], "neither a number nor a file that can be read"),
        (["--seeds", "0"], "--seeds"),
        (["--workers", "5"], "--workers"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(given, said):
    result = _sim(*given)
    assert result.exit_code == 2
    assert said in result.output


def test_a_file_of_seeds_is_checked_before_anything_is_played(tmp_path):
    path = tmp_path / "seeds.txt"
    path.write_text("4\nfive\n")
    result = _sim("--seed", str(path))
    assert result.exit_code == 2
    assert "seed 2 is 'five'" in result.output
    path.write_text("4\n")
    assert _sim("--seed", str(path), "--days", "0", "--faults", "none", "--jobs", "1").exit_code == 0


def test_a_failing_seed_is_shrunk_and_its_replay_line_plays_it_again(monkeypatch):
    monkeypatch.setattr(campaign, "_SHRINK_TRIES", 6)
    with plant("company_left_out_of_the_key"):
        plan = Plan(4, workers=1)
        outcome = campaign.attempt(plan)
        less = campaign.shrunk(plan, outcome)
        assert len(less.without) > len(outcome.parts) // 2
        again = campaign.attempt(less)
        assert again.violations[0].startswith("I20")
    line = less.replay()
    assert line.startswith("tieout sim --seed 4 --seeds 1 --days 0 --faults all --workers 1 --without ")


def test_clocks_differ_by_less_than_the_horizons_allow_and_backups_are_older_than_what_is_lost():
    drawn = [
        profiles.clock_trouble(_draw_of(seed), profiles.PROFILES["all"], 0, frozenset())
        for seed in range(400)
    ]
    assert max(abs(one.ahead) for one in drawn) <= 2
    assert {one.back > 0 for one in drawn} == {True, False}
    assert max(one.back for one in drawn) <= 3
    assert (
        profiles.clock_trouble(_draw_of(1), profiles.PROFILES["calls"], 0, frozenset())
        == profiles.ClockTrouble()
    )
    found = [
        profiles.restore(_draw_of(seed), profiles.PROFILES["all"], 30, frozenset()) for seed in range(400)
    ]
    assert 60 < sum(one is not None for one in found) < 140
    assert all(0 < taken < lost < 30 for taken, lost in (one for one in found if one is not None))


def _draw_of(seed):
    return lambda *parts: draw(seed, *parts)


def test_a_day_with_a_restore_in_it_ends_like_any_other():
    seed = next(
        one
        for one in range(100)
        if profiles.restore(_draw_of(one), profiles.PROFILES["all"], 30, frozenset())
    )
    outcome = campaign.attempt(Plan(seed, days=1, faults="processes", workers=1))
    assert outcome.violations == []
    assert outcome.faults["restore"] == 1
    left_out = campaign.attempt(Plan(seed, faults="processes", workers=1))
    assert "restore" not in left_out.faults  # not in a short life


async def _taped(content):
    tape = Tape()
    tape.note(content)
    return tape.hexdigest()


def test_the_tape_hears_every_difference_and_no_order_of_a_dict():
    first = run_virtual(_taped({"a": 1, "b": b"two"}))
    assert first == run_virtual(_taped({"b": b"two", "a": 1}))
    assert first != run_virtual(_taped({"a": 1, "b": b"too"}))


def test_every_fault_has_a_rate_and_a_shape_and_can_be_left_out():
    def always(*parts):
        return 0.99 * draw(1, *parts) if parts[-1] != "has" else 0.0

    chosen = profiles.PROFILES["all"]
    found = profiles.weather(always, chosen, "crm", frozenset())
    assert set(found) == set(chosen.calls)
    assert "reset" not in profiles.weather(always, chosen, "crm", frozenset({"crm.reset"}))
    gust = profiles.Weather("crm.reset", 0.05, profiles.GUSTS, 0.0)
    assert (gust.rate_at(5), gust.rate_at(50)) == (0.25, 0.05)
    assert profiles.store_trouble(always, chosen, frozenset()) is not None
    assert profiles.store_trouble(always, profiles.PROFILES["calls"], frozenset()) is None
