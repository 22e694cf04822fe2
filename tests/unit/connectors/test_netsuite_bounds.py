"""Batches that are not taken, listings without an end, redirects, answers too large, items that lead elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.conformance.support import canned
from tests.unit.connectors.netsuite_world import KEYS, Account, connect, invoice, made, on, refused
from tieout.canonical.outcome import Confirmed, Failure, Misconfigured, RateLimited, Rejected, Transient
from tieout.connectors.contract import Keys
from tieout.connectors.netsuite import client as limits
from tieout.ports import Request, Response, TransportError

OTHER = Keys(effect="e2", document="K7Q2M0V9ZT3HC4XB", wire="w-2")
ITEMS = [(invoice(), KEYS), (invoice(), OTHER)]


async def test_an_item_of_the_request_that_is_refused_lets_the_others_go_again() -> None:
    said = refused(400, "INVALID_CONTENT", "no such field", "items[1].item.items[0].item")
    account = Account(on("POST", "/record/v1/invoice", said))
    answer = await connect(account).send_many("invoice.create", ITEMS, "b")
    assert isinstance(answer[KEYS.document], Transient)
    rejected = answer[OTHER.document]
    assert isinstance(rejected, Rejected)
    assert "no such field" in rejected.message


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (refused(400, "INVALID_HEADER", "not here"), Misconfigured),
        (refused(400, "INVALID_CONTENT", "?", "items[7].x"), Misconfigured),
        (refused(429, "CONCURRENCY_LIMIT_EXCEEDED"), RateLimited),
        (refused(503, "SERVICE_UNAVAILABLE"), Transient),
        (canned(b"", 302, location="https://elsewhere.test/"), Misconfigured),
        (TransportError("no connection", sent=False), Transient),
    ],
)
async def test_a_batch_that_is_not_taken(said: Response | TransportError, kind: type) -> None:
    account = Account(on("POST", "/record/v1/invoice", said))
    answer = await connect(account).send_many("invoice.create", ITEMS, "b")
    assert {type(one) for one in answer.values()} == {kind}
    assert len(answer) == 2
    assert len(account.sent("POST")) == 1


@pytest.mark.parametrize(
    "said",
    [
        refused(500, "UNEXPECTED_ERROR"),
        canned(b"<html></html>", 502),
        canned(b"", 202),  # no job
        canned(b"", 202, location="https://1234567-sb1.suitetalk.api.netsuite.com/services/rest/other/1"),
        TransportError("reset", sent=True),
    ],
)
async def test_a_submission_of_which_nothing_is_known_is_unknown(said: Response | TransportError) -> None:
    account = Account(on("POST", "/record/v1/invoice", said))
    assert await connect(account).send_many("invoice.create", ITEMS, "b") == {}


async def test_the_idempotency_key_is_a_uuid_of_the_batch_alone() -> None:
    account = Account(on("POST", "/record/v1/invoice", refused(429, "CONCURRENCY_LIMIT_EXCEEDED")))
    connection = connect(account)
    for batch in ("b", "b", "c"):
        await connection.send_many("invoice.create", ITEMS, batch)
    first, again, other = [one.headers["x-netsuite-idempotency-key"] for one in account.sent("POST")]
    assert first == again != other
    assert len(first) == 36


def _pages(*pages: list[dict[str, Any]]) -> Account:
    """An account whose item table comes in these pages, the last of them for ever."""
    left = list(pages)

    def answer(request: Request) -> Response | None:
        if "/suiteql" not in request.url or "FROM item" not in request.body.decode():
            return None
        rows = left.pop(0) if len(left) > 1 else left[0]
        return canned({"items": rows, "hasMore": True})

    return Account(answer)


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([[{"id": "1", "itemid": "A"}]], "repeats"),
        ([[{"id": "2", "itemid": "B"}, {"id": "1", "itemid": "A"}]], "out of order"),
        ([[{"id": "1", "itemid": "A"}], []], "there is more"),
    ],
)
async def test_a_listing_that_does_not_end_is_refused(pages: list[list[dict[str, str]]], words: str) -> None:
    with pytest.raises(Failure) as failure:
        await connect(_pages(*pages)).codes("item")
    assert isinstance(failure.value.outcome, Transient)
    assert words in failure.value.outcome.reason


async def test_more_rows_than_the_vendor_shows_are_not_taken_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ROWS", 4)
    count = iter(range(100))

    def answer(request: Request) -> Response | None:
        if "/suiteql" not in request.url:
            return None
        rows = [{"id": str(next(count))}, {"id": str(next(count))}]
        return canned({"items": rows, "hasMore": True})

    with pytest.raises(Failure) as failure:
        await connect(Account(answer)).client.query("SELECT id FROM transaction")
    assert isinstance(failure.value.outcome, Rejected)
    assert failure.value.outcome.code == "TOO_MANY_ROWS"


async def test_a_redirect_is_never_followed() -> None:
    away = canned(b"", 307, location="https://elsewhere.test/services/rest/record/v1/invoice")
    account = Account(on("POST", "/record/v1/invoice", away), on("POST", "suiteql?", away))
    connection = connect(account)
    with pytest.raises(Failure) as failure:
        await connection.codes("item")
    assert isinstance(failure.value.outcome, Misconfigured)
    assert "redirect" in failure.value.outcome.message
    assert not any("elsewhere" in one.url for one in account.requests)


async def test_an_answer_larger_than_its_limit_is_refused_with_the_reason() -> None:
    too_large = TransportError("an answer of more than 20000000 bytes", sent=True)
    with pytest.raises(Failure) as failure:
        await connect(Account(on("POST", "/suiteql", too_large))).codes("item")
    assert isinstance(failure.value.outcome, Transient)
    assert "more than 20000000 bytes" in failure.value.outcome.reason


async def test_an_item_that_leads_elsewhere_than_the_rule_posts_nothing() -> None:
    account = Account(on("POST", "/record/v1/invoice", made(647)))
    account.tables["item"] = [{**row, "incomeaccount": "400"} for row in account.tables["item"]]
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Misconfigured)
    assert (outcome.scope, outcome.key) == ("mapping", "netsuite-main|item|PLATFORM-DEF")
    assert "leads to account 4000, the rule says 2400" in outcome.message
    assert account.sent("POST") == []


async def test_the_deferred_account_of_an_item_outranks_its_income_account() -> None:
    account = Account(on("POST", "/record/v1/invoice", made(647)))
    deferred = {"id": "51", "itemid": "PLATFORM-DEF", "incomeaccount": "400", "deferredrevenueaccount": "240"}
    account.tables["item"] = [deferred, account.tables["item"][1]]
    assert isinstance(await connect(account).send("invoice.create", invoice(), KEYS), Confirmed)


async def test_a_credit_memo_is_made_out_of_its_invoice_where_the_account_is_so_configured() -> None:
    account = Account(on("POST", "/!transform/creditMemo", made(9, "creditMemo")))
    memo = invoice(kind="credit_memo", reason="credited", due=None, applies_to=(("647", 500),))
    outcome = await connect(account, transform_credits=True).send("credit_memo.create", memo, KEYS)
    assert isinstance(outcome, Confirmed)
    (request,) = account.sent("POST")
    assert request.url.endswith("/invoice/647/!transform/creditMemo?replace=item,taxDetails,apply")
    assert msgspec.json.decode(request.body)["externalId"] == KEYS.document


async def test_an_account_without_deferred_accounts_is_asked_without_them() -> None:
    account = Account(
        lambda request: (
            refused(400, "INVALID_PARAMETER", "Unknown identifier")
            if b"deferredrevenueaccount" in request.body
            else None
        ),
        on("POST", "/record/v1/invoice", made(647)),
    )
    assert isinstance(await connect(account).send("invoice.create", invoice(), KEYS), Confirmed)
