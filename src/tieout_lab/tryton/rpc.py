"""The proving ground's own client of the server: JSON-RPC with its typed values, one blocking call at a time.

It shares nothing with the hub's connector: whoever judges the connector's work must not see with its eyes.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

OK, UNAUTHORIZED = 200, 401


class Refused(Exception):
    """The server answered with an error; the message is the server's."""


class Rpc:
    """One signed-in user of one database. `company` is the company that calls are made for."""

    def __init__(
        self, url: str, database: str, user: str, password: str, *, timeout_seconds: int = 60
    ) -> None:
        parts = urlsplit(url)
        self._where = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = f"/{database}/rpc/"
        self._timeout = timeout_seconds
        self._login = (user, password)
        self._header: dict[str, str] = {}
        self._id = 0
        self.context: dict[str, Any] = {}
        self._sign_in()
        self.company(None)

    def _sign_in(self) -> None:
        user, password = self._login
        self._header = {}
        user_id, token, *_ = self.call("common.db.login", user, {"password": password}, "en")
        session = base64.b64encode(f"{user}:{user_id}:{token}".encode()).decode()
        self._header = {"authorization": f"Session {session}"}
        self.user_id = int(user_id)

    def company(self, company: int | None) -> Rpc:
        """Work for a company from now on (None: the user's own)."""
        preferences = self.call("model.res.user.get_preferences", True, {})
        self.context = {name: value for name, value in preferences.items() if name != "locale"}
        if company is not None:
            self.context |= {"company": company}
        return self

    def call(self, method: str, *params: Any) -> Any:
        """One call with exactly these parameters; a session that has ended is begun anew. Raises Refused, OSError."""
        status, raw = self._asked(method, params)
        if status == UNAUTHORIZED and self._header:
            self._sign_in()
            status, raw = self._asked(method, params)
        if status != OK:
            raise Refused(f"{method}: {status} {raw[:200]!r}")
        given = json.loads(raw, object_hook=_untyped, parse_float=Decimal)
        if given.get("error"):
            raise Refused(f"{method}: {given['error'][:2]}")
        return given["result"]

    def _asked(self, method: str, params: tuple[Any, ...]) -> tuple[int, bytes]:
        self._id += 1
        body = json.dumps({"id": self._id, "method": method, "params": params}, default=_typed)
        link = http.client.HTTPConnection(*self._where, timeout=self._timeout)
        try:
            link.request("POST", self._path, body, {"content-type": "application/json", **self._header})
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def do(self, method: str, *params: Any, **context: Any) -> Any:
        """A call of a model, with the context at its end."""
        return self.call(f"model.{method}", *params, {**self.context, **context})

    def create(self, model: str, **values: Any) -> int:
        """One new record; answers its id."""
        return int(self.do(f"{model}.create", [values])[0])

    def rows(
        self, model: str, domain: list[Any], fields: list[str], order: Any = None
    ) -> list[dict[str, Any]]:
        """Every record that matches, by id where no order is asked for."""
        found: list[dict[str, Any]] = self.do(
            f"{model}.search_read", domain, 0, None, order or [["id", "ASC"]], fields
        )
        return found

    def wizard(self, name: str, *steps: tuple[str, Mapping[str, Any]], **context: Any) -> Any:
        """Run a wizard through its states; answers the last answer."""
        whole = {**self.context, **context}
        session, *_ = self.call(f"wizard.{name}.create", whole)
        answer = None
        for state, data in steps:
            answer = self.call(f"wizard.{name}.execute", session, dict(data), state, whole)
        self.call(f"wizard.{name}.delete", session, whole)
        return answer


def _typed(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, date) and not isinstance(value, datetime):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    raise TypeError(f"no typed value for {type(value).__name__}")


def _untyped(value: dict[str, Any]) -> Any:
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case _:
            return value
