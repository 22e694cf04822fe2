"""`tieout bench --erp tryton`: invoices posted into the real ERP by the hub, beside a bare loop into the same server.

Both go through the same proxy, in turn; each invoice, of a customer of its own, is two calls of the server, one that
makes it and one that posts it. The hub besides looks its customer up, reads the draft back, asks for its number, writes
its ledger, and keeps to one poster per company.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.write import DocumentLine, DocumentWrite
from tieout.engine.process import Process, process
from tieout.engine.run import Run
from tieout_lab.bench.main import shown
from tieout_lab.bench.obligations import ended, start
from tieout_lab.bench.setting import folder_of_run
from tieout_lab.child import twins
from tieout_lab.scenario.steering import Steering
from tieout_lab.tryton.rpc import Rpc
from tieout_lab.world import Company, write_company

_ERP = "tryton-main"
# Rounds taken in turn, none of them so short that its beginning and its end weigh more than its middle.
_ROUNDS, _LEAST = 10, 20
_WARM_UP = 4
_ASKED = 0.9
_NET = 12_345
# The party of each document by its number, set before the first lane starts.
_parties: list[int] = []


def _write(number: int) -> DocumentWrite:
    """An invoice of today, due in a month, so that the server has nothing to ask."""
    today = datetime.now(UTC).date()
    line = DocumentLine(item="", account="4000", description="Platform", quantity=None, net_minor=_NET)
    return DocumentWrite(
        kind="invoice",
        reason="finalised",
        source=Ref(connection="stripe-us", kind="invoice", id=f"in_bench{number:06d}"),
        number=f"BENCH-{number:06d}",
        entity="us",
        subsidiary="1",
        customer=str(_parties[number]),
        currency="USD",
        day=today,
        due=today + timedelta(days=30),
        lines=(line,),
        net_minor=_NET,
        tax_minor=0,
        total_minor=_NET,
        journal=tuple(
            JournalLine(account=account, amount_minor=amount, currency="USD", entity="us")
            for account, amount in (("1100", _NET), ("4000", -_NET))
        ),
    )


@process("bench")
async def post_one(run: Run, ref: Ref) -> None:
    """Make and post the invoice of this number."""
    receipt = await run.create(_ERP, "invoice.create", _write(int(ref.id)), source=ref)
    await run.posted(_ERP, "invoice.create", receipt, source=ref)


def _taught(app: App) -> None:
    known: dict[str, Process] = dict(app.hub.processes)
    known["bench"] = post_one
    app.hub.processes = known


class _Bare:
    """The bare loop: one at a time, nothing kept, nothing read back."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc.company(1)
        of_company = [["company", "=", 1]]
        accounts = {row["code"]: row["id"] for row in rpc.rows("account.account", of_company, ["code"])}
        (journal,) = rpc.rows("account.journal", [["type", "=", "revenue"]], ["id"])
        (currency,) = rpc.rows("currency.currency", [["code", "=", "USD"]], ["id"])
        self.addresses: dict[int, int] = {}
        self.head = {
            "company": 1,
            "type": "out",
            "currency": currency["id"],
            "journal": journal["id"],
            "account": accounts["1100"],
        }
        self.line = {
            "company": 1,
            "currency": currency["id"],
            "type": "line",
            "account": accounts["4000"],
            "description": "Platform",
            "quantity": 1,
            "unit_price": Decimal(_NET) / 100,
        }

    def parties(self, count: int) -> list[int]:
        """So many customers, with an address each."""
        address = [["create", [{"street": "1 Market St", "city": "San Francisco"}]]]
        bodies = [
            {"name": f"Bench {number}", "code": f"BENCH{number}", "addresses": address}
            for number in range(count)
        ]
        made: list[int] = self.rpc.do("party.party.create", bodies)
        rows = self.rpc.rows("party.party", [["id", "in", made]], ["addresses"])
        self.addresses = {row["id"]: row["addresses"][0] for row in rows}
        return made

    def post(self, first: int, count: int) -> float:
        """Make and post so many; answers the seconds."""
        today: date = datetime.now(UTC).date()
        dates = {"accounting_date": today, "payment_term_date": today + timedelta(days=30)}
        began = time.monotonic()
        for number in range(first, first + count):
            party = _parties[number]
            whose = {"party": party, "invoice_address": self.addresses[party]}
            given = {**self.head, **whose, **dates, "reference": f"BARE{number:012d}"}
            made = self.rpc.create("account.invoice", **given, lines=[["create", [dict(self.line)]]])
            self.rpc.do("account.invoice.post", [made])
        return time.monotonic() - began


async def _measure(count: int, postgres: str) -> dict[str, Any]:
    epoch = datetime.now(UTC)
    rounds = min(_ROUNDS, max(count // _LEAST, 1))
    each = count // rounds
    with folder_of_run() as folder:
        async with twins(epoch=epoch, tryton=postgres) as described:
            told = described["tryton"]
            url, login = told["url"], (told["database"], told["username"], told["password"])
            bare = await asyncio.to_thread(lambda: _Bare(Rpc(url, *login)))
            _parties[:] = await asyncio.to_thread(bare.parties, _WARM_UP + each * rounds)
            settings = write_company(folder, described, Company(technical=epoch, port=0))
            app = await compose(read_settings(settings), system_ports())
            steering = Steering(described)
            rates: dict[str, list[float]] = {"bare": [], "hub": []}
            try:
                _taught(app)
                await app.start()
                await _hub(app, 0, _WARM_UP)
                await asyncio.to_thread(bare.post, 0, _WARM_UP)
                for turn in range(rounds):
                    first = _WARM_UP + turn * each
                    rates["bare"].append(each / await asyncio.to_thread(bare.post, first, each))
                    rates["hub"].append(each / await _hub(app, first, each))
                    told = ", ".join(f"{name} {done[-1]:.2f}" for name, done in rates.items())
                    print(
                        f"round {turn + 1} of {rounds}, invoices a second: {told}",
                        file=sys.stderr,
                        flush=True,
                    )
                posters = await steering.act("tryton", "posters")
                snapshot = await steering.act("tryton", "snapshot")
            finally:
                await app.stop()
                await steering.close()
    keys = [one["external_id"] for one in snapshot["documents"]]
    pairs = zip(rates["hub"], rates["bare"], strict=True)
    return {
        "invoices": each * rounds,
        "hub_per_second": median(rates["hub"]),
        "bare_per_second": median(rates["bare"]),
        # Of neighbours in time: what else the machine does meanwhile meets both.
        "ratio": median(hub / bare for hub, bare in pairs),
        "rounds": rates,
        "most_posters": max(posters.values()),
        "standing": len(keys),
        "doubled": len(keys) - len(set(keys)),
    }


async def _hub(app: App, first: int, count: int) -> float:
    subjects = [str(number) for number in range(first, first + count)]
    began = time.monotonic()
    await start(app, subjects)
    await ended(app, subjects)
    return time.monotonic() - began


def run(*, invoices: int, postgres: str, json_output: bool) -> int:
    """Measure and print; 0 when the goals are met, else 1."""
    figures = asyncio.run(_measure(invoices, postgres))
    met = figures["ratio"] >= _ASKED and figures["most_posters"] == 1 and not figures["doubled"]
    document = {"figures": {"real_erp": figures}, "asked_ratio": _ASKED, "all_met": met}
    if json_output:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        lines = [f"  {name:<34} {shown(value)}" for name, value in figures.items()]
        sys.stdout.write("real_erp\n" + "\n".join(lines) + f"\n  {'met' if met else 'MISSED'}\n")
    return 0 if met else 1
