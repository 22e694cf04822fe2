"""What a refusal means. By the vendor's code first; the text comes last, because it is localised and unstable."""

from __future__ import annotations

import re

import msgspec

from tieout.connectors.http import BadBody
from tieout.connectors.netsuite.wire import Structs, read
from tieout.ports import Response

# An external id or record that is there already.
DUPLICATE = frozenset({"DUP_RCRD", "DUP_EXTERNAL_ID", "DUP_RECORD"})
# Somebody saved the same record meanwhile: nothing was done, read again and send again.
CHANGED_MEANWHILE = frozenset({"RCRD_HAS_BEEN_CHANGED"})
# The account's concurrency limit, in its REST, RESTlet and SOAP forms.
CONCURRENCY = frozenset(
    {
        "CONCURRENCY_LIMIT_EXCEEDED",
        "TOO_MANY_REQUESTS",
        "SSS_REQUEST_LIMIT_EXCEEDED",
        "WS_REQUEST_BLOCKED",
        "WS_CONCUR_SESSION_DISALLWD",
    }
)
# The idempotency key of an asynchronous request was used before; Location names that job.
KEY_USED = frozenset({"IDEMPOTENCY_ERROR"})
# The period is closed or locked, where the vendor has a code of its own for it (enumeration of status details).
PERIOD_CLOSED = frozenset({"TRAN_PRD_CLOSED", "TRAN_PERIOD_CLOSED"})
# Business rules without a code: asked of the period itself, then of these words (data, English accounts only).
CATCH_ALL = frozenset({"USER_ERROR", "INVALID_CONTENT", "INVALID_VALUE"})
PERIOD_WORDS = (
    ("period", "closed"),
    ("period", "locked"),
    ("not within the date range of your accounting period",),
)


class Refusal(msgspec.Struct, frozen=True):
    """The first code, and the vendor's words with the path that they are about; `paths` are all of those, `status` the
    one that the body names. `documented` is False when the body is not the vendor's own (a gateway's page)."""

    code: str
    message: str
    documented: bool = True
    paths: tuple[str, ...] = ()
    status: int = 0


def refusal(response: Response) -> Refusal:
    """The refusal in an answer of 4xx or 5xx."""
    try:
        body = read(Structs.error, response.body)
    except BadBody:
        return Refusal("", "a body that is not the vendor's", documented=False)
    if not body.details:
        return Refusal(body.error, body.title or body.error, documented=bool(body.title or body.error))
    words = "; ".join(f"{one.detail} ({one.path})" if one.path else one.detail for one in body.details)
    paths = tuple(one.path for one in body.details)
    return Refusal(body.details[0].code, words, paths=paths, status=body.status)


def login_error(response: Response) -> str:
    """The `error` of a WWW-Authenticate header, `token_rejected` or `invalid_token` for instance; else empty."""
    found = re.search(r'\berror="([^"]*)"', response.headers.get("www-authenticate", ""))
    return found[1] if found else ""


def speaks_of_period(message: str) -> bool:
    """Whether the words are those of a closed period."""
    text = message.lower()
    return any(all(word in text for word in words) for words in PERIOD_WORDS)
