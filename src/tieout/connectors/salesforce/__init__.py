"""Salesforce as CRM: won opportunities in, status and invoices back."""

from __future__ import annotations

from typing import Any

from tieout.connectors.contract import ConnectorDescriptor, Limits, World
from tieout.connectors.salesforce.behaviours import BEHAVIOURS
from tieout.connectors.salesforce.certification import SalesforceCertification
from tieout.connectors.salesforce.config import EXAMPLE, SalesforceConfig
from tieout.connectors.salesforce.connection import SalesforceConnection


def open_connection(name: str, config: Any, world: World) -> SalesforceConnection:
    """The connection object; opens no socket. TypeError for another connector's configuration."""
    if not isinstance(config, SalesforceConfig):
        raise TypeError(f"{name}: not a Salesforce configuration")
    return SalesforceConnection(name, config, world)


def limits(config: SalesforceConfig) -> Limits:
    """Calls in flight; the day's allowance is the org's and read from its answers."""
    return Limits(in_flight=config.in_flight)


CONNECTOR = ConnectorDescriptor(
    vendor="salesforce",
    title="Salesforce",
    roles=("crm",),
    config=SalesforceConfig,
    open=open_connection,
    limits=limits,
    example=EXAMPLE,
    behaviours=BEHAVIOURS,
    certification=SalesforceCertification,
)
