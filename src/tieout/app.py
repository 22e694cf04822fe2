"""The one composition root: configuration in, a hub out. Nothing else opens a store, a socket or a connector."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.connectors import registry
from tieout.connectors.contract import Certification, ConnectorDescriptor, World, Writer
from tieout.engine import buffering, inbox, pinning, restoring
from tieout.engine.budget import Budget, BudgetedTransport
from tieout.engine.buffering import Inlet
from tieout.engine.clock import DatabaseClock, set_by_database
from tieout.engine.commands import execute
from tieout.engine.groups import Groups, WrongGroup, open_groups
from tieout.engine.housekeeping import Housekeeping
from tieout.engine.hub import Connection, Hub, Policy
from tieout.engine.lease import Lease
from tieout.engine.metrics import Metrics
from tieout.engine.outbox import Outbox
from tieout.engine.permits import Permits
from tieout.engine.receivers import NatsConfig, open_outbox
from tieout.engine.worker import Worker
from tieout.finance.books import Books
from tieout.masterdata.rules import RuleErrors
from tieout.masterdata.tables import MasterData, load, read_rule_files
from tieout.ports import Buffer, BufferUnavailable, Chance, Clock, Ids, Publisher, Store, Transport
from tieout.processes import PROCESSES
from tieout.processes.books import read_books
from tieout.security.keyring import COMPANY, KeyRing, master_key_file
from tieout.settings import Buffer as BufferSettings
from tieout.settings import ConfigurationError, Settings, SettingsFile
from tieout.store import effects, lanes, people
from tieout.store.database import open_store
from tieout.store.revision import bring_up_to_date
from tieout.system import AiohttpTransport, SystemChance, SystemClock, SystemIds
from tieout.system.broker import NatsPublisher
from tieout.system.jetstream import JetStreamBuffer


class Ports(msgspec.Struct, kw_only=True):
    """The outside world, as given to the composition: real by default, simulated in the proving ground."""

    clock: Clock
    ids: Ids
    chance: Chance
    transport: Transport
    store: Store | None = None
    # None: no broker can be reached from here.
    publisher: Callable[[NatsConfig], Publisher] | None = None
    buffer: Buffer | None = None


def system_ports(clock: Clock | None = None) -> Ports:
    """The machine's own clock, ids, randomness and sockets."""
    return Ports(
        clock=clock or SystemClock(),
        ids=SystemIds(),
        chance=SystemChance(),
        transport=AiohttpTransport(),
        publisher=_publisher,
    )


def _publisher(config: NatsConfig) -> Publisher:
    return NatsPublisher(
        config.url,
        config.stream,
        user=config.user,
        password=config.password.reveal() if config.password is not None else "",
        token=config.token.reveal() if config.token is not None else "",
    )


