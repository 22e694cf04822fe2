"""A composed hub behind real sockets: a small company whose outside systems answer only where a test serves them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.unit.company import TEXTS
from tieout.app import App, compose, read_settings, system_ports
from tieout.web.server import _server, bind

SECRET = "whsec_test"
CONFIG = """\
company = "demo"

[database]
url = "sqlite:///tieout.db"

[web]
port = 0

[[entities]]
code = "us"
name = "Example Inc"
time_zone = "America/Los_Angeles"
functional_currency = "USD"
currencies = ["USD", "EUR"]
billing = "billing-us"
erp = "erp-main"
subsidiary = "1"

[[entities]]
code = "jp"
name = "Example KK"
time_zone = "Asia/Tokyo"
functional_currency = "JPY"
currencies = ["JPY"]
billing = "billing-jp"
erp = "erp-main"
subsidiary = "2"

[connections.billing-us]
vendor = "stripe"
account = "acct_us"
api_key = "sk_test_us"
webhook_secrets = ["whsec_test"]
url = "{stripe}"

[connections.billing-jp]
vendor = "stripe"
account = "acct_jp"
api_key = "sk_test_jp"
url = "{stripe}"

[connections.erp-main]
vendor = "netsuite"
url = "{netsuite}"
account = "TSTDRV1"
live = false
client_id = "client"
certificate_id = "cert"
private_key = "file:erp.pem"

[connections.erp-main.currencies]
1 = "USD"
2 = "JPY"

[connections.crm-main]
vendor = "salesforce"
login_url = "{salesforce}"
org_id = "00D000000000001EAA"
live = false
consumer_key = "consumer"
auth = "client_credentials"
client_secret = "hush"
start_date = 2026-01-01
"""
NOWHERE = "http://127.0.0.1:9"


def write_company(folder: Path, **urls: str) -> Path:
    """The configuration of the small company, with its rules; answers the path of `tieout.toml`."""
    given = {"stripe": NOWHERE, "netsuite": NOWHERE, "salesforce": NOWHERE, **urls}
    text = CONFIG
    for name, url in given.items():
        text = text.replace("{" + name + "}", url)
    (folder / "rules").mkdir()
    for name, table in TEXTS.items():
        (folder / "rules" / f"{name}.csv").write_text(table)
    (folder / "erp.pem").write_text("not read before the first call\n")
    path = folder / "tieout.toml"
    path.write_text(text)
    return path


@dataclass
class Served:
    """A hub on a loopback port, and a client of it."""

    app: App
    url: str
    http: aiohttp.ClientSession

    async def hook(
        self, body: bytes, signature: str | None, connection: str = "billing-us"
    ) -> tuple[int, str]:
        headers = {} if signature is None else {"stripe-signature": signature}
        async with self.http.post(f"{self.url}/hooks/{connection}", data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def stored(self) -> dict[str, dict[str, int]]:
        from tieout.engine.standing import standing

        return (await standing(self.app.hub)).events


@asynccontextmanager
async def served(folder: Path, **urls: str) -> AsyncIterator[Served]:
    """The web alone: no worker, so that what was stored can be counted."""
    app = await compose(read_settings(write_company(folder, **urls)), system_ports())
    async with serving(app) as world:
        yield world


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Served]:
    listening = bind(app)
    server = _server(app, work=False)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with aiohttp.ClientSession() as http:
            while not server.started:
                await asyncio.sleep(0.01)
            yield Served(app=app, url=f"http://127.0.0.1:{listening.getsockname()[1]}", http=http)
    finally:
        server.should_exit = True
        await task
        listening.close()
        await app.close()


def event(id: str = "evt_1", type_: str = "invoice.finalized", **more: Any) -> bytes:
    found = {"id": "in_1", "object": "invoice"}
    body = {
        "id": id,
        "object": "event",
        "created": int(time.time()),
        "livemode": False,
        "type": type_,
        "data": {"object": found},
        **more,
    }
    return msgspec.json.encode(body)


def signature(body: bytes, secret: str = SECRET, age_seconds: int = 0) -> str:
    at = int(time.time()) - age_seconds
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"
