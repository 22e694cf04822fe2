"""NetSuite (SuiteTalk REST) as an ERP."""

from tieout.connectors.contract import ConnectorDescriptor
from tieout.connectors.netsuite.behaviours import BEHAVIOURS
from tieout.connectors.netsuite.certification import NetSuiteCertification
from tieout.connectors.netsuite.config import EXAMPLE, NetSuiteConfig
from tieout.connectors.netsuite.connection import limits, open_connection

CONNECTOR = ConnectorDescriptor(
    vendor="netsuite",
    title="Oracle NetSuite",
    roles=("erp",),
    config=NetSuiteConfig,
    open=open_connection,
    limits=limits,
    example=EXAMPLE,
    behaviours=BEHAVIOURS,
    certification=NetSuiteCertification,
)
