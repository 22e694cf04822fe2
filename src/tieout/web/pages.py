"""Two pages to read: the story behind an id, and what waits for a person. They work without a line of script."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response, get
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from tieout.engine.registers import OpenItem, open_item, open_items
from tieout.engine.standing import standing
from tieout.processes.trace import money, tell_trace
from tieout.web.api import hub_of

_HERE = Path(__file__).parent


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = lambda at: f"{at:%Y-%m-%d %H:%M:%S}"
    environment.globals["trace_url"] = trace_url
    return environment


def trace_url(term: str) -> str:
    """Where an id's story stands."""
    return f"/trace/{quote(term, safe='')}"


_STYLE = (_HERE / "static" / "tieout.css").read_bytes()
_templates = _environment()


def _page(name: str, *, status_code: int = 200, **values: Any) -> Response[str]:
    text = _templates.get_template(name).render(**values)
    return Response(text, media_type=MediaType.HTML, status_code=status_code)


@get("/")
async def home() -> Redirect:
    """What waits for a person comes first."""
    return Redirect("/exceptions")


@get("/search")
async def search(q: FromQuery[str] = "") -> Redirect:
    """The search box: any id of any system."""
    return Redirect(trace_url(q.strip()) if q.strip() else "/trace")


@get("/trace")
async def trace_start(state: State) -> Response[str]:
    """No id yet: what one could be."""
    return _page("trace_start.html", title="Trace", term="", mode=_mode(state))


@get("/trace/{term:path}")
async def trace_page(state: State, term: FromPath[str]) -> Response[str]:
    """The whole story behind an id."""
    term = term.removeprefix("/")
    story = await tell_trace(hub_of(state), term)
    code = 200 if story.found else 404
    return _page("trace.html", status_code=code, title=term, term=term, story=story, mode=_mode(state))


@get("/exceptions")
async def exceptions_page(state: State) -> Response[str]:
    """What waits for a person: the document first, then amount, cause, remedy, age."""
    hub = hub_of(state)
    items = await open_items(hub)
    return _page(
        "exceptions.html",
        title="Exceptions",
        term="",
        items=items,
        sums=sums(items),
        standing=await standing(hub),
        mode=_mode(state),
    )


@get("/exceptions/{exception_id:str}")
async def exception_page(state: State, exception_id: FromPath[str]) -> Response[str]:
    """One exception, whole."""
    item = await open_item(hub_of(state), exception_id)
    code = 404 if item is None else 200
    return _page(
        "exception.html",
        status_code=code,
        title="Exception",
        term="",
        item=item,
        wanted=exception_id,
        mode=_mode(state),
    )


@get("/static/tieout.css", media_type=MediaType.CSS)
async def style() -> Response[bytes]:
    """The one style sheet."""
    return Response(_STYLE, media_type="text/css; charset=utf-8", headers={"cache-control": "max-age=3600"})


def sums(items: list[OpenItem]) -> list[str]:
    """What is open in each currency, never added across currencies."""
    totals: dict[str, int] = defaultdict(int)
    for item in items:
        if item.amount_minor is not None and item.currency:
            totals[item.currency] += item.amount_minor
    return [money(total, currency) for currency, total in sorted(totals.items())]


def _mode(state: State) -> str:
    return "local mode: single operator, no segregation of duties" if hub_of(state).single_operator else ""


handlers = [home, search, trace_start, trace_page, exceptions_page, exception_page, style]
