"""A billing twin behind a socket, the vendor's own SDK pointed at it, every answer held to the specification."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import stripe
import uvicorn

from tests.conformance.twins.stripe_shapes import Shapes
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.stripe import StripeTwin, create

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


@dataclass
class World:
    """The twin, its address, and what it has answered wrongly so far."""

    twin: StripeTwin
    url: str
    shapes: Shapes | None = None
    wrong: list[str] = field(default_factory=list)
    answers: int = 0

    def client(self, key: str = "sk_test_us", **more: Any) -> stripe.StripeClient:
        """The vendor's SDK; its transport notes every answer that the specification does not allow."""
        more.setdefault("max_network_retries", 0)
        # the SDK's default transport leaves its sessions open; one that the test owns is closed at its end
        return stripe.StripeClient(key, base_addresses={"api": self.url}, http_client=Checking(self), **more)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control/{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def act(self, name: str, **given: Any) -> Any:
        return self.control("POST", f"act/{name}", given)

    def advance(self, moment: datetime) -> None:
        self.act("advance", business=moment.isoformat())

    def fail_once(self, kind: str, operation: str = "*", seconds: float | None = None) -> None:
        entry = {"operation": operation, "nth": 1, "kind": kind, "seconds": seconds}
        self.control("PUT", "faults", {"script": [entry]})

    def http(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
        """One bare request, for what the SDK would never send."""
        wanted = {
            "Authorization": "Bearer sk_test_us",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        wanted = {key: value for key, value in wanted.items() if value}
        if body:
            wanted["Content-Type"] = "application/x-www-form-urlencoded"
        request = urllib.request.Request(
            self.url + path, data=body.encode() or None, method=method, headers=wanted
        )
        try:
            answer = urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, dict(answer.headers), json.load(answer)


class Checking(stripe.RequestsClient):
    """The SDK's own transport, with every 200 held to the specification."""

    def __init__(self, world: World) -> None:
        super().__init__(timeout=20)
        self._world = world

    def request(self, method: str, url: str, *args: Any, **more: Any) -> Any:
        try:
            body, status, headers = super().request(method, url, *args, **more)
        finally:
            # a kept connection that is dropped by a fault would be a ResourceWarning
            self.close()
        self._check(method, url, body, status)
        return body, status, headers

    def _check(self, method: str, url: str, body: Any, status: int) -> None:
        shapes = self._world.shapes
        if shapes is None or status != 200:
            return
        path = urlsplit(url).path
        template = shapes.template(method, path)
        try:
            answer = json.loads(body)
        except ValueError:
            return
        self._world.answers += 1
        wrong = ["no such path"] if template is None else shapes.check(method, template, answer)
        self._world.wrong += [f"{method} {path}: {one}" for one in wrong]


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals are the test runner's."""


@contextmanager
def serve(twin: Any) -> Iterator[str]:
    """An application on a free loopback port, in a thread of its own."""
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
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the twin did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


@contextmanager
def world(shapes: Shapes | None = None, *, factor: float = 1.0, start: datetime = START) -> Iterator[World]:
    """A fresh twin with the demo company's catalogue."""
    twin = create(SystemTwinClock(business=start, factor=factor))
    with serve(twin) as url:
        made = World(twin, url, shapes)
        made.act("seed_catalogue")
        yield made


@dataclass
class Mailbox:
    """A webhook receiver: what came, and what it answers."""

    url: str
    came: list[tuple[bytes, str]]
    answers: list[int]

    def wait(self, count: int, seconds: float = 10.0) -> list[tuple[bytes, str]]:
        deadline = time.monotonic() + seconds
        while len(self.came) < count:
            assert time.monotonic() < deadline, f"{len(self.came)} of {count} deliveries came"
            time.sleep(0.01)
        return self.came


@contextmanager
def mailbox(*first_answers: int) -> Iterator[Mailbox]:
    """Answers `first_answers` in turn, then 200."""
    came: list[tuple[bytes, str]] = []
    answers = list(first_answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append((body, self.headers["stripe-signature"]))
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Mailbox(f"http://127.0.0.1:{server.server_address[1]}/hook", came, answers)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def monthly(
    product: str, cents: int, quantity: int = 1, currency: str = "usd", **more: Any
) -> dict[str, Any]:
    """A subscription item with a negotiated monthly price."""
    price = {
        "currency": currency,
        "product": product,
        "unit_amount": cents,
        "recurring": {"interval": "month"},
    }
    return {"price_data": price, "quantity": quantity, **more}


def once(product: str, cents: int, currency: str = "usd", **more: Any) -> dict[str, Any]:
    """A one-time line."""
    return {"price_data": {"currency": currency, "product": product, "unit_amount": cents}, **more}


def customer(
    client: stripe.StripeClient, country: str = "US", state: str | None = "CA", **more: Any
) -> stripe.Customer:
    place = {"country": country, **({"state": state} if state else {})}
    return client.v1.customers.create({"name": "Acme", "email": "pay@acme.example", "address": place, **more})


def invoiced(client: stripe.StripeClient, cents: int = 100_00, **more: Any) -> stripe.Invoice:
    """A customer with an open invoice of one monthly line (plus tax, in California)."""
    given = {
        "customer": customer(client).id,
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "items": [monthly("prod_PLATFORM", cents)],
        "expand": ["latest_invoice"],
        **more,
    }
    return client.v1.subscriptions.create(given).latest_invoice
