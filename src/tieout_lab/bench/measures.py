"""The measurements. Each answers its figures and the goals that they meet or miss."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import msgspec

from tieout_lab.bench.children import Child, cpu_seconds, resident_mb, steer
from tieout_lab.bench.crm import SLOTS as SLOTS_OF_CRM
from tieout_lab.bench.crm import write_back
from tieout_lab.bench.erp import SLOTS, documents_per_hour
from tieout_lab.bench.setting import Bench, Hub, fresh
from tieout_lab.bench.stub import FLOW

_ROUNDS = 3
_CONNECTIONS = 32
# As many events at once as the hub runs lanes.
_CONCURRENCY = 64
_STUB_FLOOR = 30_000
_DELAY, _CEILING = 0.05, 15


class Goal(msgspec.Struct, kw_only=True):
    """One figure beside what is asked of it."""

    name: str
    value: float
    asked: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.asked if self.at_least else self.value <= self.asked


class Measured(msgspec.Struct, kw_only=True):
    """One measurement: its figures, its goals, and what makes it void."""

    name: str
    figures: dict[str, Any]
    goals: list[Goal] = []
    void: str = ""


def stub_alone(bench: Bench) -> Measured:
    """The stub by itself: plain sockets, one request after the other on each of 32 connections."""
    count = 30_000
    request = "GET /v1/invoices/in_00000017 HTTP/1.1\r\nHost: stub\r\n\r\n"
    rates: list[float] = []
    before = cpu_seconds(bench.stub.pid)
    for _ in range(_ROUNDS):
        with Child(
            "loader", port=bench.stub_port, requests=[request], count=count, connections=_CONNECTIONS
        ) as loader:
            said = loader.ask("go")
        rates.append(count / (said["ended"] - said["started"]))
    used = (cpu_seconds(bench.stub.pid) - before) / count / _ROUNDS * 1e6
    per_second = median(rates)
    goal = Goal(name="stub alone, requests/s", value=per_second, asked=_STUB_FLOOR)
    return Measured(name="stub", figures={"requests_per_second": per_second, "cpu_us": used}, goals=[goal])


def end_to_end(bench: Bench) -> Measured:
    """Webhooks in, every call of the design out, beside the raw loop; in turn, `_ROUNDS` times, medians."""
    count = max(bench.events // _ROUNDS, 300)
    rounds: list[dict[str, Any]] = []
    with bench.hub("end_to_end") as hub, bench.raw("raw") as raw:
        flow_samples: dict[str, Any] = {}
        for ordinal in range(_ROUNDS):
            steer(bench.stub_port)
            loaded = hub.load(count)
            seen = bench.seen()
            calls = {name: seen["counts"].get(name, 0) for name in FLOW}
            flow_samples = flow_samples or seen["samples"]
            turn = {
                "rate": count / loaded["seconds"],
                "cpu_us": loaded["cpu_us"],
                "calls": sum(calls.values()) / count,
            }
            for name, with_calls, with_store in (("client", 1, 0), ("insert", 0, 1), ("raw", 1, 1)):
                steer(bench.stub_port)
                before = cpu_seconds(raw.pid)
                said = raw.ask(
                    "go", first=0, count=count, name=f"{name}{ordinal}-", calls=with_calls, store=with_store,
                    concurrency=_CONCURRENCY, samples=flow_samples,
                )  # fmt: skip
                turn[name] = count / (said["ended"] - said["started"])
                turn[f"{name}_cpu_us"] = (cpu_seconds(raw.pid) - before) / count * 1e6
            theirs = bench.seen()["counts"]
            turn["equal_calls"] = all(theirs.get(name, 0) == calls[name] for name in FLOW)
            turn["possible"] = turn["raw"] * (1 / turn["client"] + 1 / turn["insert"])
            turn["ratio"] = turn["rate"] / turn["raw"]
            rounds.append(turn)
        stats = hub.child.ask("stats")
        kind, memory = hub.store.kind, resident_mb(hub.child.pid)
    middle = {
        name: median(turn[name] for turn in rounds)
        for name in ("rate", "calls", "client", "insert", "raw", "ratio")
    }
    cpu = {
        name: median(turn["cpu_us"][name] for turn in rounds) for name in ("hub", "store", "stub", "loader")
    }
    raw_cpu = median(turn["raw_cpu_us"] for turn in rounds)
    possible = median(turn["possible"] for turn in rounds)
    void = ""
    if possible < 0.8:
        void = f"the raw loop reached {possible:.0%} of what its parts allow, 80 % are asked"
    if not all(turn["equal_calls"] for turn in rounds):
        void = "hub and raw loop did not make the same calls"
    figures = {
        "events_per_second": middle["rate"],
        "raw_loop_events_per_second": middle["raw"],
        "ratio": middle["ratio"],
        "ratios": [turn["ratio"] for turn in rounds],
        "raw_loop_of_possible": possible,
        "calls_per_event": middle["calls"],
        "cpu_us_per_event": cpu,
        "raw_loop_cpu_us_per_event": raw_cpu,
        "bare_client_calls_per_second": middle["client"] * len(FLOW),
        "batched_inserts_per_second": middle["insert"],
        "commits_per_event": stats["commits"] / hub.done,
        "units_per_event": stats["units"] / hub.done,
        "resident_mb": memory,
    }
    goal = Goal(name=f"end to end on {kind}, of the raw loop", value=middle["ratio"], asked=0.35)
    return Measured(name="end_to_end", figures=figures, goals=[goal], void=void)


def intake(bench: Bench) -> Measured:
    """Signed webhooks to durable 2xx, beside a bare handler that verifies and inserts in batches."""
    count = max(bench.events // 2, 1000)
    ours: list[float] = []
    bare: list[float] = []
    with (
        bench.hub("intake", work=False) as hub,
        fresh(bench.server, bench.folder, "bare") as store,
        Child("bare", database=store.url) as other,
    ):
        for ordinal in range(_ROUNDS):
            with hub.loader(count) as loader:
                said = loader.ask("go")
            if said["refused"]:
                raise AssertionError(said["refusal"])
            ours.append(count / (said["ended"] - said["started"]))
            with Child("loader", port=other.said["port"], first=ordinal * count, count=count) as loader:
                said = loader.ask("go")
            bare.append(count / (said["ended"] - said["started"]))
        kind = hub.store.kind
    ratio = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    figures = {"events_per_second": median(ours), "bare_events_per_second": median(bare), "ratio": ratio}
    goal = Goal(name=f"intake on {kind}, of the bare handler", value=ratio, asked=0.5)
    return Measured(name="intake", figures=figures, goals=[goal])


def vendor_limited(bench: Bench) -> Measured:
    """An ERP that takes 50 ms and 15 calls at once: the hub's calls a second beside the bare client's, in turn."""
    count = 1200  # so that ramp and tail, a tenth of a second each, weigh little
    slow = {"delay_seconds": {"netsuite": _DELAY}, "ceiling": {"netsuite": _CEILING}}
    ours: list[float] = []
    bare: list[float] = []
    most, over = 0, 0
    samples: dict[str, Any] = {}
    with bench.hub("vendor_limited", settings={"in_flight": _CEILING}) as hub, bench.raw("vendor_raw") as raw:
        for ordinal in range(_ROUNDS):
            steer(bench.stub_port, **slow)
            hub.load(count)
            seen = bench.seen()
            ours.append(_calls_per_second(seen))
            samples = samples or seen["samples"]
            most, over = max(most, seen["most_in_flight"]["netsuite"]), over + seen["over_ceiling"]
            steer(bench.stub_port, **slow)
            raw.ask(
                "go", first=0, count=count // 2, name=f"v{ordinal}-", calls=1, store=0, concurrency=_CEILING,
                samples=samples, flow=["document.post", "document.get"],
            )  # fmt: skip
            bare.append(_calls_per_second(bench.seen()))
        kind = hub.store.kind
    ratio = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    figures = {
        "calls_per_second": median(ours),
        "bare_calls_per_second": median(bare),
        "ratio": ratio,
        "most_in_flight": most,
        "over_ceiling": over,
    }
    goals = [
        Goal(name=f"vendor-limited on {kind}, of the bare client", value=ratio, asked=0.97),
        Goal(name=f"calls over the vendor's ceiling on {kind}", value=over, asked=0, at_least=False),
    ]
    return Measured(name="vendor_limited", figures=figures, goals=goals)


def _calls_per_second(seen: dict[str, Any]) -> float:
    """Of the slow vendor, from its first call to its last answer."""
    calls: int = seen["counts"]["document.post"] + seen["counts"]["document.get"]
    return calls / float(seen["last"]["netsuite"] - seen["first"]["netsuite"])


def latency(bench: Bench) -> Measured:
    """Webhook due to posted and known to be: the stub sees the read-back, which follows the durable confirmation.
    Open loop, at half of what the hub does at most, `_ROUNDS` times five seconds."""
    with bench.hub("latency") as hub:
        count = max(bench.events // _ROUNDS, 500)
        most = median(count / hub.load(count)["seconds"] for _ in range(_ROUNDS))
        rate = most / 2
        turns = [_open_loop(bench, hub, rate, max(int(rate * 5), 300)) for _ in range(_ROUNDS)]
        kind = hub.store.kind
    figures: dict[str, Any] = {"rate": rate, "most": most}
    for name in turns[0]:
        figures[name] = median(turn[name] for turn in turns)
    figures["p99_ms_of_rounds"] = [turn["p99_ms"] for turn in turns]
    asked = 100 if kind == "SQLite" else 150
    goal = Goal(
        name=f"webhook to posted on {kind}, p99 ms", value=figures["p99_ms"], asked=asked, at_least=False
    )
    return Measured(name="latency", figures=figures, goals=[goal])


def _open_loop(bench: Bench, hub: Hub, rate: float, count: int) -> dict[str, float]:
    steer(bench.stub_port, stamps=True)
    first = hub.first
    with hub.loader(count, connections=64, rate=rate) as loader:
        said = loader.ask("go")
        if said["refused"]:
            raise AssertionError(said["refusal"])
        hub.child.ask("runs", count=hub.done + count)
    hub.done += count
    stamps = dict(bench.seen()["stamps"])
    waits = sorted(stamps[first + i] - said["started"] - i / rate for i in range(count))
    shares = (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0))
    return {name: waits[min(count - 1, int(count * share))] * 1000 for name, share in shares}


def hot_lanes(bench: Bench) -> Measured:
    """Five documents of a thousand obligations each, beside five hundred documents of ten."""
    many: list[float] = []
    hot: list[float] = []
    small: list[float] = []
    with bench.hub("hot_lanes") as hub:
        for ordinal in range(1, _ROUNDS):
            first = ordinal * 10_000_000
            many.append(5000 / hub.child.ask("lanes", first=first, lanes=500, each=10)["seconds"])
            said = hub.child.ask("lanes", first=first + 5_000_000, lanes=5, each=1000, small=0.5)
            hot.append(5000 / said["seconds"])
            small.append(said["small_seconds"])
        kind = hub.store.kind
    figures = {
        "many_lanes_per_second": median(many),
        "hot_lanes_per_second": median(hot),
        "ratio": median(theirs / ours for theirs, ours in zip(hot, many, strict=True)),
        "small_lane_seconds": max(small),
    }
    goals = [
        Goal(name=f"hot lanes on {kind}, of the many-lane rate", value=figures["ratio"], asked=0.4),
        Goal(name=f"a small lane behind hot ones on {kind}, s", value=max(small), asked=1, at_least=False),
    ]
    return Measured(name="hot_lanes", figures=figures, goals=goals)


def memory(bench: Bench) -> Measured:
    """Resident memory with a thousand and with a hundred thousand events waiting behind a vendor that hangs."""
    with bench.hub("memory") as hub:
        steer(bench.stub_port, delay_seconds={"stripe": 50})

        def waiting(count: int) -> float:
            while count:
                part = min(count, 5000)
                with hub.loader(part) as loader:
                    said = loader.ask("go")
                if said["refused"]:
                    raise AssertionError(said["refusal"])
                count -= part
            time.sleep(1)
            return resident_mb(hub.child.pid)

        few = waiting(1000)
        many = waiting(99_000)
        kind = hub.store.kind
    figures = {"at_1000_mb": few, "at_100000_mb": many, "growth_mb": many - few}
    goals = [
        Goal(name=f"memory on {kind} at 100,000 waiting, MB", value=many, asked=200, at_least=False),
        Goal(name=f"its growth from 1,000 on {kind}, MB", value=many - few, asked=20, at_least=False),
    ]
    return Measured(name="memory", figures=figures, goals=goals)


def erp_documents(bench: Bench) -> Measured:
    """A thousand documents through the ERP at 1.5 s a call and 15 slots, one by one and in batches, on the virtual
    clock: documents an hour beside what the slots allow the calls that were made."""
    del bench  # no machine and no database is in it
    single = documents_per_hour(deals=100, months=10, batch_size=0)
    batched = documents_per_hour(deals=100, months=10, batch_size=100)
    goals = []
    for name, found in (("one by one", single), ("in batches", batched)):
        goals += [
            Goal(name=f"ERP documents {name}, of the slots' limit", value=found["ratio"], asked=0.95),
            Goal(
                name=f"ERP calls at once, {name}", value=found["most_in_flight"], asked=SLOTS, at_least=False
            ),
        ]
    gain = batched["per_hour"] / single["per_hour"]
    figures = {"one_by_one": single, "in_batches": batched, "gain": gain}
    return Measured(name="erp_documents", figures=figures, goals=goals)


def crm_write_back(bench: Bench) -> Measured:
    """Ten thousand records back into the CRM, on the virtual clock: calls that the org sees."""
    del bench  # no machine and no database is in it
    found = write_back(10_000)
    goals = [
        Goal(name="CRM calls for 10,000 records", value=found["calls"], asked=60, at_least=False),
        Goal(name="CRM records written", value=found["records"], asked=10_000),
        Goal(name="CRM calls at once", value=found["most_in_flight"], asked=SLOTS_OF_CRM, at_least=False),
    ]
    return Measured(name="crm_write_back", figures=found, goals=goals)


MEASURES = {
    "stub": stub_alone,
    "end_to_end": end_to_end,
    "intake": intake,
    "vendor_limited": vendor_limited,
    "latency": latency,
    "hot_lanes": hot_lanes,
    "memory": memory,
    "erp_documents": erp_documents,
    "crm_write_back": crm_write_back,
}