class App:
    """A composed hub with its worker and its housekeeping."""

    def __init__(
        self, hub: Hub, settings: Settings, *, alone: bool = False, buffer: Buffer | None = None
    ) -> None:
        self.hub = hub
        self.settings = settings
        self.alone = alone
        self.lease = Lease(hub=hub, worker=hub.ids.new())
        self.worker = Worker(hub, self.lease)
        self.permits = Permits(hub, self.lease)
        self.housekeeping = Housekeeping(hub, self.lease, self.worker, self.permits)
        self.inlet = Inlet(hub, buffer) if buffer is not None else None
        self._tasks: list[asyncio.Task[None]] = []
        self._pins: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join as a worker and begin to work."""
        await self.lease.join(platform.node(), os.getpid())
        if isinstance(self.hub.world.transport, BudgetedTransport):
            self.hub.world.transport.may_send = self.lease.outlives
        await self.permits.join(alone=self.alone)
        # Who answers is known before anything is sent: a connection that is somebody else's is parked.
        await pinning.begin(self.hub)
        self._tasks = [asyncio.create_task(self.worker.run()), asyncio.create_task(self.housekeeping.run())]
        if self.inlet is not None:
            self._tasks.append(asyncio.create_task(self.inlet.run(self.lease, self.worker.wake)))
        self._pins = asyncio.create_task(pinning.watch(self.hub))

    async def accept(self, events: tuple[ChangeEvent, ...]) -> None:
        """Take verified events in, by the buffer where there is one. Raises StoreUnavailable: the sender keeps them."""
        if self.inlet is not None:
            await self.inlet.accept(events)
        else:
            await inbox.accept(self.hub, events)

    async def check_buffer(self) -> None:
        """Raises ConfigurationError when the buffer could lose what it acknowledged, or does not answer."""
        given = self.settings.buffer
        if self.inlet is None or not isinstance(given, BufferSettings):
            return
        try:
            found = await buffering.faults(
                self.inlet.buffer,
                self.hub.world.transport,
                monitor=given.monitor,
                most_body_bytes=self.settings.web.max_body_bytes,
                unsafe=given.unsafe_single_copy,
            )
        except BufferUnavailable as error:
            raise ConfigurationError(
                f"buffer {given.url}: {error}; is the server up, with JetStream?"
            ) from error
        if found:
            raise ConfigurationError("\n".join(f"buffer {given.url}: {one}" for one in found))

    async def wait(self) -> None:
        """Until the work ends by itself (the lease is lost)."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """End the work in order: runs in hand are cancelled, their lanes handed back."""
        self.housekeeping.stop()
        self.worker.stop()
        if self.inlet is not None:
            self.inlet.stop()
        if self._pins is not None:
            self._pins.cancel()
            await asyncio.gather(self._pins, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks and not self.lease.lost:
            await self.lease.leave()
        await self.close()

    async def close(self) -> None:
        if self.hub.outbox is not None:
            for receiver in self.hub.outbox.receivers.values():
                await receiver.close()
        if self.inlet is not None:
            await self.inlet.buffer.close()
        await self.hub.world.transport.close()
        await self.hub.store.close()

    # -- what stands, for whoever composed the hub ------------------------------------------------------------------
    async def lanes(self) -> dict[str, int]:
        """Lanes by state."""
        return {str(state): int(count) for state, count in await self.hub.store.fetch(lanes.STATES, {})}

    async def exceptions(self) -> list[dict[str, Any]]:
        """Open and deferred exceptions, as rows by column."""
        names = people.COLUMNS.split(", ")
        return [dict(zip(names, row, strict=True)) for row in await self.hub.store.fetch(people.LIST, {})]

    async def doubts(self) -> dict[str, int]:
        """Writes that came out of doubt, by the way out."""
        rows = await self.hub.store.fetch(effects.RESOLVED_COUNTS, {})
        return {str(way): int(count) for way, count in rows}

    async def books(self, cut_off: date | None = None) -> Books:
        """The books as they stand now. Raises Failure when a system does not answer."""
        return await read_books(self.hub, cut_off=cut_off)

    async def execute(
        self, name: str, arguments: Mapping[str, Any], actor: str
    ) -> tuple[str, dict[str, Any]]:
        """One command of a person, executed here; answers (`done` or `failed`, result)."""
        answer = await execute(self.hub, name, arguments, actor)
        self.worker.wake()
        return answer

    def reload_rules(self, file: SettingsFile) -> None:
        """Read the decision tables anew. Raises ConfigurationError, and then the old ones stay in force."""
        self.hub.masterdata = _masterdata(file)


def read_settings(path: Path) -> SettingsFile:
    """Read the configuration file. Raises ConfigurationError."""
    return SettingsFile(path)


def database_url(file: SettingsFile, override: str | None = None) -> str:
    """The database, with a relative SQLite path taken from the configuration's folder."""
    url = override or file.settings.database.url
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////") and ":memory:" not in url:
        return f"sqlite:///{file.directory.resolve() / url.removeprefix('sqlite:///')}"
    return url


