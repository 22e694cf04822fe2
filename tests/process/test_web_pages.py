"""Pages and API over real sockets: what they show, and whom they turn away."""

from __future__ import annotations

import json
from pathlib import Path

from tests.process.web_world import event, served, serving, signature, write_company
from tieout.app import compose, read_settings, system_ports
from tieout.canonical.ids import Ref
from tieout.engine.keys import document_key, effect_key, lane_of
from tieout.engine.pinning import Held, begin, parked
from tieout.engine.standing import standing
from tieout.processes.finding import long_form
from tieout.processes.trace import tell_trace
from tieout.store import documents, effects, lanes, people, records

DEAL = Ref(connection="crm-main", kind="opportunity", id="006D000000IqhSLIAZ")
INVOICE = Ref(connection="billing-us", kind="invoice", id="in_1PqL2Z")
TRACE = "0123456789ABCDEF"
KEY = effect_key("demo", "erp-main", "invoice.create", INVOICE)
HOSTILE = "<script>alert(1)</script> \u202e =cmd()"


async def _posted_invoice(hub) -> None:
    """A deal, its invoice, the ERP document and an exception, as a run leaves them."""
    now = hub.now()
    hub.keyring.seal(b"{}", "x")
    for ref in (DEAL, INVOICE):
        start = {
            "lane_id": lane_of(ref),
            "connection": ref.connection,
            "kind": ref.kind,
            "subject_id": ref.id,
            "now": now,
        }
        await hub.store.commit([(lanes.START, start)])
    await hub.store.commit(
        [(lanes.JOIN, {"worker": "w", "now": now, "until": now + 60_000_000, "host": "h", "pid": 1})]
    )
    (claimed,) = await hub.store.commit(
        [(lanes.CLAIM, {"worker": "w", "now": now, "limit": 10, "group": ""})]
    )
    decisions = (
        '[{"table":"items","rule_id":"I1","version":"abcdef0123456789","value":{"item":"PLATFORM-DEF"}}]'
    )
    for row in claimed:
        done = {
            "lane_id": row[0],
            "fence": row[4],
            "run_id": f"run {row[2]}",
            "trace": TRACE,
            "replay": "",
            "hints": 1,
            "now": now,
        }
        ran = {"run_id": f"run {row[2]}", "lane_id": row[0], "process": "p", "attempt": 1, "started_at": now}
        ran |= {"ended_at": now + 5000, "outcome": "done", "detail": "", "actor": "hub", "trace": TRACE}
        await hub.store.commit([(lanes.FINISH, done), (lanes.RUN_BEGIN, ran)])
    sent = {
        "effect_key": KEY,
        "document_key": document_key(KEY),
        "lane_id": lane_of(INVOICE),
        "process": "bill_invoice",
        "connection": "erp-main",
        "operation": "invoice.create",
        "source": str(INVOICE),
        "request": hub.keyring.seal(b"{}", f"effects|{KEY}"),
        "request_hash": "h",
        "decisions": decisions,
        "now": now,
        "worker": "w",
        "fence": 1,
        "run_id": "r",
        "trace": TRACE,
    }
    receipt = {
        "effect_key": KEY,
        "external_id": "101",
        "receipt": '{"external_id":"101","number":"INV1001"}',
        "now": now,
    }
    made = {
        "effect_key": KEY,
        "connection": "erp-main",
        "kind": "invoice",
        "external_id": "101",
        "number": "INV1001",
        "entity": "us",
        "currency": "USD",
        "total_minor": 123456,
        "tax_minor": 456,
        "day": "2026-01-31",
        "period": "Jan 2026",
        "source": str(INVOICE),
        "source_number": "US-0001",
        "reason": "finalised",
        "lane_id": lane_of(INVOICE),
        "trace": TRACE,
        "now": now,
    }
    await hub.store.commit(
        [
            (effects.SEND_NEW, sent),
            (effects.CONFIRM, {**receipt, "resolved_by": "look-up"}),
            (documents.CREATED, made),
        ]
    )
    opened = {
        "exception_id": "exc-1",
        "code": "preflight",
        "lane_id": lane_of(DEAL),
        "blocker": "",
        "document": str(DEAL),
        "number": HOSTILE,
        "entity": "us",
        "currency": "USD",
        "amount_minor": 999900,
        "cause": HOSTILE,
        "remedy": "add a rule",
        "owner": "",
        "effect_key": "",
        "trace": TRACE,
        "detail": "",
        "now": now,
    }
    audited = {
        "audit_id": "a1",
        "at": now,
        "actor": "ann",
        "action": "replay",
        "subject": "x",
        "trace": TRACE,
        "detail": "why",
    }
    await hub.store.commit([(people.OPEN, opened), (people.AUDIT, audited)])


