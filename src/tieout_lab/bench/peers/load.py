"""The loader of tieout: signed webhooks by CALLERS connections at once."""

from __future__ import annotations

import asyncio
import time

import uvloop

from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.loader import Load
from tieout_lab.bench.peers import work


async def main() -> None:
    port = given()["port"]
    answer({"ready": True})
    while (told := await heard()) is not None:
        numbers = range(told["first"], told["first"] + told["count"])
        load = Load([work.webhook(port, number) for number in numbers], 1)
        await load.connect(port, work.CALLERS)
        started = time.time()
        await load.closed()
        ended = time.time()
        for line in load.lines:
            line.transport.close()
        if load.refused:
            raise AssertionError(f"the hub refused {load.refused} events: {load.refusal}")
        answer({"started": started, "ended": ended})
        await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(main())
