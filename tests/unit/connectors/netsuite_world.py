"""What the unit tests of this connector share: a configuration, keys, writes, and an account that answers by rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.support import canned
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.secret import Secret
from tieout.canonical.write import DocumentLine, DocumentWrite, TaxDetail
from tieout.connectors.contract import Keys, World
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.connection import NetSuite, open_connection
from tieout.ports import Request, Response, TransportError

KEYS = Keys(
    effect="co|netsuite-main|invoice.create|in_1", document="K7Q2M0V9ZT3HC4XA", wire="w-1", trace="tr-1"
)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
RECORDS = "/services/rest/record/v1/"


@cache
def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def config(**changes: Any) -> NetSuiteConfig:
    given: dict[str, Any] = {
        "url": "https://1234567-sb1.suitetalk.api.netsuite.com",
        "account": "1234567_SB1",
        "live": False,
        "client_id": "client",
        "certificate_id": "certificate",
        "private_key": Secret(private_key()),
        "algorithm": "ES256",
        "approval": {"1": "off", "2": "person"},
        "currencies": {"1": "USD", "2": "JPY"},
        "entities": {"1": "us", "2": "jp"},
    }
    return NetSuiteConfig(**{**given, **changes})


def invoice(**changes: Any) -> DocumentWrite:
    tax = TaxDetail(
        code="CA_725", jurisdiction="US-CA", rate_percent=Decimal("7.25"), basis_minor=120050, tax_minor=8704
    )
    given: dict[str, Any] = {
        "kind": "invoice",
        "reason": "finalised",
        "source": Ref(connection="billing", kind="invoice", id="in_1"),
        "number": "INV-0001",
        "entity": "us",
        "subsidiary": "1",
        "customer": "901",
        "currency": "USD",
        "day": date(2026, 1, 31),
        "due": date(2026, 3, 2),
        "lines": (
            DocumentLine(
                item="PLATFORM-DEF",
                account="2400",
                description="Platform, 10 seats",
                quantity=Decimal("1E+1"),
                net_minor=120050,
                department="Sales",
                service_start=date(2026, 1, 31),
                service_end=date(2026, 2, 27),
                taxes=(tax,),
                source_line="il_1",
            ),
            DocumentLine(
                item="ONBOARD-IMM",
                account="4000",
                description="Rounding “proration”",
                quantity=None,
                net_minor=-7,
                source_line="il_2",
            ),
        ),
        "net_minor": 120043,
        "tax_minor": 8704,
        "total_minor": 128747,
        "journal": (
            JournalLine(account="1100", amount_minor=128747, currency="USD", entity="us"),
            JournalLine(account="2400", amount_minor=-120050, currency="USD", entity="us"),
            JournalLine(account="4000", amount_minor=7, currency="USD", entity="us"),
            JournalLine(account="2200", amount_minor=-8704, currency="USD", entity="us"),
        ),
        "terms": "NET30",
        "trace": "tr-1",
    }
    return DocumentWrite(**{**given, **changes})


def period(id: str, month: int, **flags: str) -> dict[str, str]:
    names = ("", "Jan", "Feb", "Mar")
    last = {1: 31, 2: 28, 3: 31}[month]
    return {
        "id": id,
        "periodname": f"{names[month]} 2026",
        "startdate": f"2026-{month:02}-01",
        "enddate": f"2026-{month:02}-{last}",
        "isposting": "T",
        **dict.fromkeys(
            ("closed", "arlocked", "alllocked", "isyear", "isquarter", "isadjust", "isinactive"), "F"
        ),
        **flags,
    }


TABLES: dict[str, list[dict[str, str]]] = {
    "account": [
        {"id": "110", "acctnumber": "1100", "accttype": "AcctRec"},
        {"id": "105", "acctnumber": "1050", "accttype": "Bank"},
        {"id": "240", "acctnumber": "2400", "accttype": "DeferRevenue"},
        {"id": "400", "acctnumber": "4000", "accttype": "Income"},
    ],
    "item": [
        {"id": "51", "itemid": "PLATFORM-DEF", "incomeaccount": "240"},
        {"id": "52", "itemid": "ONBOARD-IMM", "incomeaccount": "400"},
    ],
    "department": [{"id": "10", "name": "Sales"}, {"id": "20", "name": "Services"}],
    "term": [{"id": "2", "name": "NET30"}],
    "salestaxitem": [{"id": "71", "itemid": "CA_725", "taxtype": "61"}],
    "currency": [{"id": "1", "symbol": "USD"}, {"id": "2", "symbol": "JPY"}],
    "subsidiary": [
        {"id": "1", "name": "Tieout Demo Inc"},
        {"id": "2", "name": "Tieout Demo KK", "parent": "1"},
    ],
    "accountingperiod": [period("201", 1), period("202", 2)],
}


def refused(status: int, code: str, detail: str = "no", path: str = "", **headers: str) -> Response:
    body = {
        "type": "https://www.rfc-editor.org/rfc/rfc9110.html",
        "title": "Refused",
        "status": status,
        "o:errorDetails": [{"detail": detail, "o:errorCode": code, "o:errorPath": path}],
    }
    return canned(body, status, **headers)


Answer = Callable[[Request], Response | TransportError | None]


class Account:
    """A transport: sign-in and code tables by themselves, everything else from `answers`, the first that fits."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.tables = {name: list(rows) for name, rows in TABLES.items()}
        self.requests: list[Request] = []
        self.signed_in = 0

    async def exchange(self, request: Request) -> Response:
        self.requests.append(request)
        for answer in self.answers:
            if (given := answer(request)) is not None:
                if isinstance(given, TransportError):
                    raise given
                return given
        if request.url.endswith("/oauth2/v1/token"):
            self.signed_in += 1
            return canned(
                {"access_token": f"opaque-{self.signed_in}", "expires_in": "3600", "token_type": "bearer"}
            )
        if "/suiteql" in request.url:
            query = msgspec.json.decode(request.body, type=dict[str, str])["q"]
            table = query.partition(" FROM ")[2].split()[0]
            if table in self.tables:
                rows = sorted(self.tables[table], key=lambda row: int(row["id"]))
                return canned({"items": rows, "hasMore": False, "count": len(rows)})
        raise AssertionError(f"no answer for {request.method} {request.url} {request.body!r}")

    async def close(self) -> None:
        """Nothing to release."""

    def sent(self, method: str) -> list[Request]:
        return [one for one in self.requests if one.method == method and RECORDS in one.url]


class StandingClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    async def sleep_real(self, seconds: float) -> None:
        """Real time stands too."""


class NoChance:
    def jitter(self, name: str, ordinal: int) -> float:
        return 0.0

    def token(self, size: int) -> bytes:
        return bytes(size)


def connect(transport: Account, **changes: Any) -> NetSuite:
    world = World(clock=StandingClock(), chance=NoChance(), transport=transport)
    return open_connection("netsuite-main", config(**changes), world)


def on(method: str, path: str, answer: Response | TransportError) -> Answer:
    """This answer for every request of that method whose URL holds that path."""
    return lambda request: answer if request.method == method and path in request.url else None


def on_query(words: str, rows: list[dict[str, Any]]) -> Answer:
    """These rows for every query that holds the words."""
    return lambda request: (
        canned({"items": rows, "hasMore": False})
        if "/suiteql" in request.url and words in request.body.decode()
        else None
    )


def made(id: int, record: str = "invoice") -> Response:
    return canned(b"", 204, location=f"https://1234567-sb1.suitetalk.api.netsuite.com{RECORDS}{record}/{id}")
