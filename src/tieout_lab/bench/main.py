"""`tieout bench`: run the measurements, print a table or one JSON document."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from tieout_lab.bench import limits, measures
from tieout_lab.bench.children import Child
from tieout_lab.bench.measures import Measured
from tieout_lab.bench.setting import Bench, folder_of_run

MEASURES = {**measures.MEASURES, **limits.MEASURES}
_LIBRARIES = ("uvloop", "uvicorn", "httptools", "aiohttp", "msgspec", "psycopg", "cryptography")


def run(
    *, events: int = 6000, database: str | None = None, json_output: bool = False, only: Sequence[str] = ()
) -> int:
    """Measure on SQLite, or on the PostgreSQL server that `database` names (a database of the bench's own is made there
    and dropped). 0 when every goal is met, 1 when one is missed or void, 2 for wrong usage."""
    unknown = [name for name in only if name not in MEASURES]
    if unknown or events < 100:
        print(f"--only takes {', '.join(MEASURES)}; --events at least 100", file=sys.stderr)
        return 2
    server = "" if database is None or database.startswith("sqlite") else database
    wanted = list(only) or list(MEASURES)
    found: list[Measured] = []
    with folder_of_run() as folder, Child("stub") as stub:
        bench = Bench(stub, server, folder, events)
        for name in wanted:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            found.append(MEASURES[name](bench))
            print(f"  {shown(found[-1].figures)}", file=sys.stderr, flush=True)
    document = described(server, events, found)
    print(json.dumps(document, indent=1) if json_output else table(document))
    return 0 if document["all_met"] else 1


def described(server: str, events: int, found: list[Measured]) -> dict[str, Any]:
    """The whole run as one document."""
    goals = [
        {"goal": goal.name, "value": round(goal.value, 4), "asked": goal.asked, "at_least": goal.at_least,
         "met": goal.met and not measured.void, "void": measured.void}
        for measured in found
        for goal in measured.goals
    ]  # fmt: skip
    return {
        "machine": machine(server),
        "events": events,
        "figures": {measured.name: msgspec.to_builtins(measured.figures) for measured in found},
        "goals": goals,
        "all_met": all(goal["met"] for goal in goals),
    }


def machine(server: str) -> dict[str, Any]:
    """What it ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    database = "SQLite"
    if server:
        with psycopg.connect(server) as connection:
            database = f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return {
        "cpu": model,
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
        "database": database,
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def table(document: dict[str, Any]) -> str:
    """The figures, then the goals, for people."""
    lines = [
        f"{document['machine']['database']}, {document['machine']['cores']} cores, {document['machine']['cpu']}",
        "",
    ]
    for name, figures in document["figures"].items():
        lines.append(name)
        lines += [f"  {label:<34} {shown(value)}" for label, value in figures.items()]
    lines += ["", f"{'goal':<56} {'found':>10} {'asked':>10}"]
    for goal in document["goals"]:
        sign = ">=" if goal["at_least"] else "<="
        verdict = "met" if goal["met"] else "void: " + goal["void"] if goal["void"] else "MISSED"
        lines.append(
            f"{goal['goal']:<56} {shown(goal['value']):>10} {sign}{shown(goal['asked']):>8}  {verdict}"
        )
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A figure as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
