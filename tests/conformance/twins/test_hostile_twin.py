"""The imaginary ERP of bad habits keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.support import Served, serve
from tests.conformance.twins.netsuite_client import Answer, call
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.hostile import HostileTwin, create


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(HostileTwin(SystemTwinClock(), gentle=True)) as twin:
        yield twin


def send(served: Served, method: str, path: str, body: Any = None) -> Answer:
    headers = {"authorization": f"Bearer {served.describe()['token']}"}
    return call(served.port, method, path, json.dumps(body).encode() if body is not None else None, headers)


def test_no_key_two_phases(served: Served) -> None:
    served.faults(enforce_keys=False)
    first = send(served, "POST", "/documents", {"key": "K", "total_minor": 5})
    second = send(served, "POST", "/documents", {"key": "K", "total_minor": 5})
    assert (first.status, first.body["status"]) == (201, "created")
    found = send(served, "GET", "/documents?key=K").body["documents"]
    assert [paper["id"] for paper in found] == [first.body["id"], second.body["id"]]
    posted = send(served, "POST", f"/documents/{first.body['id']}/post")
    assert (posted.body["status"], posted.body["number"]) == ("posted", "H-1")
    assert send(served, "POST", f"/documents/{first.body['id']}/post").body["number"] == "H-1"
    assert send(served, "DELETE", f"/documents/{first.body['id']}").status == 409
    assert send(served, "DELETE", f"/documents/{second.body['id']}").status == 204
    assert send(served, "POST", f"/documents/{second.body['id']}/post").status == 409
    assert send(served, "GET", f"/documents/{second.body['id']}").body["status"] == "withdrawn"
    assert [p["posts"] for p in served.act("snapshot")["documents"]] == [2, 0]


def test_bad_requests(served: Served) -> None:
    assert call(served.port, "GET", "/documents?key=K").status == 401
    assert send(served, "POST", "/documents", {"total_minor": 5}).status == 400
    assert send(served, "GET", "/documents").status == 400
    assert send(served, "GET", "/documents/d9").status == 404
    assert send(served, "POST", "/documents/d9/post").status == 404


def test_hidden_at_first(served: Served) -> None:
    served.faults(visibility_delay_seconds=3600, enforce_keys=False)
    made = send(served, "POST", "/documents", {"key": "K"})
    assert send(served, "GET", "/documents?key=K").body["documents"] == []
    assert send(served, "GET", f"/documents/{made.body['id']}").status == 200


def test_its_habits_by_default() -> None:
    twin = create(SystemTwinClock())
    assert twin.faults.rates["late"] > 0
    assert twin.faults.visibility_delay_seconds > 0
    assert not twin.faults.enforce_keys
    assert twin.slow_seconds > 0
