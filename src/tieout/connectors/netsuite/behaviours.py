"""What we rely on of NetSuite, each with its source and state."""

from __future__ import annotations

from tieout.connectors.contract import Behaviour

HELP = "NetSuite online help"
BROWSER = "REST API Browser 2026.1"


def _one(id: str, state: str, source: str, text: str) -> Behaviour:
    return Behaviour(id=f"netsuite.{id}", text=text, source=source, state=state)


BEHAVIOURS = (
    _one(
        "eid-insert-only",
        "assumed",
        "field experience",
        "A POST with an external id in use is refused (DUP_RCRD).",
    ),
    _one("eid-upsert", "documented", HELP, "PUT of a customer by eid: creates it, or updates the same one."),
    _one(
        "sync-key-ignored", "documented", HELP, "The idempotency key counts for asynchronous requests only."
    ),
    _one("longest-execution", "documented", HELP, "A synchronous request runs at most 15 minutes."),
    _one("visibility", "assumed", "none", "A query shows a saved document within `visibility_seconds`."),
    _one("record-read", "assumed", "none", "A record read by internal id is current at once."),
    _one("token-account", "documented", HELP, "The access token's `aud` names application id and account."),
    _one("location", "documented", HELP, "A create answers 204 with the new id at the end of Location."),
    _one(
        "unknown-property", "documented", HELP, "PropertyNameValidation: Error refuses a mistyped field name."
    ),
    _one(
        "tax-override",
        "assumed",
        BROWSER,
        "taxDetailsOverride takes taxDetails as they are, computing nothing.",
    ),
    _one(
        "amount-wins",
        "assumed",
        "field experience",
        "A line with quantity and amount, no rate, keeps the amount.",
    ),
    _one(
        "replace-apply",
        "documented",
        HELP,
        "PATCH ?replace=apply makes the apply list what the request says.",
    ),
    _one("auto-apply", "assumed", BROWSER, "autoApply false leaves a payment or credit memo unapplied."),
    _one("approve", "assumed", BROWSER, "PATCH approvalStatus 2 approves, and a second one changes nothing."),
    _one(
        "approval-routing",
        "assumed",
        BROWSER,
        "With routing on a new document is pending (status D), unposted.",
    ),
    _one(
        "period-codes",
        "assumed",
        "SOAP status codes",
        "A closed period is USER_ERROR, at times TRAN_PRD_CLOSED.",
    ),
    _one(
        "login-refused-header",
        "documented",
        HELP,
        "A refused token is a 401 whose WWW-Authenticate header names the error.",
    ),
    _one(
        "tba-nonce",
        "documented",
        HELP,
        "Each call of token-based sign-in needs a nonce and a time of its own.",
    ),
    _one(
        "batch-idempotency",
        "documented",
        HELP,
        "The same key on a second asynchronous request is refused with the Location of the first one's job.",
    ),
    _one("batch-size", "documented", HELP, "A batch holds at most 100 records of one type."),
    _one(
        "batch-tasks",
        "assumed",
        "other connectors",
        "A batch has one task for each record, in no order that we use.",
    ),
    _one(
        "batch-results",
        "assumed",
        "none",
        "The result of a task is the answer that the record's own request would get.",
    ),
    _one(
        "item-account",
        "assumed",
        BROWSER,
        "A line leads to its item's deferred revenue account where it has one, else to its income account.",
    ),
    _one(
        "transform-replace",
        "assumed",
        BROWSER,
        "replace= makes the sublists of a transformation what the request says.",
    ),
    _one(
        "query-rows", "documented", HELP, "A query shows at most 100,000 rows; keyed by id there is no limit."
    ),
    _one("invalid-login-overload", "assumed", "issue reports", "Overload can show as 401 INVALID_LOGIN."),
    _one("rejected-concurrency", "documented", HELP, "429 or CONCURRENCY_LIMIT_EXCEEDED: nothing was done."),
    _one(
        "suiteql-types",
        "assumed",
        "field experience",
        "Query values are text, booleans T and F, nulls left out.",
    ),
    _one(
        "payment-links",
        "assumed",
        "field experience",
        "Applications are lines of type Payment in the link table.",
    ),
    _one(
        "currency-precision",
        "documented",
        HELP,
        "An account keeps each currency with two decimals or with none, as its record says, and rounds to them.",
    ),
    _one(
        "credit-hold-auto",
        "assumed",
        BROWSER,
        "A customer shows creditHoldOverride (AUTO unless set), creditLimit and the balance that is open now.",
    ),
)