async def test_any_id_of_any_system_leads_to_the_same_story(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        hub = world.app.hub
        await _posted_invoice(hub)
        terms = [
            "006D000000IqhSL",
            DEAL.id,
            str(DEAL),
            INVOICE.id,
            "US-0001",
            "101",
            "INV1001",
            KEY,
            document_key(KEY),
        ]
        for term in [*terms, TRACE, "exc-1", "run invoice", "erp-main|invoice|101"]:
            story = await tell_trace(hub, term)
            assert story.found, term
            assert not story.candidates, term
            assert {(one.kind, one.id) for one in story.subjects} >= {
                ("opportunity", DEAL.id),
                ("invoice", "101"),
            }
        effect = next(one for one in story.moments if one.kind == "effect")
        assert effect.amount == "1,234.56 USD"
        assert any("look-up" in line for line in effect.detail)
        assert any("items rule I1 (version abcdef012345)" in line for line in effect.detail)
        assert any(one.kind == "audit" and one.state == "by ann" for one in story.moments)
        assert not (await tell_trace(hub, "INV9999")).found


async def test_an_id_that_means_several_things_lists_them(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        hub = world.app.hub
        await _posted_invoice(hub)
        other = Ref(connection="billing-jp", kind="payment", id="101")
        start = {
            "lane_id": lane_of(other),
            "connection": "billing-jp",
            "kind": "payment",
            "subject_id": "101",
        }
        await hub.store.commit([(lanes.START, {**start, "now": hub.now()})])
        story = await tell_trace(hub, "101")
        assert {match.lane for match in story.candidates} == {lane_of(other), lane_of(INVOICE)}
        status, page = await world.get("/trace/101")
        assert status == 200
        assert "means several things" in page


async def test_pages_escape_what_came_from_outside_and_run_no_script(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        await _posted_invoice(world.app.hub)
        for path in ("/exceptions", "/trace/INV1001", "/trace", "/exceptions/exc-1"):
            async with world.http.get(world.url + path) as answer:
                page = await answer.text()
                assert answer.status == 200, page
                assert "<script" not in page
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert "single operator" in page
        _, page = await world.get("/exceptions")
        assert "&lt;script&gt;" in page
        assert "9,999.00 USD" in page
        assert "add a rule" in page
        status, page = await world.get("/search?q=INV1001")
        assert status in (301, 302, 303, 307)
        status, page = await world.get("/trace/INV1001")
        assert DEAL.id in page
        assert "1,234.56 USD" in page


async def test_empty_states_teach(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert "Nothing waits for a person" in (await world.get("/exceptions"))[1]
        status, page = await world.get("/trace/nothing%2Fhere")
        assert status == 404
        assert "tieout events" in page
        assert (await world.get("/exceptions/none"))[0] == 404
        assert (await world.get("/static/tieout.css"))[0] == 200


async def test_the_api_says_how_the_hub_stands(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        _, text = await world.get("/api/status")
        assert json.loads(text)["quiet"] is True
        body = event()
        await world.hook(body, signature(body))
        found = json.loads((await world.get("/api/status"))[1])
        assert found["quiet"] is False
        assert found["ready_due"] == 1
        assert found["events"] == {"billing-us": {"pending": 1}}
        await _posted_invoice(world.app.hub)
        story = json.loads((await world.get("/api/trace/INV1001"))[1])
        assert story["trace"] == TRACE
        assert (await world.get("/api/trace/none"))[0] == 404
        assert [one["exception_id"] for one in json.loads((await world.get("/api/exceptions"))[1])] == [
            "exc-1"
        ]
        assert (await world.get("/api/exceptions/none"))[0] == 404
        assert json.loads((await world.get("/api/approvals"))[1]) == []
        assert len(json.loads((await world.get("/api/events?limit=5"))[1])) == 1
        assert "o2c_events_received_total" in (await world.get("/metrics"))[1]
        assert (await world.get("/healthz"))[0] == 200
        assert (await world.get("/readyz"))[0] == 200


async def test_commands_need_an_actor_and_a_name_of_this_machine(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        url = f"{world.url}/api/exceptions/exc-1/retry"
        async with world.http.post(url, json={}) as answer:
            assert answer.status == 400
            assert "X-Tieout-Actor" in await answer.text()
        async with world.http.post(
            url, json={}, headers={"X-Tieout-Actor": "ann", "Host": "evil.example"}
        ) as answer:
            assert answer.status == 403
        assert await world.app.hub.store.fetch(people.COMMANDS, {}) == []
        for path in ("/exceptions", "/api/status"):
            assert (await world.get(path, Host="evil.example"))[0] == 403
        # A reverse proxy on this machine says for whom it asks.
        assert (await world.get("/exceptions", **{"X-Forwarded-For": "203.0.113.9"}))[0] == 403
        assert (await world.get("/healthz", **{"X-Forwarded-For": "203.0.113.9"}))[0] == 200


async def test_a_connection_that_answers_as_somebody_else_is_parked(tmp_path: Path) -> None:
    app = await compose(read_settings(write_company(tmp_path)), system_ports())
    hub = app.hub
    connection = hub.connection("billing-us")
    real = connection.api

    class Other:
        """The same connection, whose key now opens another account."""

        def __getattr__(self, name: str):
            return getattr(real, name)

        async def identity(self):
            from tieout.connectors.contract import Identity

            return Identity(organisation="acct_us", account=self.account, live=False)

        async def check(self):
            return ()

        account = "acct_us"

    other = connection.api = Other()
    for name in ("billing-jp", "erp-main", "crm-main"):
        del hub.connections[name]
    await begin(hub)
    assert connection.api is other
    assert await hub.store.fetch(records.PINNED, {"connection": "billing-us"})
    other.account = "acct_else"
    await begin(hub)
    await begin(hub)
    assert isinstance(connection.api, Held)
    assert "acct_else" in parked(connection)
    (row,) = await hub.store.fetch(people.LIST, {})
    assert row[1] == "blocked_connection"
    async with serving(app) as world:
        body = event()
        status, text = await world.hook(body, signature(body))
        assert status == 403
        assert "parked" in text
        assert (await standing(hub)).events == {}
        other.account = "acct_us"
        await begin(hub)
        assert connection.api is other
        assert await hub.store.fetch(people.LIST, {}) == []
        assert (await world.hook(body, signature(body)))[0] == 200


def test_a_crm_id_of_15_characters_finds_its_long_form() -> None:
    assert long_form("006D000000IqhSL") == "006D000000IqhSLIAZ"
    assert long_form("INV1001") == "INV1001"
