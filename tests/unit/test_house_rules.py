"""Our own lints hold over the source, and each of them can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import house_rules
from tests.house_rules import Finding

SRC = Path(__file__).resolve().parents[2] / "src"
RULES: list[Callable[[Path], list[Finding]]] = [
    house_rules.floats_near_money,
    house_rules.unported,
    house_rules.vendor_names,
    house_rules.crossed_imports,
    house_rules.stray_sql,
    house_rules.too_long,
    house_rules.unfinished,
]


def name_of(rule: Callable[[Path], list[Finding]]) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_source_keeps_the_rule(rule: Callable[[Path], list[Finding]]) -> None:
    findings = rule(SRC)
    assert not findings, f"{(rule.__doc__ or '').splitlines()[0]}\n" + "\n".join(map(str, findings))


def plant(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return root


BAD = [
    (house_rules.floats_near_money, "tieout/canonical/money.py", "def minor(x):\n    return float(x)\n"),
    (house_rules.floats_near_money, "tieout/finance/fx.py", "RATE = 1.5\n"),
    (house_rules.floats_near_money, "tieout/masterdata/match.py", "def score() -> float | None: ...\n"),
    (house_rules.floats_near_money, "tieout/finance/fx.py", "rate_factor: float = 1\n"),
    (
        house_rules.floats_near_money,
        "tieout/connectors/acme/mapping.py",
        "def map_line(quantity: float): ...\n",
    ),
    (house_rules.floats_near_money, "tieout/engine/retry.py", "def wait(amount: float): ...\n"),
    (house_rules.floats_near_money, "tieout/engine/retry.py", "amount = float('1')\n"),
    (house_rules.floats_near_money, "tieout/web/api.py", "class A:\n    total: dict[str, float]\n"),
    (house_rules.floats_near_money, "tieout/connectors/acme/wire.py", "import json\nx = json.loads(b'')\n"),
    (
        house_rules.floats_near_money,
        "tieout/connectors/http.py",
        "import msgspec\nx = msgspec.json.decode(b'1')\n",
    ),
    (house_rules.unported, "tieout/engine/run.py", "from datetime import datetime\nnow = datetime.now()\n"),
    (house_rules.unported, "tieout/engine/run.py", "import datetime as d\nnow = d.datetime.utcnow()\n"),
    (house_rules.unported, "tieout/engine/run.py", "import time as t\nx = t.monotonic()\n"),
    (house_rules.unported, "tieout/engine/run.py", "from time import sleep\nsleep(1)\n"),
    (house_rules.unported, "tieout/engine/run.py", "import time\nfield(default_factory=time.time)\n"),
    (house_rules.unported, "tieout/engine/run.py", "import random\nx = random.random()\n"),
    (house_rules.unported, "tieout/engine/run.py", "from random import choice\nx = choice([1])\n"),
    (house_rules.unported, "tieout/security/tokens.py", "import secrets\nx = secrets.token_bytes(2)\n"),
    (house_rules.unported, "tieout/security/keyring.py", "import os\nx = os.urandom(2)\n"),
    (house_rules.unported, "tieout/store/rows.py", "from uuid import uuid4\nx = uuid4()\n"),
    (house_rules.unported, "tieout/store/rows.py", "import uuid_utils\nx = uuid_utils.uuid7()\n"),
    (house_rules.unported, "tieout/engine/worker.py", "import asyncio\nx = asyncio.sleep(1)\n"),
    (house_rules.unported, "tieout/connectors/http.py", "import aiohttp\nx = aiohttp.ClientSession()\n"),
    (house_rules.vendor_names, "tieout/processes/bill.py", "# only for Stripe\n"),
    (house_rules.vendor_names, "tieout/processes/bill.py", "class NetSuiteInvoice: ...\n"),
    (house_rules.vendor_names, "tieout/web/page.html", "<p>SAP</p>\n"),
    (house_rules.vendor_names, "tieout/engine/stripe.py", "x = 1\n"),
    (house_rules.vendor_names, "tieout/connectors/stripe/mapping.py", "salesforce_id = 1\n"),
    (
        house_rules.crossed_imports,
        "tieout/connectors/acme/client.py",
        "from tieout.connectors.other import wire\n",
    ),
    (
        house_rules.crossed_imports,
        "tieout/connectors/acme/client.py",
        "import tieout.connectors.other.wire\n",
    ),
    (house_rules.crossed_imports, "tieout/connectors/http.py", "from tieout.connectors import other\n"),
    (house_rules.crossed_imports, "tieout/engine/run.py", "from tieout.connectors.other.wire import X\n"),
    (house_rules.crossed_imports, "tieout_lab/twins/acme.py", "from tieout.canonical import money\n"),
    (house_rules.crossed_imports, "tieout_lab/twins/acme.py", "from tieout_lab.faults import Fault\n"),
    (house_rules.stray_sql, "tieout/engine/inbox.py", "x = 'SELECT 1'\n"),
    (house_rules.stray_sql, "tieout/engine/inbox.py", "x = f'DELETE FROM {table}'\n"),
    (house_rules.stray_sql, "tieout/web/api.py", "x = '''\n  UPDATE runs SET a = 1'''\n"),
    (house_rules.stray_sql, "tieout/connectors/acme/client.py", "import sqlite3\n"),
    (house_rules.stray_sql, "tieout/web/api.py", "from sqlalchemy import text\n"),
    (house_rules.too_long, "tieout/engine/run.py", "x = 1\n" * 601),
    (house_rules.unfinished, "tieout/engine/run.py", "x = 1  # TODO: more\n"),
    (house_rules.unfinished, "tieout_lab/faults.py", "raise NotImplementedError\n"),
]


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    BAD,
    ids=[f"{name_of(rule)}-{number}" for number, (rule, _, _) in enumerate(BAD)],
)
def test_planted_fault_is_found(
    rule: Callable[[Path], list[Finding]], path: str, text: str, tmp_path: Path
) -> None:
    plant(tmp_path, "tieout/connectors/other/wire.py", "X = 1\n")
    assert [finding.path for finding in rule(plant(tmp_path, path, text))] == [path]


GOOD = [
    ("tieout/canonical/money.py", "def check(x):\n    if isinstance(x, float):\n        raise TypeError\n"),
    ("tieout/engine/retry.py", "async def sleep(seconds: float, jitter_ratio: float = 0.1) -> None: ...\n"),
    ("tieout/engine/retry.py", "def delay_seconds(header: str) -> float:\n    return float(header)\n"),
    ("tieout/engine/retry.py", "wait_seconds = max(0.0, float('1'))\n"),
    (
        "tieout/system.py",
        "import time, random, asyncio\nx = time.time(), random.random(), asyncio.sleep(1)\n",
    ),
    ("tieout/security/tokens.py", "import secrets\nx = secrets.compare_digest('a', 'b')\n"),
    (
        "tieout/engine/run.py",
        "async def wait(self):\n    await self.clock.sleep(1)\n    return self.clock.now()\n",
    ),
    ("tieout/connectors/registry.py", "NAMES = ['salesforce', 'stripe']\n"),
    (
        "tieout/connectors/stripe/client.py",
        "from tieout.connectors.http import send\nclass StripeClient: ...\n",
    ),
    (
        "tieout/connectors/other/client.py",
        "from tieout.connectors.other.wire import X\nq = 'SELECT Id FROM A'\n",
    ),
    ("tieout/web/console.css", "table.striped { color: black }  /* disappear, dynamically */\n"),
    ("tieout/store/rows.py", "import sqlite3\nx = 'SELECT 1'\n"),
    ("tieout/engine/run.py", "'''Not like UPDATE in a table.'''\n"),
    ("tieout/engine/run.py", "x = 1\n" * 600),
    ("tieout_lab/twins/acme.py", "from tieout_lab.twins.ledger import Ledger\n"),
]


@pytest.mark.parametrize(("path", "text"), GOOD, ids=[str(number) for number in range(len(GOOD))])
def test_what_is_allowed_is_not_found(path: str, text: str, tmp_path: Path) -> None:
    plant(tmp_path, "tieout/connectors/other/wire.py", "X = 1\n")
    plant(tmp_path, path, text)
    assert [finding for rule in RULES for finding in rule(tmp_path)] == []


def test_long_files_are_listed_before_they_fail(tmp_path: Path) -> None:
    plant(tmp_path, "tieout/engine/run.py", "x = 1\n" * 401)
    plant(tmp_path, "tieout/engine/lanes.py", "x = 1\n" * 400)
    assert [(path.name, lines) for path, lines in house_rules.long_files(tmp_path)] == [("run.py", 401)]
    assert house_rules.too_long(tmp_path) == []
