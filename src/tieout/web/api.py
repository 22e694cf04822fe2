"""The JSON API: what stands, what happened, what waits for a person; and the commands, as an actor.

There is no sign-in yet: it answers this machine only (`app.py` sees to that), and in local mode answers say so.
"""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tieout.engine import registers
from tieout.engine.asking import Answer, ask_and_wait
from tieout.engine.hub import Hub
from tieout.engine.standing import Standing, standing
from tieout.processes.trace import Story, tell_trace
from tieout.store.statements import StoreUnavailable

ACTOR = "x-tieout-actor"
_MOST_EVENTS = 1000


def hub_of(state: State) -> Hub:
    """The hub that this application serves."""
    hub: Hub = state.hub
    return hub


@get("/status")
async def status(state: State) -> Standing:
    """How the hub stands; `quiet` is what a script waits for."""
    return await standing(hub_of(state))


@get("/trace/{term:path}")
async def trace(state: State, term: FromPath[str]) -> Response[Story]:
    """The story behind any id. 404 when the hub knows nothing of it, 300 when it means several things."""
    story = await tell_trace(hub_of(state), term.removeprefix("/"))
    code = 404 if not story.found else 300 if story.candidates else 200
    return Response(story, status_code=code)


@get("/exceptions")
async def exceptions(state: State, *, resolved: FromQuery[bool] = False) -> list[registers.OpenItem]:
    """What waits for a person, the oldest first."""
    return await registers.open_items(hub_of(state), resolved=resolved)


@get("/exceptions/{exception_id:str}")
async def exception(state: State, exception_id: FromPath[str]) -> registers.OpenItem:
    """One exception."""
    found = await registers.open_item(hub_of(state), exception_id)
    if found is None:
        raise NotFoundException(f"no exception {exception_id}")
    return found


@get("/approvals")
async def approvals(state: State) -> list[registers.Approval]:
    """Everything that was asked for."""
    return await registers.approvals(hub_of(state))


@get("/approvals/{approval_id:str}")
async def approval(state: State, approval_id: FromPath[str]) -> registers.Approval:
    """One approval with its whole payload."""
    found = await registers.approval(hub_of(state), approval_id)
    if found is None:
        raise NotFoundException(f"no approval {approval_id}")
    return found


@get("/events")
async def events(state: State, limit: FromQuery[int] = 50) -> list[registers.TakenEvent]:
    """The latest events."""
    return await registers.events(hub_of(state), max(1, min(limit, _MOST_EVENTS)))


@post("/exceptions/{exception_id:str}/{action:str}")
async def on_exception(
    request: Request[Any, Any, Any],
    state: State,
    exception_id: FromPath[str],
    action: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> Response[Answer]:
    """`retry`, `resolve` (with `period` or `accept` asks for the approval it takes), `defer` (`until`, `reason`)."""
    if action not in ("retry", "resolve", "defer"):
        raise NotFoundException(f"no action {action!r}: retry, resolve or defer")
    return await _carry_out(request, state, f"exceptions.{action}", {**data, "exception_id": exception_id})


@post("/approvals/{approval_id:str}/{verdict:str}")
async def on_approval(
    request: Request[Any, Any, Any],
    state: State,
    approval_id: FromPath[str],
    verdict: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> Response[Answer]:
    """`approve` or `reject`, with a `reason`."""
    if verdict not in ("approve", "reject"):
        raise NotFoundException(f"no verdict {verdict!r}: approve or reject")
    arguments = {**data, "approval_id": approval_id, "approve": verdict == "approve"}
    return await _carry_out(request, state, "approvals.decide", arguments)


@post("/replay")
async def replay(
    request: Request[Any, Any, Any], state: State, data: JSONBody[dict[str, Any]]
) -> Response[Answer]:
    """Run a document again: `subject` (connection|kind|id), `reason`, `repost`."""
    if not data.get("subject"):
        raise HTTPException("name the `subject`: connection|kind|id", status_code=400)
    return await _carry_out(request, state, "replay", data)


async def _carry_out(
    request: Request[Any, Any, Any], state: State, name: str, arguments: dict[str, Any]
) -> Response[Answer]:
    """A command of an actor; refused with 409 and the reason, 202 while nobody has executed it."""
    actor = request.headers.get(ACTOR, "").strip()
    if not actor:
        raise HTTPException("say who acts: the header X-Tieout-Actor is missing", status_code=400)
    answer = await ask_and_wait(hub_of(state), name, arguments, actor)
    code = {"done": 200, "waiting": 202}.get(answer.state, 409)
    return Response(answer, status_code=code)


@get("/metrics", media_type=MediaType.TEXT)
async def metrics(state: State) -> Response[bytes]:
    """Prometheus."""
    return Response(generate_latest(hub_of(state).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@get("/healthz", media_type=MediaType.TEXT)
async def healthz() -> str:
    """The process lives."""
    return "ok\n"


@get("/readyz", media_type=MediaType.TEXT)
async def readyz(state: State) -> Response[str]:
    """The store answers, so webhooks can be taken."""
    try:
        await standing(hub_of(state))
    except StoreUnavailable as error:
        return Response(f"the store does not answer: {error}\n", status_code=503)
    return Response("ok\n")


router = Router(
    "/api",
    route_handlers=[
        status,
        trace,
        exceptions,
        exception,
        approvals,
        approval,
        events,
        on_exception,
        on_approval,
        replay,
    ],
)
open_to_all = [metrics, healthz, readyz]
