"""A client of the Salesforce twin made from the documented requests alone, and a clock that tests move by hand."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from tests.conformance.support import Served, serve
from tieout_lab.twins.salesforce import SalesforceTwin

V = "/services/data/v68.0"
START = datetime(2026, 11, 23, 13, 20, 9, tzinfo=UTC)


class HandClock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.day = START

    def business(self) -> datetime:
        return self.day

    def technical(self) -> datetime:
        return self.now

    def set_business(self, moment: datetime) -> None:
        self.day = moment

    async def sleep(self, technical_seconds: float) -> None:
        self.now += timedelta(seconds=technical_seconds)

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Reply:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return str(self.body[0]["errorCode"])


class Org:
    """One twin behind a socket and a signed-in client of it."""

    def __init__(self, served: Served, clock: HandClock) -> None:
        self.served = served
        self.twin: SalesforceTwin = served.app
        self.clock = clock
        self.about = self.twin.describe(served.url)
        self.token = ""

    def raw(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        request = urllib.request.Request(
            self.served.url + path, data=data, method=method, headers=headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as error:
            with error:
                return self._read(error)

    def _read(self, answer: Any) -> Reply:
        text = answer.read().decode()
        return Reply(answer.status, json.loads(text) if text else None, answer.headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A call of the data API: a path below the version, or a whole one."""
        every = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        return self.raw(method, path if path.startswith("/services") else V + path, data, every)

    def post_form(self, form: dict[str, str], **headers: str) -> Reply:
        every = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.raw("POST", "/services/oauth2/token", urlencode(form).encode(), every)

    def sign_in(self) -> str:
        form = {"client_id": self.about["consumer_key"], "client_secret": self.about["client_secret"]}
        self.token = self.post_form({"grant_type": "client_credentials", **form}).body["access_token"]
        return self.token

    def assertion(self, *, alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        usual = {"iss": self.about["consumer_key"], "sub": self.about["username"], "aud": self.served.url}
        usual |= {"exp": int(self.clock.now.timestamp()) + 180, **claims}
        parts = [json.dumps(part).encode() for part in ({"alg": alg, "typ": "JWT"}, usual)]
        signed = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        key = key or serialization.load_pem_private_key(self.about["private_key"].encode(), None)
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return signed + "." + base64.urlsafe_b64encode(signature).decode().rstrip("=")

    def bearer(self, **claims: Any) -> Reply:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return self.post_form({"grant_type": grant, "assertion": self.assertion(**claims)})

    def query(self, soql: str, *, deleted: bool = False, **headers: str) -> Reply:
        resource = "queryAll" if deleted else "query"
        return self.call("GET", f"/{resource}?q={quote(soql)}", **headers)

    def rows(self, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        reply = self.query(soql, deleted=deleted)
        assert reply.status == 200, reply.body
        found: list[dict[str, Any]] = reply.body["records"]
        return found

    def act(self, action: str, **given: Any) -> Any:
        return self.served.control("POST", f"act/{action}", given)

    def account(self, name: str = "Acme", **more: Any) -> str:
        return str(self.act("create_account", name=name, currency="USD", **more)["id"])

    def deal(self, account: str, **more: Any) -> dict[str, Any]:
        lines = [{"product": "PLATFORM", "quantity": 10, "unit_price": "50.00"}]
        usual = {"name": "Deal", "currency": "USD", "legal_entity": "us", "contract_start": "2026-12-01"}
        usual |= {
            "term_months": 12,
            "billing_frequency": "Monthly",
            "close_date": "2026-11-20",
            "lines": lines,
        }
        made: dict[str, Any] = self.act("create_deal", account=account, **{**usual, **more})
        return made


@contextmanager
def open_org(**options: Any) -> Iterator[Org]:
    """A fresh org behind a socket, with a signed-in client."""
    clock = HandClock()
    with serve(SalesforceTwin(clock, **options)) as served:
        org = Org(served, clock)
        org.sign_in()
        yield org


def shape(value: Any) -> Any:
    """Keys and JSON types of a value; of a list the shape of its first element."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def quoted(text: str) -> str:
    """A SOQL string literal by the documented escapes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return "'" + escaped.replace("\t", "\\t") + "'"
