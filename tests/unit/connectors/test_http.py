"""What a refused call means, for every connector alike."""

from __future__ import annotations

import pytest

from tests.conformance.support import canned
from tests.unit.connectors.netsuite_world import Account, NoChance, StandingClock
from tieout.canonical.outcome import Failure, Misconfigured, RateLimited, Rejected, Transient
from tieout.connectors.contract import Malformed, OtherAccount, World, connection_blocked
from tieout.connectors.http import Http


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (301, Misconfigured),
        (307, Misconfigured),
        (401, Misconfigured),
        (400, Transient),
        (403, Misconfigured),
        (404, Rejected),
        (408, Transient),
        (429, RateLimited),
        (500, Transient),
        (503, Transient),
    ],
)
def test_refused_read(status: int, outcome: type) -> None:
    http = Http("erp", World(clock=StandingClock(), chance=NoChance(), transport=Account()))
    with pytest.raises(Failure) as caught:
        http.read_status(canned(b"", status, location="https://elsewhere"), "", "")
    assert isinstance(caught.value.outcome, outcome)
    assert "elsewhere" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "", Transient),
        (404, "", Rejected),
        (400, "FIELD_INTEGRITY_EXCEPTION", Rejected),
        (413, "", Transient),
    ],
)
def test_a_refusal_that_does_not_say_why_is_asked_again(status: int, code: str, outcome: type) -> None:
    """Known defect: a locked row at the CRM whose words were cut off was taken for a refusal for good."""
    http = Http("erp", World(clock=StandingClock(), chance=NoChance(), transport=Account()))
    assert isinstance(http.send_status(canned(b"", status), code, "words"), outcome)


def test_an_event_of_another_account_blocks_the_connection_and_is_malformed_to_who_does_not_ask() -> None:
    error = OtherAccount(connection_blocked("billing", "an event of acct_2", "mend it"))
    assert isinstance(error, Malformed)
    assert (error.outcome.scope, error.outcome.key, str(error)) == (
        "connection",
        "billing",
        "an event of acct_2",
    )
