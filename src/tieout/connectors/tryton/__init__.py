"""Tryton (JSON-RPC, series 8.2) as an ERP."""

from tieout.connectors.contract import ConnectorDescriptor
from tieout.connectors.tryton.behaviours import BEHAVIOURS
from tieout.connectors.tryton.certification import TrytonCertification
from tieout.connectors.tryton.config import EXAMPLE, TrytonConfig
from tieout.connectors.tryton.connection import limits, open_connection

CONNECTOR = ConnectorDescriptor(
    vendor="tryton",
    title="Tryton",
    roles=("erp",),
    config=TrytonConfig,
    open=open_connection,
    limits=limits,
    example=EXAMPLE,
    behaviours=BEHAVIOURS,
    certification=TrytonCertification,
)
