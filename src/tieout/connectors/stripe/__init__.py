"""Stripe Billing: subscriptions, invoices, credit notes, payments and refunds of one account."""

from __future__ import annotations

from tieout.connectors.contract import ConnectorDescriptor
from tieout.connectors.stripe.behaviours import BEHAVIOURS
from tieout.connectors.stripe.certification import StripeCertification
from tieout.connectors.stripe.config import EXAMPLE, StripeConfig, limits
from tieout.connectors.stripe.connection import StripeConnection

CONNECTOR = ConnectorDescriptor(
    vendor="stripe",
    title="Stripe Billing",
    roles=("billing",),
    config=StripeConfig,
    open=StripeConnection,
    limits=limits,
    example=EXAMPLE,
    behaviours=BEHAVIOURS,
    certification=StripeCertification,
)