async def compose(
    file: SettingsFile,
    ports: Ports,
    *,
    database: str | None = None,
    migrate: bool = True,
    echo_suppression: bool | None = None,
    alone: bool = False,
    serves: tuple[str, ...] = ("",),
) -> App:
    """Build the hub. `alone`: the caller has made sure that no other process works on this database; `serves`: the
    worker groups whose lanes it runs, an empty name for the lanes of none. Raises ConfigurationError."""
    settings = file.settings
    url = database_url(file, database)
    master = _master_key(file, ports)
    masterdata = _masterdata(file)
    # Where several machines may work on one database, its clock is everybody's.
    clock = ports.clock if url.startswith("sqlite") else DatabaseClock(ports.clock)
    budgets: dict[str, Budget] = {}
    transport = BudgetedTransport(ports.transport, budgets)
    world = World(clock=clock, chance=ports.chance, transport=transport)
    connections = {
        name: _connection(file, name, section, world) for name, section in settings.connections.items()
    }
    budgets |= {name: Budget(connection.limits, clock) for name, connection in connections.items()}
    _check_routes(file, connections)
    outbox = open_outbox(settings.outbox, settings.company, world, ports.publisher)
    _check_lease(file, connections, outbox)
    groups = _groups(file, serves)
    # What can be wrong with the configuration is said before the database is touched.
    if ports.store is None and migrate:
        bring_up_to_date(url)
    store = ports.store or open_store(url, writer=ports.ids.new())
    policy = Policy(
        lease_seconds_real=settings.engine.lease_seconds,
        runs_at_once=settings.engine.runs_at_once,
        wait_deadline=timedelta(days=settings.engine.wait_days),
        status_poll_seconds=settings.engine.status_poll_seconds,
        most_crashes=settings.engine.most_crashes,
        echo_suppression=settings.engine.echo_suppression if echo_suppression is None else echo_suppression,
    )
    hub = Hub(
        company=settings.company,
        store=store,
        clock=clock,
        ids=ports.ids,
        chance=ports.chance,
        world=world,
        keyring=KeyRing(master, ports.chance),
        connections=connections,
        budgets=budgets,
        processes=PROCESSES,
        masterdata=masterdata,
        policy=policy,
        metrics=Metrics(),
        single_operator=settings.local_mode,
        # One process does everything on a database file.
        groups=groups if store.dialect != "sqlite" else Groups(),
        outbox=outbox,
    )
    await set_by_database(hub)
    await hub.open_key(COMPANY)
    # Nothing is sent before it is known whether this database remembers all that was sent.
    await restoring.load(hub)
    return App(hub, settings, alone=alone, buffer=ports.buffer or _buffer(settings))


def _buffer(settings: Settings) -> Buffer | None:
    """The broker of the configuration; opens no socket."""
    given = settings.buffer
    if not isinstance(given, BufferSettings):
        return None
    password = given.password.reveal() if given.password is not None else ""
    return JetStreamBuffer(given.url, given.stream, given.copies, user=given.user, password=password)


def configuration_errors(file: SettingsFile, ports: Ports) -> list[str]:
    """Everything that would keep the hub from being composed, all at once; empty when nothing would."""
    errors: list[str] = []
    world = World(clock=ports.clock, chance=ports.chance, transport=ports.transport)
    connections: dict[str, Connection] = {}
    for name, section in file.settings.connections.items():
        try:
            connections[name] = _connection(file, name, section, world)
        except ConfigurationError as error:
            errors.append(str(error))
    steps: list[Callable[[], object]] = [lambda: _masterdata(file)]
    if not errors:
        steps.append(lambda: _check_routes(file, connections))
        outbox = open_outbox(file.settings.outbox, file.settings.company, world, ports.publisher)
        steps.append(lambda: _check_lease(file, connections, outbox))
        steps.append(lambda: _groups(file))
    for step in steps:
        try:
            step()
        except ConfigurationError as error:
            errors += str(error).splitlines()
    return errors


def descriptors() -> list[ConnectorDescriptor]:
    """Every connector there is: what `init` writes examples of and whose behaviours `check` counts."""
    return [registry.descriptor(vendor) for vendor in registry.vendors()]


class Subject(msgspec.Struct, kw_only=True):
    """One connection by itself, for `certify`: without a store, and nothing of the hub around it. `certification` is
    None where the connector brings no probes."""

    descriptor: ConnectorDescriptor
    config: Any
    api: Any
    certification: Certification | None


def open_subject(file: SettingsFile, name: str, ports: Ports) -> Subject:
    """One connection of the configuration; opens no socket. Raises ConfigurationError."""
    if name not in file.settings.connections:
        known = ", ".join(file.settings.connections) or "none"
        raise ConfigurationError(f"{file.path}: there is no connection {name!r}; there are: {known}")
    descriptor, config = _described(file, name, file.settings.connections[name])
    world = World(clock=ports.clock, chance=ports.chance, transport=ports.transport)
    probes = descriptor.certification(name, config, world) if descriptor.certification is not None else None
    return Subject(
        descriptor=descriptor,
        config=config,
        api=descriptor.open(name, config, world),
        certification=probes,
    )


