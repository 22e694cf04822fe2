"""What goes wrong in a simulated world: which faults, how often, in which bursts. Chosen by name, drawn from the seed.

Every part has a name, so that a failing seed can be played again with that part left out: `crm.reset`, `kill.0`,
`pause.1`, `store.down`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tieout_lab.simulation.ports import Fate

Draw = Callable[..., float]

# Shapes of a fault's rate over time: (seconds of a burst, seconds between bursts, factor while it lasts).
STEADY, GUSTS, STORM = (0.0, 1.0, 1.0), (20.0, 300.0, 5.0), (300.0, 3000.0, 6.0)
_SHAPES = (STEADY, GUSTS, STORM)

_LOST = ("timeout_after_work", "late", "error_after", "reset", "malformed", "html")
_UNDONE = ("error_before", "refuse", "hang")
_LIMITS = ("rate_limited",)
# Where an aimed kill strikes, and among so many of a life's first documents.
_SIDES, _WRITES = ("before", "during", "after", "after"), 8


@dataclass(frozen=True)
class Profile:
    """A named choice from the catalogue of faults. `un_keyed`: in so many worlds the ERP enforces no key; `aimed`: the
    kills strike at the calls that make documents, which others meet once in a hundred worlds."""

    calls: tuple[str, ...] = ()
    webhooks: bool = False
    hidden: bool = False
    un_keyed: float = 0.0
    kills: int = 0
    aimed: bool = False
    pauses: int = 0
    clocks: bool = False
    restores: bool = False
    store: bool = False


PROFILES = {
    "none": Profile(),
    "calls": Profile(calls=_LOST + _UNDONE, hidden=True, un_keyed=0.3),
    "limits": Profile(calls=_LIMITS),
    "events": Profile(webhooks=True),
    "processes": Profile(kills=6, pauses=4, clocks=True, restores=True),
    "store": Profile(store=True),
    "writes": Profile(calls=("timeout_after_work", "late"), un_keyed=0.7, kills=6, aimed=True),
    "all": Profile(
        calls=_LOST + _UNDONE + _LIMITS,
        webhooks=True,
        hidden=True,
        un_keyed=0.3,
        kills=6,
        pauses=4,
        clocks=True,
        restores=True,
        store=True,
    ),
}


class UnknownProfile(ValueError):
    """A profile that nobody has written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no fault profile {name!r}; there are: {', '.join(PROFILES)}")


def profile(name: str) -> Profile:
    """A profile by name. Raises UnknownProfile."""
    if name not in PROFILES:
        raise UnknownProfile(name)
    return PROFILES[name]


@dataclass(frozen=True)
class Weather:
    """How often one kind of fault happens at a moment: a rate, and a burst shape."""

    name: str
    rate: float
    shape: tuple[float, float, float]
    offset: float

    def rate_at(self, seconds: float) -> float:
        lasts, every, factor = self.shape
        within = (seconds + self.offset * every) % every < lasts
        return min(0.5, self.rate * factor) if within else self.rate


def weather(draw: Draw, chosen: Profile, twin: str, without: frozenset[str]) -> dict[str, Weather]:
    """The weather of one twin, by kind of fault."""
    found = {}
    for kind in chosen.calls:
        name = f"{twin}.{kind}"
        if draw(name, "has") < 0.4 and name not in without:
            shape = _SHAPES[int(draw(name, "shape") * len(_SHAPES))]
            found[kind] = Weather(name, 0.02 + 0.06 * draw(name, "rate"), shape, draw(name, "offset"))
    return found


def webhooks(draw: Draw, chosen: Profile, without: frozenset[str]) -> dict[str, float]:
    """What happens to deliveries: rates, and the longest delay in seconds (late is out of order as well)."""
    if not chosen.webhooks:
        return {}
    rates = {
        "duplicate": 0.3 * draw("webhook", "duplicate"),
        "drop": 0.2 * draw("webhook", "drop"),
        "forge": 0.1,
        "delay": 0.5 * draw("webhook", "delay"),
    }
    return {kind: rate for kind, rate in rates.items() if f"webhook.{kind}" not in without} | {
        "delay_seconds": 90.0
    }


