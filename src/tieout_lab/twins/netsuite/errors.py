"""The vendor's error body and the exception that carries one through the twin.

Shape (documented): `{type, title, status, "o:errorDetails": [{detail, "o:errorCode", "o:errorPath"?, "o:errorUrl"?,
"o:errorHeader"?, "o:errorQueryParam"?}]}`. Texts that only a real account can confirm are marked ASSUMED.
"""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.kit import Response
from tieout_lab.twins.netsuite.values import encode

RFC9110 = "https://www.rfc-editor.org/rfc/rfc9110.html#section-"
RFC2616 = "https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html"
ERROR_TYPE = "application/vnd.oracle.resource+json; type=error"

_KNOWN: dict[int, tuple[str, str]] = {
    400: (RFC9110 + "15.5.1", "Bad Request"),
    401: (RFC9110 + "15.5.2", "Unauthorized"),
    403: (RFC9110 + "15.5.4", "Forbidden"),
    404: (RFC9110 + "15.5.5", "Not Found"),
    405: (RFC9110 + "15.5.6", "Method Not Allowed"),
    415: (RFC9110 + "15.5.16", "Unsupported Media Type"),
    # The vendor's published sample of this one says "Bad Request" with status 429.
    429: (RFC2616, "Bad Request"),
    500: (RFC9110 + "15.6.1", "Internal Server Error"),
}

PLACES = {"path": "o:errorPath", "url": "o:errorUrl", "header": "o:errorHeader", "query": "o:errorQueryParam"}


class Refusal(Exception):
    """A request that the vendor would refuse. `place` is one of path, url, header, query with its value."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 400,
        title: str | None = None,
        headers: dict[str, str] | None = None,
        path: str | None = None,
        url: str | None = None,
        header: str | None = None,
        query: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.code, self.detail, self.status, self.title = code, detail, status, title
        self.place = {"path": path, "url": url, "header": header, "query": query}
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer that carries this refusal."""
        return problem(
            self.status, self.code, self.detail, title=self.title, headers=self.headers, place=self.place
        )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    headers: dict[str, str] | None = None,
    place: dict[str, str | None] | None = None,
) -> Response:
    """An error answer in the vendor's shape."""
    kind, known_title = _KNOWN.get(status, (RFC9110 + "15", "Error"))
    entry: dict[str, Any] = {"detail": detail}
    entry.update({PLACES[name]: value for name, value in (place or {}).items() if value is not None})
    entry["o:errorCode"] = code
    body = {"type": kind, "title": title or known_title, "status": status, "o:errorDetails": [entry]}
    return Response(status, encode(body), {"content-type": ERROR_TYPE, **(headers or {})})


def user_error(detail: str, *, path: str | None = None) -> Refusal:
    """The vendor's catch-all for business rules."""
    return Refusal("USER_ERROR", f"Error while accessing a resource. {detail}", path=path)


def missing(label: str, *, path: str | None = None) -> Refusal:
    """A mandatory field without a value; the vendor names the label of the form."""
    return user_error(f"Please enter value(s) for: {label}.", path=path)


def invalid_value(value: object, field: str, path: str) -> Refusal:
    """A value that the field does not take (unknown or inactive reference, wrong type)."""
    return Refusal(
        "INVALID_CONTENT",
        f"Error while accessing a resource. You have entered an Invalid Field Value {value} "
        f"for the following field: {field}",
        path=path,
    )


def invalid_key(field: str, value: str, scope: str, scope_id: str, path: str) -> Refusal:
    """A reference that exists but not for this subsidiary or customer."""
    return Refusal(
        "INVALID_CONTENT",
        f"Error while accessing a resource. Invalid {field} reference key {value} for {scope} {scope_id}.",
        path=path,
    )


def no_line(sublist: str, keys: str, values: str, path: str) -> Refusal:
    """A sublist line that is not there to be changed or applied (paid, pending, another customer's)."""
    return Refusal(
        "INVALID_CONTENT",
        f"Error while accessing a resource. Unable to find a matching line for sublist {sublist} "
        f"with key: [{keys}] and value: [{values}].",
        path=path,
    )


def login(challenge: str = "") -> Response:
    """The vendor's 401, whatever was wrong with the token; `challenge` is its WWW-Authenticate header."""
    return problem(
        401,
        "INVALID_LOGIN",
        "Invalid login attempt. For more details, see the Login Audit Trail in the NetSuite UI at "
        "Setup > Users/Roles > User Management > View Login Audit Trail.",
        headers={"www-authenticate": challenge} if challenge else None,
    )


def too_many() -> Response:
    """The vendor's 429. It names no time to wait."""
    return problem(429, "CONCURRENCY_LIMIT_EXCEEDED", "Concurrent request limit exceeded. Request blocked.")


def unexpected() -> Response:
    """The vendor's 500."""
    return problem(
        500,
        "UNEXPECTED_ERROR",
        "An unexpected error occurred. Error ID: twin. Please contact customer support.",
    )


def no_instance(type_: str, id_: str) -> Refusal:
    """404 of an internal id or of `eid:<external id>`."""
    if id_.startswith("eid:"):
        detail = f"The record instance for external ID '{id_[4:]}' does not exist. "
    else:
        detail = "The record instance does not exist. "
    detail += "Provide a valid record instance ID."
    return Refusal("NONEXISTENT_ID", detail, status=404, url=f"/services/rest/record/v1/{type_}/{id_}")


def forbidden(detail: str, *, path: str | None = None) -> Refusal:
    """403: the role lacks a permission."""
    return Refusal("INSUFFICIENT_PERMISSION", detail, status=403, path=path)
