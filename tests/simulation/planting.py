"""How bugs are planted: each is one function that swaps something of the hub for its wrong twin, for a while.

A bug says where it is hunted: under which faults, on how many processes (0: drawn), and in which world (`stage`), which
its seeds must also get through without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Swap = Callable[[Any, str, Any], None]
# What to change in each hub as it is composed, if anything.
Change = Callable[[Any], None] | None
Plant = Callable[[Swap], Change]


@dataclass(frozen=True)
class Bug:
    """One planted bug. `breaks`: what it does wrong, in a line."""

    name: str
    breaks: str
    plant: Plant
    faults: str
    workers: int
    stage: Plant | None


BUGS: dict[str, Bug] = {}


def bug(*, faults: str = "all", workers: int = 1, stage: Plant | None = None) -> Callable[[Plant], Plant]:
    """Registers a function that plants a bug; its docstring says what breaks."""

    def register(function: Plant) -> Plant:
        breaks = " ".join((function.__doc__ or "").split())
        BUGS[function.__name__] = Bug(function.__name__, breaks, function, faults, workers, stage)
        return function

    return register


@contextmanager
def plant(name: str) -> Iterator[Change]:
    """The hub has this bug until the context ends, in the bug's world; answers what to change in each hub."""
    with _swapped(BUGS[name].stage, BUGS[name].plant) as change:
        yield change


@contextmanager
def stage(name: str) -> Iterator[Change]:
    """The world in which a bug is hunted, without the bug."""
    with _swapped(BUGS[name].stage) as change:
        yield change


@contextmanager
def _swapped(*functions: Plant | None) -> Iterator[Change]:
    undo: list[tuple[Any, str, Any]] = []

    def swap(owner: Any, attribute: str, value: Any) -> None:
        honest = vars(owner)[attribute] if isinstance(owner, type) else getattr(owner, attribute)
        undo.append((owner, attribute, honest))
        setattr(owner, attribute, value)

    try:
        changes = [change for function in functions if function and (change := function(swap))]

        def change_all(app: Any) -> None:
            for change in changes:
                change(app)

        yield change_all
    finally:
        for owner, attribute, honest in reversed(undo):
            setattr(owner, attribute, honest)
