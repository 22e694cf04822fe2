"""The conformance suite that every connector inherits, ours and other people's.

A connector joins by one `Case` and one fixture, in a test file of its own:

    from tieout_lab.conformance import Case, ConnectorConformance

    class TestAcme(ConnectorConformance):
        @pytest.fixture
        def case(self) -> Case:
            return ACME

Everything runs over real sockets against the connector's twin. What a connector can (webhooks, bulk, look-up by key)
is found out by `isinstance`; what its case does not say must be excused in `Case.lacks`, or the test fails.
"""

from __future__ import annotations

import pytest

# Before they are imported: a failed assertion of an inherited test shows its values, like one's own.
pytest.register_assert_rewrite(
    *(f"tieout_lab.conformance.{part}" for part in ("access", "bulk", "reads", "webhooks", "writes"))
)

from tieout_lab.conformance.access import Access  # noqa: E402
from tieout_lab.conformance.bulk import Bulk  # noqa: E402
from tieout_lab.conformance.case import HOSTILE, KEYS, TIMEOUT_SECONDS, Case  # noqa: E402
from tieout_lab.conformance.reads import Reads  # noqa: E402
from tieout_lab.conformance.webhooks import Webhooks  # noqa: E402
from tieout_lab.conformance.writes import Writes  # noqa: E402

__all__ = ["HOSTILE", "KEYS", "TIMEOUT_SECONDS", "Case", "ConnectorConformance"]


class ConnectorConformance(Access, Reads, Writes, Bulk, Webhooks):
    """The whole suite. A subclass gives the fixture `case`."""
