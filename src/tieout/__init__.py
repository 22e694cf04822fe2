"""tieout: the governed layer between CRM, billing and ERP."""

__version__ = "0.1.0"
