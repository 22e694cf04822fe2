"""What a process is: an async function that makes good every due obligation of one kind of object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from tieout.canonical.ids import Ref

if TYPE_CHECKING:
    from tieout.engine.run import Run

ProcessFunction: TypeAlias = "Callable[[Run, Ref], Awaitable[None]]"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A registered process: its name, the kind of object it runs for, its function."""

    name: str
    kind: str
    function: ProcessFunction


def process(kind: str) -> Callable[[ProcessFunction], Process]:
    """Declare the process of one kind of object. One kind has one process; hints of every type start it."""

    def declare(function: ProcessFunction) -> Process:
        return Process(name=function.__name__, kind=kind, function=function)

    return declare
