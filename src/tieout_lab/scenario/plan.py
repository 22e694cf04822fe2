"""The plan of a run: who buys what, and what happens when on the business clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from tieout_lab.scenario.customers import PLACES, Customer, make_customers
from tieout_lab.scenario.deals import Deal, make_deal, make_line
from tieout_lab.scenario.draws import Draws


def _moment(month: int, day: int, hour: int = 18, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


# The business moments at which something happens; in between, billing bills what has become due.
OPENING = _moment(1, 5)
# 31 January 23:30 in Los Angeles, 1 February 16:30 in Tokyo.
MONTH_END = _moment(2, 1, 7, 30)
FEBRUARY = _moment(2, 12)
# 31 March 16:00 in Los Angeles, 1 April 08:00 in Tokyo.
QUARTER_END = _moment(3, 31, 23)
APRIL = _moment(4, 27)
# The controller closes April when the books of the 27th stand; two days later one more deal is signed.
EARLY_CLOSE = _moment(4, 28)
LATE = _moment(4, 29)
CUT_OFF = date(2026, 4, 30)


@dataclass(frozen=True)
class Happening:
    """One thing that people do at a business moment. `what`:

    `sell` (deals), `card` (the nth invoice of a deal), `wire` (one transfer for the nth invoices of the deals:
    `percent` of what is open, and `extra` major units over), `credit` and `refund` (`percent` of the nth invoice as a
    credit memo; `refund`: of a paid one, money back), `void`, `write_off`, `pay` (everybody pays by habit),
    `close_period` (of a legal entity, by its controller)."""

    at: datetime
    what: str
    deals: tuple[str, ...] = ()
    nth: int = 0
    percent: int = 100
    extra: int = 0
    entity: str = ""


@dataclass(frozen=True)
class Plan:
    """All of it. `ghost` is the key of the deal that preflight parks, `late` of the one whose invoice a closed period
    holds back."""

    seed: int
    customers: tuple[Customer, ...]
    deals: dict[str, Deal] = field(hash=False)
    happenings: tuple[Happening, ...]
    ghost: str = ""
    late: str = ""

    def moments(self) -> list[datetime]:
        """The business moments, in order."""
        return sorted({one.at for one in self.happenings})


class _Planner:
    def __init__(self, seed: int, count: int) -> None:
        self.draws = Draws(seed)
        self.customers = make_customers(self.draws, count)
        self.deals: dict[str, Deal] = {}
        self.happenings: list[Happening] = []
        self.turns: dict[str, int] = {}

    def customer(self, place: str) -> Customer:
        """The next customer of a place in turn; where there is none, of the same seller, else any."""
        entity = {one.name: one.entity for one in PLACES}[place]
        there = (
            [one for one in self.customers if one.place.name == place]
            or [one for one in self.customers if one.place.entity == entity]
            or list(self.customers)
        )
        turn = self.turns.get(place, 0)
        self.turns[place] = turn + 1
        return there[turn % len(there)]

    def sell(self, deal: Deal) -> Deal:
        self.deals[deal.key] = deal
        self.happenings.append(Happening(deal.closes, "sell", (deal.key,)))
        return deal

    def happen(
        self, at: datetime, what: str, *deals: Deal, nth: int = 0, percent: int = 100, extra: int = 0
    ) -> None:
        self.happenings.append(Happening(at, what, tuple(deal.key for deal in deals), nth, percent, extra))

    def ordinary(self) -> None:
        """Every customer buys once, some twice."""
        for customer in self.customers:
            for number in range(1 + self.draws.chance(20, customer.key, "second")):
                key = f"{customer.key}-d{number}"
                closes = MONTH_END if self.draws.chance(30, key, "wave") else OPENING
                # Some start in the past, some in the future.
                starts = (
                    (date(2026, 1, 1), date(2026, 1, 5), date(2026, 2, 10), date(2025, 12, 15))
                    if closes == OPENING
                    else (date(2026, 1, 15), date(2026, 2, 1), date(2026, 3, 1), date(2026, 1, 10))
                )
                frequency = self.draws.pick(("Monthly", "Monthly", "Quarterly", "Annual"), key, "frequency")
                self.sell(
                    make_deal(
                        self.draws,
                        key,
                        customer,
                        closes,
                        start=self.draws.pick(starts, key, "start"),
                        habit=self.draws.pick(("card", "card", "wire", "never"), key, "habit"),
                        frequency=frequency,
                        term_months=self.draws.pick((12, 12, 24, 36), key, "term"),
                        # Some end with the calendar year, in the middle of a billing period.
                        end=date(2026, 12, 31) if self.draws.chance(20, key, "end") else None,
                    )
                )

    def special(self, name: str, place: str, *, products: tuple[str, ...] = ()) -> Deal:
        """A monthly deal whose invoices are paid, or not, as the plan says."""
        customer = self.customer(place)
        lines = tuple(
            make_line(self.draws, name, code, customer.place.currency, "Monthly") for code in products
        )
        start = date(2026, 1, 5)
        return self.sell(
            make_deal(self.draws, name, customer, OPENING, start=start, habit="by hand", lines=lines or None)
        )

    def money(self) -> None:
        """Payments in every shape: partial, one over three contracts, more than is owed."""
        partial = self.special("partial", "berlin")
        self.happen(FEBRUARY, "wire", partial, percent=40)
        self.happen(QUARTER_END, "wire", partial)
        buyer = self.customer("tokyo")
        three = [
            self.sell(
                make_deal(self.draws, f"three-{n}", buyer, OPENING, start=date(2026, 1, 5), habit="by hand")
            )
            for n in range(3)
        ]
        self.happen(FEBRUARY, "wire", *three)
        over = self.special("over", "california")
        self.happen(FEBRUARY, "wire", over, extra=123)
        # A card in March settles the second invoice; the money on account stays what it is.
        self.happen(QUARTER_END, "card", over, nth=1)

    def corrections(self) -> None:
        """Credit memos, a refund, voids across a month end, write-offs."""
        credited = self.special("credited", "new york")
        self.happen(FEBRUARY, "credit", credited, percent=25)
        self.happen(QUARTER_END, "card", credited)
        credited_jp = self.special("credited-jp", "tokyo")
        self.happen(QUARTER_END, "credit", credited_jp, percent=30)
        refunded = self.special("refunded", "california")
        self.happen(MONTH_END, "card", refunded)
        self.happen(QUARTER_END, "refund", refunded, percent=50)
        for place in ("tokyo", "texas"):
            # Recurring lines alone: a one-time line is gone from billing with its voided invoice.
            voided = self.special(f"voided-{place}", place, products=("PLATFORM", "SUPPORT"))
            self.happen(FEBRUARY, "void", voided)
        self.happen(QUARTER_END, "write_off", self.special("written-off", "berlin"))
        self.happen(QUARTER_END, "write_off", self.special("written-off-ca", "california"))

    def exceptions(self) -> tuple[str, str]:
        """The two planned ones: a product without a rule, and an invoice into a period that was closed early."""
        buyer = self.customer("new york")
        lines = tuple(
            make_line(self.draws, "ghost", code, buyer.place.currency, "Monthly")
            for code in ("PLATFORM", "GHOST")
        )
        ghost = self.sell(
            make_deal(
                self.draws, "ghost", buyer, MONTH_END, start=date(2026, 2, 1), habit="never", lines=lines
            )
        )
        self.happenings.append(Happening(EARLY_CLOSE, "close_period", entity="us"))
        seller = self.customer("texas")
        # Annual, so that nothing else of it falls due before the end.
        late = self.sell(
            make_deal(
                self.draws, "late", seller, LATE, start=date(2026, 4, 29), habit="never", frequency="Annual"
            )
        )
        return ghost.key, late.key


def make_plan(seed: int, customers: int) -> Plan:
    """The plan of a seed. ValueError without customers."""
    if customers < 1:
        raise ValueError("a business needs at least one customer")
    planner = _Planner(seed, customers)
    planner.ordinary()
    planner.money()
    planner.corrections()
    for at in (MONTH_END, FEBRUARY, QUARTER_END, APRIL):
        planner.happenings.append(Happening(at, "pay"))
    ghost, late = planner.exceptions()
    planner.happenings.append(Happening(LATE, "pay", entity="jp"))
    # In the order of time; at one moment in the order they were planned.
    return Plan(
        seed=seed,
        customers=planner.customers,
        deals=planner.deals,
        happenings=tuple(sorted(planner.happenings, key=lambda one: one.at)),
        ghost=ghost,
        late=late,
    )
