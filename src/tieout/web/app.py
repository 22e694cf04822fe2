"""The ASGI application: webhooks on a bare route before the framework, then API and pages.

Webhooks, health and metrics answer everybody; the rest answers this machine only, in every mode, while there is no
sign-in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from tieout.app import App
from tieout.store.statements import StoreUnavailable
from tieout.web import api, pages
from tieout.web.hooks import PREFIX, Hooks, Message, Receive, Scope, Send, refuse

log = structlog.get_logger("tieout.web")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OPEN = ("/metrics", "/healthz", "/readyz")
_SECURITY = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class Web:
    """What uvicorn serves."""

    def __init__(self, app: App, wake: Callable[[], None]) -> None:
        self._hooks = Hooks(app.hub, app.settings.web.max_body_bytes, wake, app.accept)
        self._names = LOOPBACK | {app.settings.web.host}
        self._rest = Litestar(
            route_handlers=[api.router, *api.open_to_all, *pages.handlers],
            state=State({"hub": app.hub}),
            openapi_config=None,
            logging_config=None,
            request_max_body_size=app.settings.web.max_body_bytes,
            exception_handlers={HTTPException: _refused, StoreUnavailable: _unavailable, Exception: _bug},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith(PREFIX):
                await self._hooks(scope, receive, send)
                return
            if path not in _OPEN and (why := self._stranger(scope)):
                await refuse(send, 403, why)
                return
            send = _secured(send, cacheable=path.startswith("/static/"))
        await self._rest(scope, receive, send)  # type: ignore[arg-type]

    def _stranger(self, scope: Scope) -> str:
        """Why a request is turned away: not of this machine, or sent here under a foreign name by a web page."""
        client = scope.get("client")
        if client is not None and client[0] not in LOOPBACK:
            return "pages and API answer this machine only: there is no sign-in yet"
        host = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"host"), "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.strip("[]") not in self._names:
            return f"pages and API answer under the names {', '.join(sorted(self._names))}, not {name!r}"
        return ""


def _secured(send: Send, *, cacheable: bool) -> Send:
    extra = _SECURITY if cacheable else [*_SECURITY, (b"cache-control", b"no-store")]

    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *extra]
        await send(message)

    return secured


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    return Response({"error": error.detail}, status_code=error.status_code)


def _unavailable(_: Request[Any, Any, Any], error: StoreUnavailable) -> Response[dict[str, str]]:
    return Response({"error": f"the store does not answer: {error}"}, status_code=503)


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """Told to the log; whoever asked learns no more than that."""
    log.error("bug", path=request.url.path, exc_info=error)
    return Response({"error": "this is a bug; the log has it"}, status_code=500)
