"""Which connectors there are: one line each, and those that other people's packages bring."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tieout.connectors.contract import ConnectorDescriptor

_OURS = {
    "salesforce": "tieout.connectors.salesforce",
    "stripe": "tieout.connectors.stripe",
    "netsuite": "tieout.connectors.netsuite",
    "tryton": "tieout.connectors.tryton",
}


@cache
def _theirs() -> dict[str, EntryPoint]:
    """What installed packages bring. Looked for once: it reads the metadata of every one of them."""
    return {entry.name: entry for entry in entry_points(group="tieout.connectors")}


def vendors() -> list[str]:
    """The names that `vendor = ` may take."""
    return sorted({*_OURS, *_theirs()})


def descriptor(vendor: str) -> ConnectorDescriptor:
    """The connector of a vendor. KeyError when there is none."""
    found = import_module(_OURS[vendor]).CONNECTOR if vendor in _OURS else _theirs()[vendor].load()
    if not isinstance(found, ConnectorDescriptor):
        raise TypeError(f"connector {vendor!r} is no ConnectorDescriptor")
    return found
