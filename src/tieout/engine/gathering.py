"""Bulk by coalescing: what waits for a permit of one connection and operation leaves together, in one call.

Only where the budget is the bottleneck: with a free permit each call goes alone and at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from tieout.engine.budget import Budget, Permit
from tieout.engine.hub import Hub

T = TypeVar("T")
R = TypeVar("R")


class Gathering(Generic[T, R]):
    """Items that wait for one permit. `leave` carries at most `most` of them out in one call and answers by key: with
    what came of an item, or with the exception that it ends by."""

    def __init__(
        self,
        budget: Budget,
        most: int,
        leave: Callable[[Mapping[str, T]], Awaitable[Mapping[str, R | Exception]]],
        *,
        urgent: bool = False,
    ) -> None:
        self._budget = budget
        self._most = most
        self._leave = leave
        self._urgent = urgent
        self._waiting: dict[str, tuple[T, asyncio.Future[R | None]]] = {}
        self._departure: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def add(self, key: str, item: T) -> R | None:
        """Wait to be carried out with others; answers what came of this item, None when nothing was said of it."""
        while (before := self._waiting.get(key)) is not None:
            # One of a key at a time, and in their order: the older one leaves first.
            await asyncio.wait({before[1]})
        future: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting[key] = item, future
        self._look_ahead()
        try:
            return await future
        finally:
            # Cancelled before it left: nobody waits for it any more.
            if (waiting := self._waiting.get(key)) is not None and waiting[1] is future:
                del self._waiting[key]

    def _look_ahead(self) -> None:
        if self._waiting and self._departure is None:
            self._departure = asyncio.create_task(self._depart())
            self._under_way.add(self._departure)
            self._departure.add_done_callback(self._under_way.discard)

    async def _depart(self) -> None:
        """Take a permit; whoever waits by then is on board, and the next call can gather."""
        aboard: dict[str, tuple[T, asyncio.Future[R | None]]] = {}
        try:
            async with Permit(self._budget, urgent=self._urgent):
                aboard = {key: self._waiting.pop(key) for key in list(self._waiting)[: self._most]}
                self._departure = None
                self._look_ahead()
                if aboard:
                    answers = await self._leave({key: item for key, (item, _) in aboard.items()})
                    for key, (_, future) in aboard.items():
                        _answer(future, answers.get(key))
        except BaseException as error:
            if self._departure is asyncio.current_task():
                self._departure = None
            if not isinstance(error, Exception):
                self._fail(aboard, RuntimeError("the call that carried it was cancelled"))
                raise
            self._fail(aboard, error)

    def _fail(self, aboard: Mapping[str, tuple[T, asyncio.Future[R | None]]], error: Exception) -> None:
        for _, future in (aboard or dict(self._waiting)).values():
            _answer(future, error)


def _answer(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def gathering(
    hub: Hub, name: str, operation: str, make: Callable[[], Gathering[Any, Any]]
) -> Gathering[Any, Any]:
    """The one gathering of an operation of a connection."""
    found = hub.gatherings.get((name, operation))
    if found is None:
        found = hub.gatherings[name, operation] = make()
    return found
