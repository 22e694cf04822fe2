"""What the account says, in our words."""

from __future__ import annotations

import base64

import msgspec
import pytest

from tests.conformance.support import canned
from tests.unit.connectors.netsuite_world import Account, config, connect, on, on_query, period, refused
from tieout.canonical.outcome import Failure, Misconfigured, Transient
from tieout.canonical.secret import Secret
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.mapping import map_accounts, map_status
from tieout.connectors.netsuite.signin import canonical_account, is_live, token_account

STATUSES = [
    ("invoice", "A", "", "posted"),
    ("invoice", "CustInvc:B", "2", "posted"),
    ("invoice", "D", "1", "created"),
    ("invoice", "A", "1", "created"),
    ("invoice", "E", "3", "post_rejected"),
    ("invoice", "V", "2", "withdrawn"),
    ("invoice", "Z", "2", "pending"),
    ("invoice", "A", "77", "pending"),
    ("credit_memo", "B", "", "posted"),
    ("payment", "A", "", "created"),
    ("payment", "C", "", "posted"),
    ("payment", "?", "", "pending"),
    ("refund", "", "", "posted"),
]


@pytest.mark.parametrize(("kind", "status", "approval", "ours"), STATUSES)
def test_status(kind: str, status: str, approval: str, ours: str) -> None:
    assert map_status(kind, status, approval) == ours


async def test_statuses_in_one_query_and_absence_by_the_record() -> None:
    rows = [
        {"id": "1", "status": "A", "approvalstatus": "2", "posting": "T", "voided": "F"},
        {"id": "2", "status": "D", "approvalstatus": "1", "posting": "F", "voided": "F"},
        {"id": "3", "status": "NEW", "posting": "F"},
    ]
    account = Account(
        on_query("FROM transaction", rows),
        on("GET", "/invoice/4", canned({"id": "4", "status": {"id": "E"}, "approvalStatus": {"id": "3"}})),
        on("GET", "/invoice/5", refused(404, "NONEXISTENT_ID")),
    )
    answer = await connect(account).statuses("invoice", ("1", "2", "3", "4", "5"))
    assert answer == {"1": "posted", "2": "created", "3": "created", "4": "post_rejected"}


async def test_periods_are_leaves_with_their_status() -> None:
    account = Account()
    account.tables["accountingperiod"] = [
        period("202", 2, arlocked="T"),
        period("200", 1, isyear="T"),
        period("201", 1, closed="T"),
        period("203", 3),
    ]
    periods = await connect(account).periods("1")
    assert [(one.id, one.name, one.status) for one in periods] == [
        ("201", "Jan 2026", "closed"),
        ("202", "Feb 2026", "locked"),
        ("203", "Mar 2026", "open"),
    ]


async def test_periods_by_record_where_the_account_lets_none_query_them() -> None:
    account = Account(
        lambda request: refused(400, "INVALID_PARAMETER") if b"accountingperiod" in request.body else None,
        on("GET", "accountingPeriod?limit", canned({"items": [{"id": "201"}], "hasMore": False})),
        on(
            "GET",
            "accountingPeriod/201",
            canned(
                {"id": "201", "periodName": "Jan 2026", "startDate": "2026-01-01", "endDate": "2026-01-31"}
            ),
        ),
    )
    (only,) = await connect(account).periods("1")
    assert (only.name, only.status) == ("Jan 2026", "open")


async def test_codes_and_credit_hold() -> None:
    account = Account(
        on("GET", "/customer/1?", canned({"creditHoldOverride": {"id": "ON"}})),
        on(
            "GET",
            "/customer/2?",
            canned({"id": "2", "creditHoldOverride": {"id": "AUTO"}, "balance": 5.01, "creditLimit": 5}),
        ),
        on(
            "GET",
            "/customer/3?",
            canned({"id": "3", "creditHoldOverride": {"id": "OFF"}, "balance": 9, "creditLimit": 5}),
        ),
        on("GET", "/customer/4?", refused(404, "NONEXISTENT_ID")),
    )
    connection = connect(account)
    assert await connection.codes("item") == {"PLATFORM-DEF", "ONBOARD-IMM"}
    assert [await connection.credit_hold(id) for id in "1234"] == [True, True, False, False]


