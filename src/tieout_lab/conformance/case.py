"""What the suite is told of one connector, and the ground each test stands on."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from tieout.app import descriptors
from tieout.canonical.outcome import SendOutcome
from tieout.canonical.write import Write
from tieout.connectors.contract import Assignment, ConnectorDescriptor, Keys, World
from tieout.ports import Response
from tieout.system import AiohttpTransport
from tieout_lab.conformance.world import RecordingTransport, Served, open_world, serve
from tieout_lab.twins.clock import SystemTwinClock, TwinClock

KEYS = Keys(effect="acme|customer.create|a1", document="0123456789ABCDEF", wire="acme|customer.create|a1#1")
# A name that breaks whatever builds a query, a form, a table or a terminal's line by gluing.
HOSTILE = 'O\'Brien "GmbH", 株式会社 🎉 =1+1'
TIMEOUT_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One connector as the suite meets it.

    `name`: of the connection, and of the connector and twin where `descriptor` and `create_twin` do not give them.
    `settings(described)`: the configuration that leads to the twin, with `timeout_seconds = TIMEOUT_SECONDS`; `wrong`:
    changes of it with which sign-in fails; `address`: the setting that holds the address.
    `write_operation`, `read_operation`: the twin's names of the calls of `write` and `read`, for its fault plan.
    `write(connection, keys)` is the plainest write, `made(connection)` how many documents of it stand,
    `read(connection)` a listing. `many(served, connection)` makes more than a page holds and answers (what was made,
    what was listed).
    `unknown(served, world)`: the canonical status of a document whose status this release has never heard of.
    `look_up`: operation and write of `Writer.find`.

    The rest is asked only of connectors that can it: `expire(served)` ends every session; `others`: name -> changes of
    the settings that pin another account or mode; `impostor(answer)`: an answer as another account or mode would give
    it; `endless(page)`: says in a page of `read` that another one follows; `sign(body, secret, at)`, `events` (two
    bodies, the older first, of the account in `settings`) and `foreign_event` for webhooks, whose settings are
    `webhook_secrets` CURRENT and NEXT of `webhooks.py` (`signs_body` False: the vendor signs nothing, an address that
    ends in the secret stands for it); `assignment(number)`: one `Assignment` of a batch, `refused_assignment`: one
    that the vendor refuses; `bulk`: operation -> makes (write, keys) by number, `refused_bulk` the same of one that is
    refused. `lacks`: name of a field above -> why this connector has none of it. `timeout_seconds`: what `settings`
    says, where
    it is more. `real`: the fixture that gives the ASGI application, where what answers is no twin but the real
    thing."""

    name: str
    settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    wrong: dict[str, Any]
    address: str
    write_operation: str
    read_operation: str
    write: Callable[[Any, Keys], Awaitable[SendOutcome]]
    made: Callable[[Any], Awaitable[int]]
    read: Callable[[Any], Awaitable[Any]]
    many: Callable[[Served, Any], Awaitable[tuple[set[str], set[str]]]]
    unknown: Callable[[Served, World], Awaitable[str]]
    find_by_key: bool = True
    look_up: tuple[str, Write] | None = None
    descriptor: ConnectorDescriptor | None = None
    create_twin: Callable[[TwinClock], Any] | None = None
    expire: Callable[[Served], Any] | None = None
    others: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    impostor: Callable[[Response], Response] | None = None
    endless: Callable[[Any], Any] | None = None
    sign: Callable[[bytes, str, datetime], Mapping[str, str]] | None = None
    signs_body: bool = True
    events: Sequence[bytes] = ()
    foreign_event: bytes = b""
    assignment: Callable[[int], Assignment] | None = None
    refused_assignment: Callable[[int], Assignment] | None = None
    assigned: Callable[[Any, Assignment], Awaitable[bool]] | None = None
    bulk: Mapping[str, Callable[[Any, int], Awaitable[tuple[Write, Keys]]]] = field(default_factory=dict)
    refused_bulk: Mapping[str, Callable[[Any, int], Awaitable[tuple[Write, Keys]]]] = field(
        default_factory=dict
    )
    lacks: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = TIMEOUT_SECONDS
    real: str = ""

    def connector(self) -> ConnectorDescriptor:
        if self.descriptor is not None:
            return self.descriptor
        return next(one for one in descriptors() if one.vendor == self.name)

    def twin(self, clock: TwinClock | None = None) -> Any:
        create = self.create_twin or importlib.import_module(f"tieout_lab.twins.{self.name}").create
        return create(clock or SystemTwinClock())

    def open(self, served: Served, world: World, **changes: Any) -> Any:
        connector = self.connector()
        return connector.open(
            self.name, connector.config(**self.settings(served.describe()) | changes), world
        )

    def given(self, name: str) -> Any:
        """A field that the case may leave out. Skips the test when `lacks` says why, fails when nothing does."""
        value = getattr(self, name)
        if value:
            return value
        if name in self.lacks:
            pytest.skip(f"{self.name}: {self.lacks[name]}")
        pytest.fail(
            f"the case of {self.name} says nothing of `{name}`: give it, or say in `lacks` why there is none"
        )


class Ground:
    """The fixtures of the suite: the twin served, the ports, and a connection that is signed in."""

    @pytest.fixture
    def case(self) -> Case:
        """The connector under test; a subclass gives it."""
        pytest.fail(f"{type(self).__name__} gives no fixture `case`")

    @pytest.fixture
    def served(self, case: Case, request: pytest.FixtureRequest) -> Iterator[Served]:
        with serve(request.getfixturevalue(case.real) if case.real else case.twin()) as running:
            yield running

    @pytest_asyncio.fixture
    async def transport(self) -> AsyncIterator[RecordingTransport]:
        recording = RecordingTransport(AiohttpTransport())
        yield recording
        await recording.close()

    @pytest_asyncio.fixture
    async def world(self, transport: RecordingTransport) -> AsyncIterator[World]:
        async with open_world(transport) as opened:
            yield opened

    @pytest_asyncio.fixture
    async def connection(self, case: Case, served: Served, world: World) -> Any:
        """Signed in, so that a planned fault meets the call that is meant."""
        opened = case.open(served, world)
        await opened.identity()
        return opened