def fates(draw: Draw, chosen: Profile, workers: int, operations: int, without: frozenset[str]) -> list[Fate]:
    """Where the coming lives of the hub's processes end or stand still; about `operations` port operations are ahead.
    A killed process often dies again while it recovers. Alone, a process that stands still is only slow."""
    found = []
    for number in range(int(draw("kills") * (chosen.kills + 1))):
        if f"kill.{number}" in without:
            continue
        if chosen.aimed:
            kill_at = 1 + int(draw("kill", number) * _WRITES)
            write_side = _SIDES[int(draw("kill side", number) * len(_SIDES))]
            found.append(Fate(kill_at_write=kill_at, write_side=write_side))
        else:
            again = number and draw("kill again", number) < 0.5
            within = 60 if again else operations
            at = 5 + int(draw("kill", number) ** 2 * within)
            found.append(Fate(kill_at=at, after=draw("kill side", number) < 0.5))
    for number in range(int(draw("pauses") * (chosen.pauses + 1)) if workers > 1 else 0):
        if f"pause.{number}" not in without:
            at = 5 + int(draw("pause", number) * operations)
            side, seconds = draw("pause side", number) < 0.5, 20.0 + 200.0 * draw("pause seconds", number)
            found.append(Fate(pause_at=at, pause_after=side, pause_seconds=seconds))
    return (
        found if chosen.aimed else sorted(found, key=lambda fate: draw("fate", fate.kill_at, fate.pause_at))
    )


@dataclass(frozen=True)
class ClockTrouble:
    """How far a machine's clock is ahead of the others' (negative: behind), and by how much it is set back once, at
    which moment of the loop. Seconds."""

    ahead: float = 0.0
    back: float = 0.0
    back_at: float = 0.0


def clock_trouble(draw: Draw, chosen: Profile, node: int, without: frozenset[str]) -> ClockTrouble:
    """The clock of one machine. What two of them differ by stays below what connectors' horizons leave over (ten
    seconds of the ERP's 900): more is a machine without time synchronisation, which `docs/operations.md` rules out."""
    if not chosen.clocks:
        return ClockTrouble()
    apart = draw("clock", node) < 0.4 and f"clock.{node}" not in without
    back = draw("clock back", node) < 0.15 and f"clock.back.{node}" not in without
    return ClockTrouble(
        ahead=4 * draw("clock ahead", node) - 2 if apart else 0.0,
        back=1 + 2 * draw("clock back by", node) if back else 0.0,
        back_at=120 + 3000 * draw("clock back at", node),
    )


def restore(draw: Draw, chosen: Profile, steps: int, without: frozenset[str]) -> tuple[int, int] | None:
    """Before which step the database is backed up, and before which the machine is lost and that backup put back, if
    this is one of the worlds where it happens."""
    if not chosen.restores or draw("restore") >= 0.25 or "restore" in without:
        return None
    lost = 2 + int(draw("restore lost") * 4)
    taken = 1 + int(draw("restore taken") * (steps - lost - 2))
    return taken, taken + lost


@dataclass(frozen=True)
class StoreTrouble:
    """A database that cannot commit at times, or whose answer is lost: `fault` is "down", "lost_reply" or None."""

    draw: Draw
    down: float
    lost: float
    outages: bool

    def fault(self, seconds: float, ordinal: int) -> str | None:
        # Restarted now and then: nothing commits for up to five seconds.
        window = int(seconds // 400)
        if self.outages and seconds % 400 < 5 * self.draw("store outage", window):
            return "down"
        roll = self.draw("store", ordinal)
        if roll < self.down:
            return "down"
        return "lost_reply" if roll < self.down + self.lost else None


def store_trouble(draw: Draw, chosen: Profile, without: frozenset[str]) -> StoreTrouble | None:
    """The database's trouble, if it has any in this world."""
    if not chosen.store or draw("store", "has") >= 0.4:
        return None
    down = 0.0 if "store.down" in without else 0.004
    lost = 0.0 if "store.lost_reply" in without else 0.004
    return StoreTrouble(draw, down, lost, outages="store.outage" not in without)
