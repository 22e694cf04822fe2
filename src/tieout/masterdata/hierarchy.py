"""Accounts above an account, and who pays: walked over what was read, never past a hole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value
from tieout.canonical.party import Customer


class HierarchyFault(Value, frozen=True):
    """Why the chain of accounts cannot be relied on: `code` is `missing`, `cyclic`, `deleted` or `merged`."""

    code: str
    account: Ref
    message: str


class Lineage(Value, frozen=True):
    """The account, then its parents upwards as far as they could be followed; faults in that order."""

    accounts: tuple[Customer, ...]
    faults: tuple[HierarchyFault, ...] = ()


def by_ref(customers: Iterable[Customer]) -> dict[Ref, Customer]:
    """Accounts under their reference, the last one read wins."""
    return {customer.ref: customer for customer in customers}


def lineage(customer: Customer, known: Mapping[Ref, Customer]) -> Lineage:
    """Walk up from an account. Deleted and merged accounts are faults, and the walk goes on above them."""
    accounts: list[Customer] = []
    faults: list[HierarchyFault] = []
    seen: set[Ref] = set()
    current: Customer | None = customer
    while current is not None:
        seen.add(current.ref)
        accounts.append(current)
        if current.merged_into is not None:
            message = f"Account {current.name} was merged into {current.merged_into.id}."
            faults.append(HierarchyFault(code="merged", account=current.ref, message=message))
        elif current.deleted:
            message = f"Account {current.name} is deleted."
            faults.append(HierarchyFault(code="deleted", account=current.ref, message=message))
        above = current.parent
        if above is None:
            break
        if above in seen:
            message = f"The accounts above {customer.name} form a circle at {above.id}."
            faults.append(HierarchyFault(code="cyclic", account=above, message=message))
            break
        following = known.get(above)
        if following is None:
            message = f"Account {above.id}, above {current.name}, does not exist or is not readable."
            faults.append(HierarchyFault(code="missing", account=above, message=message))
        current = following
    return Lineage(accounts=tuple(accounts), faults=tuple(faults))


def decide_payer(customer: Customer, known: Mapping[Ref, Customer]) -> Ref:
    """Who pays for an account: its payer, that account's payer, and so on until one pays for itself.

    ValueError when the chain leads out of what was read, or round in a circle."""
    current = customer
    seen = {customer.ref}
    while current.payer is not None and current.payer != current.ref:
        if current.payer in seen:
            raise ValueError(f"the payers of {customer.name} form a circle at {current.payer.id}")
        if current.payer not in known:
            raise ValueError(f"payer {current.payer.id} of {current.name} does not exist or is not readable")
        seen.add(current.payer)
        current = known[current.payer]
    return current.ref
