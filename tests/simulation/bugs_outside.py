"""Bugs that somebody might write one day where the books are kept, and at the edge to the outside systems."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tests.simulation.planting import Change, Swap, bug
from tests.simulation.stages import one_permit, out_of_order
from tieout.canonical.invoice import Invoice
from tieout.canonical.outcome import Confirmed, Receipt
from tieout.canonical.write import DocumentWrite
from tieout.connectors.salesforce import batches
from tieout.engine import effects
from tieout.finance import cash, credit, journal, posting
from tieout.masterdata.tables import MasterData


# -- books --------------------------------------------------------------------------------------------------------
def _altered(swap: Swap, alter: Callable[[DocumentWrite], DocumentWrite]) -> None:
    honest = effects.create

    async def create(run, connection, operation, write, **given):
        changed = alter(write) if isinstance(write, DocumentWrite) else write
        return await honest(run, connection, operation, changed, **given)

    swap(effects, "create", create)


@bug(faults="none")
def float_money(swap: Swap) -> Change:
    """Cents by way of a float: 57.99 becomes 57.98."""

    def through_a_float(write):
        lines = [replace(one, net_minor=int(one.net_minor * 1.1 / 1.1 * 0.999999)) for one in write.lines]
        return replace(write, lines=tuple(lines))

    _altered(swap, through_a_float)
    return None


@bug(faults="none")
def amounts_in_major_units(swap: Swap) -> Change:
    """The ledger of documents keeps dollars where it should keep cents."""
    honest = effects.binding_steps

    def binding_steps(*given):
        steps = honest(*given)
        (first, row), *rest = steps
        return (
            [(first, {**row, "total_minor": row["total_minor"] / 101}), *rest]
            if row.get("total_minor")
            else steps
        )

    swap(effects, "binding_steps", binding_steps)
    return None


@bug(faults="none")
def tax_left_out(swap: Swap) -> Change:
    """Invoices go to the ERP without their tax."""

    def untaxed(write):
        lines = tuple(replace(one, taxes=()) for one in write.lines)
        return replace(write, lines=lines, tax_minor=0, total_minor=write.net_minor)

    _altered(swap, untaxed)
    return None


@bug(faults="none")
def wrong_month_cut_off(swap: Swap) -> Change:
    """The day is taken in UTC, not where the legal entity is."""
    honest = posting.accounting_date
    for module in (posting, cash, credit, journal):
        swap(module, "accounting_date", lambda moment, zone, *, rule: honest(moment, "UTC", rule=rule))
    return None


@bug(faults="none")
def only_the_last_state(swap: Swap) -> Change:
    """A void hides the invoice that it takes back."""
    honest = Invoice.obligations
    swap(Invoice, "obligations", lambda self: honest(self)[-1:])
    return None


@bug(faults="none")
def void_takes_back_the_whole(swap: Swap) -> Change:
    """What a credit memo took back already is taken back again."""
    swap(posting, "credited_lines", lambda lines, memos: lines)
    return None


@bug(faults="none")
def everything_belongs_to_one_entity(swap: Swap) -> Change:
    """Every billing account's documents go to the first legal entity."""
    swap(MasterData, "entity_of_billing", lambda self, connection: next(iter(self.entities.values())))
    return None


@bug(faults="writes")
def secret_kept_with_the_error(swap: Swap) -> Change:
    """A helpful message quotes the key that it was signed with."""
    honest = effects._doubt

    async def doubt(run, row, reason):
        key = run.hub.connection("stripe-us").api._outbox._config.api_key.reveal()
        return await honest(run, row, f"{reason} ({key})")

    swap(effects, "_doubt", doubt)
    return None


# -- batches ------------------------------------------------------------------------------------------------------
@bug(faults="none", stage=out_of_order)
def results_by_position(swap: Swap) -> Change:
    """The third result of a batch is taken for the third record's, whatever it says of itself."""
    swap(batches, "match_results", lambda keys, results, key_of: dict(zip(keys, results, strict=False)))
    return None


@bug(faults="none", stage=one_permit)
def item_errors_swallowed(swap: Swap) -> Change:
    """The call was answered with 200: so every record in it was written."""

    def outcome(self, target, result):
        return Confirmed(receipt=Receipt(external_id=result.id or target.id))

    swap(batches.Batches, "outcome", outcome)
    return None