def _master_key(file: SettingsFile, ports: Ports) -> bytes:
    try:
        return master_key_file(file.directory / file.settings.keys.master, ports.chance)
    except (ValueError, OSError) as error:
        line = file.line_of("keys.master")
        raise ConfigurationError(
            f"{file.path}:{line}: the master key cannot be read: {error};"
            " restore the key file this database was made with"
        ) from error


def _described(file: SettingsFile, name: str, section: dict[str, Any]) -> tuple[ConnectorDescriptor, Any]:
    """The connector of a connection, and its configuration. Raises ConfigurationError."""
    vendor = section.get("vendor")
    if vendor not in registry.vendors():
        line = file.line_of(f"connections.{name}.vendor")
        raise ConfigurationError(
            f"{file.path}:{line}: connection {name}: vendor = one of {', '.join(registry.vendors())}"
        )
    descriptor = registry.descriptor(str(vendor))
    role = section.get("role", descriptor.roles[0])
    if role not in descriptor.roles:
        line = file.line_of(f"connections.{name}.role")
        raise ConfigurationError(
            f"{file.path}:{line}: connection {name}: role = one of {', '.join(descriptor.roles)}"
        )
    given = {key: value for key, value in section.items() if key not in ("vendor", "role")}
    return descriptor, file.convert(given, descriptor.config, f".connections.{name}")


def _connection(file: SettingsFile, name: str, section: dict[str, Any], world: World) -> Connection:
    descriptor, config = _described(file, name, section)
    api = descriptor.open(name, config, world)
    return Connection(
        name=name,
        vendor=descriptor.vendor,
        roles=descriptor.roles,
        api=api,
        limits=descriptor.limits(config),
    )


def _masterdata(file: SettingsFile) -> MasterData:
    try:
        files = read_rule_files(file.directory / file.settings.rules)
        return load(files, [given.value() for given in file.settings.entities])
    except (RuleErrors, OSError) as error:
        raise ConfigurationError(str(error)) from error


def _check_lease(file: SettingsFile, connections: dict[str, Connection], outbox: Outbox | None) -> None:
    """The lease, renewed each third of it, outlasts the longest request: nothing may be sent that it does not."""
    receivers = outbox.receivers.values() if outbox is not None else ()
    requests = [(one.timeout_seconds, f"outbox, {one.name}") for one in receivers]
    requests += [
        (traits.timeout_seconds, f"{connection.name}, {operation}")
        for connection in connections.values()
        if isinstance(connection.api, Writer)
        for operation, traits in connection.api.operations.items()
    ]
    longest, whose = max(requests, default=(0, ""))
    least = longest * 3 // 2 + 1
    if file.settings.engine.lease_seconds < least:
        line = file.line_of("engine.lease_seconds")
        raise ConfigurationError(
            f"{file.path}:{line}: engine.lease_seconds = {file.settings.engine.lease_seconds} is too short for "
            f"requests of {longest} s ({whose}): nothing could be sent; write {least} or more"
        )


def _groups(file: SettingsFile, serves: tuple[str, ...] = ("",)) -> Groups:
    """Who runs what. Raises ConfigurationError."""
    settings = file.settings
    billing = {entity.code: entity.billing for entity in settings.entities}
    try:
        return open_groups(settings.groups, billing, settings.connections, serves)
    except WrongGroup as wrong:
        line = file.line_of(f"groups.{wrong.where}")
        raise ConfigurationError(f"{file.path}:{line}: {wrong}") from wrong


def _check_routes(file: SettingsFile, connections: dict[str, Connection]) -> None:
    """Every legal entity's routes lead to a connection of the right role."""
    for index, entity in enumerate(file.settings.entities):
        for role, name in (("billing", entity.billing), ("erp", entity.erp)):
            if name not in connections or role not in connections[name].roles:
                line = file.line_of(f"entities.{index}.{role}")
                known = (
                    ", ".join(other for other, connection in connections.items() if role in connection.roles)
                    or "none"
                )
                raise ConfigurationError(
                    f"{file.path}:{line}: entity {entity.code}: {role} = {name!r} is no {role} connection;"
                    f" there are: {known}"
                )