async def test_documents_with_tax_period_and_applications() -> None:
    head = {"status": "B", "approvalstatus": "2", "posting": "T", "voided": "F", "day": "2026-01-31"}
    memo = {
        **head,
        "id": "8",
        "tranid": "CM8",
        "externalid": "K",
        "custbody_tieout_source": "cn_1",
        "custbody_tieout_reason": "voided",
        "postingperiod": "201",
        "foreigntotal": "-21.45",
        "foreignpaymentamountunused": "1.45",
        "symbol": "USD",
        "subsidiary": "1",
    }
    booked = [
        {"transaction": "8", "acctnumber": "1100", "amount": "-21.45", "functional": "-23.6"},
        {"transaction": "8", "acctnumber": "2200", "amount": "1.45", "functional": "1.595"},
        {"transaction": "8", "acctnumber": "2400", "amount": "20", "functional": "22.01"},
        {"transaction": "8", "acctnumber": "4000", "amount": "0", "functional": "0"},
        {"transaction": "8", "acctnumber": "7100", "amount": "0", "functional": "-0.01"},
    ]
    account = Account(
        on_query("tl.mainline = 'T'", [memo]),
        on_query("tl.taxline = 'T'", [{"transaction": "8", "tax": "1.45"}]),
        on_query("GROUP BY tl.transaction, a.acctnumber", booked),
        on_query("nexttransactionlinelink", [{"nextdoc": "8", "previousdoc": "7", "amount": "20"}]),
    )
    (listed,) = [one async for one in connect(account).documents("credit_memo")]
    assert (listed.total_minor, listed.tax_minor, listed.open_minor) == (2145, 145, 145)
    assert (listed.entity, listed.currency, listed.period) == ("us", "USD", "Jan 2026")
    assert (listed.source, listed.document_key, listed.settled) == ("cn_1", "K", (("7", 2000),))
    assert (listed.posted, listed.reason) == (True, "voided")
    assert listed.accounts == (
        ("1100", -2145, -2360),
        ("2200", 145, 160),
        ("2400", 2000, 2201),
        ("7100", 0, -1),
    )


def test_accounts_without_a_functional_currency_say_nothing() -> None:
    rows = [{"transaction": "8", "acctnumber": "1100", "amount": "1", "functional": "1"}]
    assert map_accounts(rows, "USD", "") == ()
    assert map_accounts(rows, "USD", "JPY") == (("1100", 100, 1),)


async def test_listing_goes_on_to_the_last_page_and_refuses_one_that_repeats() -> None:
    def row(id: int) -> dict[str, str]:
        return {"id": str(id), "day": "2026-01-31", "foreigntotal": "1", "symbol": "USD", "subsidiary": "1"}

    pages = [([row(1), row(2)], True), ([row(3)], False)]
    asked = []

    def answer(request: object) -> object:
        body = request.body.decode()  # type: ignore[attr-defined]
        if "mainline" in body:
            asked.append(body)
            rows, more = pages[len(asked) - 1]
            return canned({"items": rows, "hasMore": more})
        none = "taxline" in body or "acctnumber ORDER" in body
        return canned({"items": [], "hasMore": False}) if none else None

    connection = connect(Account(answer))  # type: ignore[arg-type]
    assert [one.id async for one in connection.documents("invoice")] == ["1", "2", "3"]
    assert "t.id > 0 " in asked[0]
    assert "t.id > 2 " in asked[1]
    asked.clear()
    pages[1] = ([row(2)], True)
    with pytest.raises(Failure) as failure:
        [one async for one in connection.documents("invoice")]
    assert "repeats" in str(failure.value)


