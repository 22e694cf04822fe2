"""`tieout bench --peers`: the same work on every engine in turn, the hub with all its safety among them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from tieout_lab.bench.children import Broken, Child, report, steer
from tieout_lab.bench.main import described, table
from tieout_lab.bench.measures import Goal, Measured
from tieout_lab.bench.peers import work
from tieout_lab.bench.peers.engines import ENGINES, Engine, Place
from tieout_lab.bench.setting import folder_of_run
from tieout_lab.environments import NotThere

_ROUNDS = 3
_ASKED = 3.0
# What a call takes; so many of them at once are no limit to any engine here.
_CALL_SECONDS = 0.005
USAGE, INTERRUPTED = 2, 130


def run(*, events: int, postgres: str, json_output: bool, only: Sequence[str] = ()) -> int:
    """Measure, print, and leave nothing behind. `postgres` empty: what needs it is skipped. 0 when every goal is met,
    1 when one is missed or void, 2 for wrong usage."""
    peers = [engine.name for engine in ENGINES if not engine.ours]
    if set(only) - set(peers) or events < work.LANES or events % work.LANES:
        print(f"--only takes {', '.join(peers)}; --events a multiple of {work.LANES}", file=sys.stderr)
        return USAGE
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        measured = _measure(events, postgres, only or peers)
    except KeyboardInterrupt:
        print("tieout bench: interrupted; every process that it started has ended", file=sys.stderr)
        return INTERRUPTED
    document = described(postgres, events, [measured])
    print(json.dumps(document, indent=1) if json_output else table(document))
    return 0 if document["all_met"] else 1


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _measure(events: int, postgres: str, wanted: Sequence[str]) -> Measured:
    skipped: dict[str, str] = {}
    taking: list[Engine] = []
    for engine in ENGINES:
        if not engine.ours and engine.name not in wanted:
            continue
        try:
            if engine.postgres and not postgres:
                raise NotThere("it needs PostgreSQL, and none answers: name one by --database")
            engine.get()
        except NotThere as missing:
            skipped[engine.name] = str(missing)
            print(f"skipping {engine.title}: {missing}", file=sys.stderr, flush=True)
        else:
            taking.append(engine)
    rounds: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in taking}
    with folder_of_run() as folder, Child("stub") as stub:
        for ordinal in range(_ROUNDS):
            for engine in taking:
                place = Place(folder / f"{engine.name}-{ordinal}", stub.said["port"], postgres)
                place.folder.mkdir()
                try:
                    turn = _turn(engine, place, events)
                except Broken as broken:
                    turn = {"rate": 0.0, "broken": str(broken)}
                rounds[engine.name].append(turn)
                print(f"round {ordinal + 1}, {engine.title}: {_said(turn)}", file=sys.stderr, flush=True)
    return _judged(taking, rounds, skipped)


def _turn(engine: Engine, place: Place, events: int) -> dict[str, Any]:
    """One engine, one round: an event on every lane to warm up, then the work."""
    with engine.running(place) as running:
        steer(place.stub_port, delay_seconds={"events": _CALL_SECONDS})
        running.loader.ask("load", first=0, count=work.LANES)
        running.wait(work.LANES)
        steer(place.stub_port, delay_seconds={"events": _CALL_SECONDS})
        before = {part: used() for part, used in running.cpu.items()}
        running.loader.tell("load", first=work.LANES, count=events)
        handed = running.loader.hear()
        finished = running.wait(work.LANES + events)
        used = {part: (now() - before[part]) / events * 1000 for part, now in running.cpu.items()}
        seen = report(place.stub_port)
    calls = seen["events"]
    return {
        "rate": events / (finished.at - handed["started"]),
        "handed_over_per_second": events / (handed["ended"] - handed["started"]),
        "cpu_ms": used,
        "calls": calls["calls"],
        "twice": calls["twice"],
        "out_of_order": calls["late"],
        "lanes_out_of_order": calls["lanes_out_of_order"],
        "most_in_flight": seen["most_in_flight"].get("events", 0),
        "results": finished.results - work.LANES,
        "audit_rows": finished.audited - work.LANES,
    }


def _said(turn: dict[str, Any]) -> str:
    if "broken" in turn:
        return str(turn["broken"])
    order = f"{turn['out_of_order']} out of order" if turn["out_of_order"] else "in order"
    return f"{turn['rate']:,.0f} events/s, {order}, {sum(turn['cpu_ms'].values()):.2f} ms of CPU an event"


def _judged(
    taking: Sequence[Engine], rounds: dict[str, list[dict[str, Any]]], skipped: dict[str, str]
) -> Measured:
    """Medians, ratios, and whether the goals are met."""
    figures: dict[str, Any] = {engine.name: _figures(engine, rounds[engine.name]) for engine in taking}
    peers = [engine for engine in taking if not engine.ours and figures[engine.name]["rate"]]
    goals: list[Goal] = []
    void = "" if peers else "there is no other engine to compare with"
    if peers:
        fastest = max(peers, key=lambda engine: figures[engine.name]["rate"])
        for ours in (engine for engine in taking if engine.ours):
            rate = figures[ours.name]["rate"]
            figures[f"{ours.name}_ratios"] = {peer.name: rate / figures[peer.name]["rate"] for peer in peers}
            # What another load on the machine disturbs less than the rate.
            if used := _cpu(figures[ours.name]):
                figures[f"{ours.name}_cpu_ratios"] = {
                    peer.name: _cpu(figures[peer.name]) / used for peer in peers
                }
            beside = [
                mine["rate"] / theirs["rate"]
                for mine, theirs in zip(rounds[ours.name], rounds[fastest.name], strict=True)
                if theirs["rate"]
            ]
            goals.append(
                Goal(name=f"{ours.title}, times {fastest.title}", value=median(beside), asked=_ASKED)
            )
            if wrong := _wrong(rounds[ours.name]):
                void = f"{ours.title}: {wrong}"
    else:
        goals.append(Goal(name="tieout, times the fastest", value=0, asked=_ASKED))
    figures["skipped"] = skipped
    return Measured(name="peers", figures=figures, goals=goals, void=void)


def _cpu(figures: dict[str, Any]) -> float:
    """CPU of an event over all parts of an engine, its loader and its database included, in ms."""
    return float(sum(figures.get("cpu_ms", {}).values()))


def _wrong(turns: Sequence[dict[str, Any]]) -> str:
    """What of our own promise did not hold; empty when all did."""
    for turn in turns:
        if "broken" in turn:
            return str(turn["broken"])
        if turn["twice"] or turn["out_of_order"]:
            return f"{turn['twice']} calls came twice, {turn['out_of_order']} out of order"
        if not turn["calls"] == turn["results"] == turn["audit_rows"]:
            return f"{turn['calls']} calls, {turn['results']} results, {turn['audit_rows']} audit rows"
    return ""


def _figures(engine: Engine, turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    whole = [turn for turn in turns if "broken" not in turn]
    found: dict[str, Any] = {
        "rate": median(turn["rate"] for turn in whole) if whole else 0.0,
        "rates": [turn["rate"] for turn in turns],
        "order": engine.order,
        "broken": [turn["broken"] for turn in turns if "broken" in turn],
    }
    if whole:
        found["cpu_ms"] = {
            part: median(turn["cpu_ms"][part] for turn in whole) for part in whole[0]["cpu_ms"]
        }
        found["handed_over_per_second"] = median(turn["handed_over_per_second"] for turn in whole)
        found["most_in_flight"] = max(turn["most_in_flight"] for turn in whole)
        for name in ("twice", "out_of_order", "lanes_out_of_order"):
            found[name] = [turn[name] for turn in whole]
        found["kept_order"] = not any(turn["out_of_order"] for turn in whole)
        for name in ("results", "audit_rows"):
            found[name] = [turn[name] for turn in whole]
    return found
