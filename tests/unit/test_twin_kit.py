"""The kit of every twin, over real sockets: each fault does what it says, and the plan is the same for a seed."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn

from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.faults import CALL_FAULTS, FaultPlan, Scripted
from tieout_lab.twins.kit import Dropped, Request, Response, Twin


class Counting(Twin):
    """Counts the work it has done: POST /work, GET /work."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(SystemTwinClock(business=datetime(2026, 1, 1, tzinfo=UTC)))
        self.done = 0
        self.moved = 0
        self.closed = False
        self.route("POST", "/work", "work.do", self._do)
        self.route("GET", "/work", "work.read", self._read)
        self.action("double", lambda given: {"twice": given["number"] * 2})

    async def _do(self, request: Request) -> Response:
        self.done += 1
        return Response(200, {"done": self.done, "padding": "x" * 200})

    async def _read(self, request: Request) -> Response:
        return Response(200, {"done": self.done})

    async def clock_moved(self) -> None:
        self.moved += 1

    async def close(self) -> None:
        await super().close()
        self.closed = True


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals are the test runner's."""


@contextmanager
def served(twin: Twin) -> Iterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        twin,
        lifespan="on",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


@pytest.fixture
def twin() -> Counting:
    return Counting()


@pytest.fixture
def port(twin: Counting) -> Iterator[int]:
    with served(twin) as where:
        yield where


def call(port: int, method: str, path: str, body: Any = None, timeout: float = 0.5) -> tuple[int, str, bytes]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        link.request(method, path, body=None if body is None else json.dumps(body).encode())
        answer = link.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read()
    finally:
        link.close()


def control(port: int, method: str, path: str, body: Any = None) -> Any:
    return json.loads(call(port, method, f"/_control/{path}", body, timeout=5)[2])


def plan(port: int, kind: str, seconds: float | None = None, operation: str = "work.do") -> None:
    entry = {"operation": operation, "nth": 1, "kind": kind, "seconds": seconds}
    assert control(port, "PUT", "faults", {"script": [entry]}) is not None


def test_every_fault_does_what_it_says(twin: Counting, port: int) -> None:
    """(answered how, work done): the table of the kit's own promises."""
    lost = (ConnectionError, http.client.HTTPException)
    promised: dict[str, tuple[Any, int]] = {
        "refuse": (lost, 0),
        "hang": (TimeoutError, 0),
        "timeout_after_work": (TimeoutError, 1),
        "late": (TimeoutError, 0),  # and 1 a little later
        "error_before": (500, 0),
        "error_after": (500, 1),
        "rate_limited": (429, 0),
        "reset": (lost, 1),
        "cut": (lost, 1),
        "malformed": (200, 1),
        "html": (200, 1),
    }
    assert set(promised) == set(CALL_FAULTS)
    for kind, (expected, work) in promised.items():
        before = twin.done
        plan(port, kind, seconds=1.0)
        if isinstance(expected, int):
            status, content, body = call(port, "POST", "/work")
            assert status == expected, kind
            if kind == "malformed":
                with pytest.raises(ValueError, match=r".+"):
                    json.loads(body)
            if kind == "html":
                assert content == "text/html"
        else:
            with pytest.raises(expected):
                call(port, "POST", "/work")
        assert twin.done - before == work, kind
        if kind == "late":
            time.sleep(0.8)
            assert twin.done - before == 1
        # the next call works again, and the journal knows what happened
        assert call(port, "POST", "/work")[0] == 200
        assert kind in [entry["fault"] for entry in twin.log[-2:]]
    counts = control(port, "GET", "faults")["counts"]
    assert counts == dict.fromkeys(CALL_FAULTS, 1)


def test_a_client_that_gives_up_frees_its_place(twin: Counting, port: int) -> None:
    plan(port, "hang")
    with pytest.raises(TimeoutError):
        call(port, "POST", "/work", timeout=0.2)
    deadline = time.monotonic() + 2
    while twin.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert twin.max_in_flight == 1


def test_a_paused_call_waits_until_it_is_resumed(twin: Counting, port: int) -> None:
    for kind, done in (("pause_before", 0), ("pause_after", 1)):
        twin.done = 0
        plan(port, kind)
        answers: list[int] = []
        caller = threading.Thread(
            target=lambda into=answers: into.append(call(port, "POST", "/work", timeout=5)[0])
        )
        caller.start()
        assert control(port, "GET", "paused") == {"paused": True}
        assert (twin.done, answers) == (done, [])
        control(port, "POST", "resume")
        caller.join(timeout=5)
        assert (twin.done, answers) == (1, [200])


def test_reads_have_no_faults_of_writes(twin: Counting, port: int) -> None:
    control(
        port,
        "PUT",
        "faults",
        {"rates": {"error_after": 1.0, "late": 1.0, "reset": 1.0, "timeout_after_work": 1.0}},
    )
    assert [call(port, "GET", "/work")[0] for _ in range(5)] == [200] * 5
    control(port, "PUT", "faults", {"rates": {"error_before": 1.0}, "operations": ["work.read"]})
    assert call(port, "GET", "/work")[0] == 500
    assert call(port, "POST", "/work")[0] == 200


def test_the_control_api(twin: Counting, port: int) -> None:
    assert control(port, "POST", "act/double", {"number": 4}) == {"twice": 8}
    assert "error" in control(port, "POST", "act/nothing")
    assert "KeyError" in control(port, "POST", "act/double", {})["error"]
    moved = control(port, "PUT", "clock", {"business": "2026-03-01T00:00:00+00:00"})
    assert (moved["business"], twin.moved) == ("2026-03-01T00:00:00+00:00", 1)
    assert "error" in control(port, "PUT", "faults", {"rates": {"nonsense": 1.0}})
    assert "error" in control(port, "PUT", "faults", {"nonsense": 1})
    call(port, "POST", "/work")
    call(port, "GET", "/nowhere")
    journal = control(port, "GET", "log")["log"]
    assert [(entry["operation"], entry["status"]) for entry in journal] == [
        ("work.do", 200),
        ("unknown", 404),
    ]
    assert control(port, "GET", "log?since=1")["log"] == journal[1:]
    assert control(port, "GET", "stats") == {"requests": 2, "writes": 1, "max_in_flight": 1}


def test_it_is_closed_as_the_server_stops(twin: Counting) -> None:
    with served(twin) as port:
        plan(port, "late", seconds=3600.0)
        with pytest.raises(TimeoutError):
            call(port, "POST", "/work", timeout=0.2)
    assert twin.closed
    assert twin.done == 0


async def test_in_process_a_dropped_connection_is_an_exception(twin: Counting) -> None:
    twin.faults = FaultPlan(script=[Scripted("work.do", 1, "refuse")])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": []}
    with pytest.raises(Dropped):
        await twin(scope, receive, send)
    await twin(scope, receive, send)
    assert sent[0]["status"] == 200


def test_the_same_seed_gives_the_same_faults() -> None:
    def decisions(seed: int) -> list[Any]:
        drawn = FaultPlan(seed=seed, rates={"error_before": 0.2, "late": 0.2, "reset": 0.1})
        return [drawn.decide("work.do", writes=True) for _ in range(200)]

    assert decisions(7) == decisions(7)
    assert decisions(7) != decisions(8)
    kinds = [decided[0] for decided in decisions(7) if decided]
    assert 60 <= len(kinds) <= 140
    assert set(kinds) == {"error_before", "late", "reset"}
    assert all(20.0 <= decided[1] <= 600.0 for decided in decisions(7) if decided)