async def test_trial_balance_beside_the_subledger_at_the_rates_of_what_is_settled() -> None:
    ledger = [
        {
            "subsidiary": "1",
            "postingperiod": "201",
            "acctnumber": "1100",
            "accttype": "AcctRec",
            "amount": "55",
        },
        {
            "subsidiary": "1",
            "postingperiod": "201",
            "acctnumber": "7100",
            "accttype": "OthIncome",
            "amount": "-1",
        },
    ]
    base = {"postingperiod": "201", "symbol": "EUR", "subsidiary": "1"}
    documents = [
        {**base, "id": "1", "type": "CustInvc", "foreigntotal": "100", "exchangerate": "1.10"},
        {**base, "id": "2", "type": "CustPymt", "foreigntotal": "50", "exchangerate": "1.12"},
    ]
    account = Account(
        on_query("transactionaccountingline", ledger),
        on_query("t.type IN", documents),
        on_query("nexttransactionlinelink", [{"nextdoc": "2", "previousdoc": "1", "amount": "50"}]),
    )
    receivables, gain = await connect(account).balances()
    assert (receivables.balance_minor, receivables.subledger_minor) == (5500, 5500)
    assert (receivables.entity, receivables.currency, receivables.period) == ("us", "USD", "Jan 2026")
    assert (gain.balance_minor, gain.subledger_minor) == (-100, None)


@pytest.mark.parametrize("body", ["<html>", b'{"items": [', b'{"count": 1}'])
async def test_malformed_read_is_read_again_later(body: object) -> None:
    account = Account(lambda request: canned(body) if "suiteql" in request.url else None)
    with pytest.raises(Failure) as failure:
        await connect(account).codes("item")
    assert isinstance(failure.value.outcome, Transient)


def jwt(**claims: object) -> str:
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"PS256"}', msgspec.json.encode(claims), b"signature")
    )


def test_the_token_tells_the_account() -> None:
    assert token_account(jwt(aud=["1A111AA1-AA11;1234567_SB1", "661131f7"])) == "1234567_SB1"
    assert token_account(jwt(aud="1A111AA1-AA11;1111, 661131f7")) == "1111"
    assert token_account("opaque") == ""
    assert canonical_account("1234567-sb1") == "1234567_SB1"
    assert [is_live(one) for one in ("1234567", "1234567_SB1", "1234567_RP2", "TSTDRV99")] == [
        True,
        False,
        False,
        False,
    ]


async def test_a_token_of_another_account_stops_the_connection() -> None:
    token = jwt(aud=["app;7654321", "client"])
    account = Account(on("POST", "/oauth2/v1/token", canned({"access_token": token, "expires_in": "3600"})))
    with pytest.raises(Failure) as failure:
        await connect(account).codes("item")
    outcome = failure.value.outcome
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "connection"
    assert "7654321" in outcome.message
    assert len(account.requests) == 1  # nothing was asked with it


async def test_identity_and_its_mismatch() -> None:
    identity = await connect(Account()).identity()
    assert (identity.organisation, identity.account, identity.live) == (
        "Tieout Demo Inc",
        "1234567_SB1",
        False,
    )
    with pytest.raises(Failure):
        await connect(Account(), live=True).identity()
    with pytest.raises(Failure):
        await connect(Account(), account="1234567_SB2").identity()


async def test_a_key_that_cannot_sign_is_not_shown() -> None:
    hidden = "-----BEGIN PRIVATE KEY-----\nabcsecret\n-----END PRIVATE KEY-----"
    with pytest.raises(Failure) as failure:
        await connect(Account(), private_key=Secret(hidden)).codes("item")
    assert isinstance(failure.value.outcome, Misconfigured)
    assert "abcsecret" not in repr(failure.value.outcome)
    assert failure.value.__cause__ is None
    assert "abcsecret" not in repr(config(private_key=Secret(hidden)))


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "RS256"},
        {"approval": {"1": "maybe"}},
        {"in_flight": 0},
        {"page_size": 1001},
        {"url": "netsuite"},
    ],
)
def test_wrong_configuration_says_what_to_write(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        config(**change)
    assert NetSuiteConfig.__struct_config__.forbid_unknown_fields
