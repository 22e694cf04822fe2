"""A closed-won deal: preflight, every fault at once; then the order is stored and the deal shows that it is accepted,
before billing or ERP answer."""

from __future__ import annotations

import msgspec

from tieout.canonical import order as order_lines
from tieout.canonical.announcement import ContractAccepted
from tieout.canonical.ids import Ref
from tieout.canonical.model import Value
from tieout.canonical.order import Order
from tieout.canonical.outcome import NotFound
from tieout.canonical.party import Customer, LegalEntity
from tieout.connectors.contract import Prechecker
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Parked
from tieout.masterdata.fault import Fault
from tieout.masterdata.preflight import CreditStanding, preflight
from tieout.processes.subscription import subscription_of


class Activation(Value, frozen=True):
    """The order was handed on: from here on the deal's status is written by `activate`."""

    order: Ref


class CreditCopy(Value, frozen=True):
    """The last swept credit hold of a customer at an ERP."""

    hold: bool


@process("opportunity")
async def close_won(run: Run, ref: Ref) -> None:
    """Accept a won and approved deal, once; watch what becomes of it afterwards."""
    accepted = await run.record("order", str(ref), Order)
    order = await _order(run, ref, accepted)
    if accepted is None and not (order.won and order.closed and order.approved and not order.deleted):
        raise Ignored("the deal is not won and approved")
    customer, others = await _customer_with_kin(run, order.account)
    entity = run.masterdata.entities.get(order.legal_entity)
    credit = await _credit(run, order.account, entity.code if entity else "")
    faults = preflight(
        order,
        customer,
        others,
        entity,
        run.masterdata,
        as_of=order.close_date or run.hub.clock.now().date(),
        credit=credit,
        accepted=accepted,
        siblings=await _siblings(run, order),
    )
    if not faults and accepted is None and entity is not None:
        faults = _never_billed(run, order, entity)
    if faults:
        await _park(run, order, faults, accepted)
    if accepted is None:
        run.note(run.save("order", str(ref), order))
        run.announce(_accepted(order), ref)
    if await run.record("activation", str(ref), Activation) is None:
        await run.assign(ref, "status", {"status": "operationally accepted"})
        run.note(run.save("activation", str(ref), Activation(order=ref)))
        run.start(order_ref(ref), entity=order.legal_entity)
    if run.assigned(ref, "problem"):
        await run.assign(ref, "problem", {"detail": None}, optional=True)


def _accepted(order: Order) -> ContractAccepted:
    return ContractAccepted(
        contract=order.ref,
        account=order.account,
        entity=order.legal_entity,
        currency=order.currency,
        contracted_minor=contracted_minor(order),
        start=order.start,
        end=order.end,
        term_months=order.term_months,
    )


def order_ref(opportunity: Ref) -> Ref:
    """The accepted order of a deal: a document of its own, with its own lane."""
    return msgspec.structs.replace(opportunity, kind="order")


async def _order(run: Run, ref: Ref, accepted: Order | None) -> Order:
    """The deal as it is now; one that is gone altogether reads as the accepted one, deleted."""
    try:
        return await run.read(Order, ref)
    except NotFound:
        if accepted is None:
            raise Ignored("the deal does not exist any more") from None
        return msgspec.structs.replace(accepted, deleted=True, lines=())


async def _customer_with_kin(run: Run, account: Ref) -> tuple[Customer | None, tuple[Customer, ...]]:
    """The deal's account and every other account that its hierarchy names; missing ones are left out."""
    try:
        customer = await run.read(Customer, account)
    except NotFound:
        return None, ()
    wanted = {
        ref for ref in (*customer.ancestors, customer.parent, customer.payer, customer.bill_to) if ref
    } - {account}
    others = []
    for ref in sorted(wanted, key=str):
        try:
            others.append(await run.read(Customer, ref))
        except NotFound:
            continue
    return customer, tuple(others)


async def _credit(run: Run, account: Ref, entity: str) -> CreditStanding:
    """The hub's last swept copy of the ERP's credit hold; no call to the ERP here."""
    found = await run.record_with_age("credit_hold", f"{account}#{entity}", CreditCopy)
    if found is None:
        return CreditStanding()
    copy, age = found
    return CreditStanding(hold=copy.hold, age=age)


async def _siblings(run: Run, order: Order) -> tuple[Order, ...]:
    """The accepted orders of the same account, where the deal claims an acceptance of its own (a clone copies it)."""
    if order.accepted_status in ("", "parked"):
        return ()
    return tuple(
        other
        for other in await run.records("order", Order)
        if other.account == order.account
        and other.ref != order.ref
        # A restored hub may have accepted this very deal and forgotten it: then only a copied id betrays a clone.
        and (run.hub.restored is None or (order.external_id and order.external_id == other.external_id))
    )


def _never_billed(run: Run, order: Order, entity: LegalEntity) -> tuple[Fault, ...]:
    """What billing could not hold, though the deal is sound: said before it is accepted, while it can be mended."""
    api = run.connection(entity.billing).api
    if not isinstance(api, Prechecker):
        return ()
    write = subscription_of(run, order, entity, customer="")
    return tuple(
        Fault(
            code=refused.code,
            message=f"{entity.billing} cannot bill it: {refused.message}.",
            remedy="Mend it on the deal.",
            field="lines",
        )
        for refused in api.precheck("subscription.create", write)
    )


async def _park(run: Run, order: Order, faults: tuple[Fault, ...], accepted: Order | None) -> None:
    """Say it on the deal, where the seller works, and open one exception with every fault."""
    cause = " ".join(fault.message for fault in faults)
    remedy = " ".join(dict.fromkeys(fault.remedy for fault in faults))
    if not order.deleted:
        await run.assign(order.ref, "problem", {"detail": cause[:1000]}, optional=True)
        if accepted is None:
            await run.assign(order.ref, "status", {"status": "parked"}, optional=True)
    raise Parked(
        "preflight" if accepted is None else "changed_after_acceptance",
        cause,
        remedy,
        Facts(
            amount_minor=contracted_minor(order),
            currency=order.currency,
            entity=order.legal_entity,
            number=order.name,
        ),
        detail="; ".join(f"{fault.code}: {fault.field}" for fault in faults),
    )


def contracted_minor(order: Order) -> int:
    """The contracted value of all lines in minor units; see `canonical.order.contracted_minor`."""
    return sum(
        order_lines.contracted_minor(
            line.net_minor,
            order.frequency,
            start=order.start,
            end=order.end,
            term_months=order.term_months,
            charge=line.charge,
        )
        for line in order.lines
    )
