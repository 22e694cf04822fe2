"""Which connectors there are: one line each, and those that other people's packages bring."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from tieout.connectors.contract import ConnectorDescriptor

_OURS = {
    "salesforce": "tieout.connectors.salesforce",
    "stripe": "tieout.connectors.stripe",
    "netsuite": "tieout.connectors.netsuite",
    "tryton": "tieout.connectors.tryton",
}


def vendors() -> list[str]:
    """The names that `vendor = ` may take."""
    return sorted({*_OURS, *(entry.name for entry in entry_points(group="tieout.connectors"))})


def descriptor(vendor: str) -> ConnectorDescriptor:
    """The connector of a vendor. KeyError when there is none."""
    if vendor in _OURS:
        found = import_module(_OURS[vendor]).CONNECTOR
    else:
        theirs = {entry.name: entry for entry in entry_points(group="tieout.connectors")}
        found = theirs[vendor].load()
    if not isinstance(found, ConnectorDescriptor):
        raise TypeError(f"connector {vendor!r} is no ConnectorDescriptor")
    return found
