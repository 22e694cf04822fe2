"""A digital twin of NetSuite: SuiteTalk REST record v1, SuiteQL, asynchronous jobs, OAuth 2.0.

One account with the demo company: two subsidiaries, a general ledger that balances per subsidiary and period in
functional currency, approval routing, accounting periods, exchange rates, account-wide concurrency.
"""

from __future__ import annotations

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.netsuite.twin import NetSuiteTwin

__all__ = ["NetSuiteTwin", "create"]


def create(clock: TwinClock, *, key_type: str = "EC") -> NetSuiteTwin:
    """A twin with the demo company planted. `key_type`: "EC" (P-256, ES256) or "RSA" (3072 bits, PS256)."""
    return NetSuiteTwin(clock, key_type=key_type)
