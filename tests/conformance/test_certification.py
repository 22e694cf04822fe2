"""`tieout certify`: passes against the twins, and names the behaviour when one of them does otherwise."""

from __future__ import annotations

import http.client
import json
import logging
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import structlog

from tests.conformance.support import Served, open_world, serve
from tests.conformance.test_connectors import CASES
from tests.conformance.test_salesforce_sales import Cpq
from tieout.app import descriptors
from tieout.canonical.secret import Secret
from tieout.cli.main import main
from tieout.connectors.contract import Identity, Probe, seen
from tieout.engine.certifying import Certificate, Line, certify, is_loopback, load, save, standings
from tieout_lab.conformance.case import Case
from tieout_lab.twins.calls import reserve_port
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin

# Those whose connector brings probes, and whose other side is a twin.
PROBED = {
    name: one for name, one in CASES.items() if one.connector().certification is not None and not one.real
}


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@contextmanager
def standing(case: Case) -> Iterator[Served]:
    """The other side, ready to be probed; Salesforce with its change events."""
    kept = reserve_port()
    streams = {"pubsub_port": kept.getsockname()[1]}
    twin = SalesforceTwin(SystemTwinClock(), **streams) if case.name == "salesforce" else case.twin()
    with kept, serve(twin) as served:
        if case.name == "netsuite":
            served.act("close_period", date="2026-01-15")
        yield served


def more(case: Case, served: Served) -> dict[str, Any]:
    """Settings beside the case's own, without which some behaviours cannot be probed."""
    if case.name == "salesforce":
        return {"feed": "pubsub", "pubsub_url": served.describe()["pubsub_url"]}
    return {"approval": {"2": "person"}} if case.name == "netsuite" else {}


async def certified(case: Case, served: Served, **changes: Any) -> Certificate:
    connector = case.connector()
    async with open_world() as world:
        settings = case.settings(served.describe()) | {"timeout_seconds": 10} | more(case, served) | changes
        config = connector.config(**settings)
        identity = await connector.open(case.name, config, world).identity()
        assert connector.certification is not None
        probes = connector.certification(case.name, config, world)
        return await certify(
            connector, probes, connection=case.name, identity=identity, at=world.clock.now(), twin=True
        )


@pytest.fixture(params=sorted(PROBED))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def served(case: Case) -> Iterator[Served]:
    with standing(case) as running:
        yield running


async def test_certify_passes_against_the_twin(case: Case, served: Served) -> None:
    certificate = await certified(case, served)
    answers = {line.behaviour: (line.answer, line.seen) for line in certificate.lines}
    assert certificate.contradicted == ()
    assert answers.keys() == {one.id for one in case.connector().behaviours}
    assert all(why for _, why in answers.values())
    told = [id for id, (answer, _) in answers.items() if answer == "true"]
    assert len(told) > len(answers) / 2, answers
    # Documents of the vendor that cannot be deleted are named; where everything can be deleted nothing stands.
    if case.name == "netsuite":
        assert certificate.left == ()
        standing = served.act("snapshot")
        assert not [one for one in json.dumps(standing).split('"') if one.startswith("CERTIFY-")]


def test_connectors_bring_probes() -> None:
    assert {"netsuite", "salesforce", "stripe"} <= PROBED.keys()


async def test_every_behaviour_has_a_probe_or_a_reason_and_none_has_both() -> None:
    for descriptor in descriptors():
        if descriptor.certification is None or descriptor.vendor not in PROBED:
            continue
        case = CASES[descriptor.vendor]
        with serve(case.twin()) as served:
            config = descriptor.config(**case.settings(served.describe()))
            async with open_world() as world:
                certification = descriptor.certification(case.name, config, world)
        probed = [probe.behaviour for probe in certification.probes]
        known = {one.id for one in descriptor.behaviours}
        assert len(probed) == len(set(probed))
        assert set(probed) | certification.untestable.keys() == known
        assert not set(probed) & certification.untestable.keys()


def answers(*given: dict[str, Any]) -> Callable[[Served], object]:
    return lambda served: served.deviate(*given)


def shows(operation: str, fields: dict[str, Any]) -> Callable[[Served], object]:
    return answers({"operation": operation, "fields": fields})


DEVIATIONS: list[tuple[str, str, Callable[[Served], object]]] = [
    ("stripe", "idempotency.replay", lambda served: served.act("settings", key_life_seconds=0)),
    ("stripe", "idempotency.marker", answers({"headers": {"Idempotent-Replayed": None}})),
    ("stripe", "metadata.update", shows("invoices.retrieve", {"metadata": {}})),
    ("stripe", "invoice.amounts", shows("invoices.finalize", {"total": 1})),
    ("stripe", "invoice.transitions", answers({"was": 200, "fields": {"status_transitions": {}}})),
    ("stripe", "tax_rate.fixed", shows("tax_rates.retrieve", {"percentage": 11})),
    ("netsuite", "eid-insert-only", lambda served: served.faults(enforce_keys=False)),
    ("netsuite", "location", answers({"operation": "customer.create", "was": 204, "headers": {"Location": None}})),
    ("netsuite", "record-read", shows("invoice.get", {"memo": "older"})),
    ("netsuite", "unknown-property", answers({"operation": "customer.create", "was": 400, "status": 204})),
    ("netsuite", "suiteql-types", shows("suiteql", {"items.0.posting": True})),
    ("salesforce", "upsert_by_external_id", answers({"operation": "upsert", "was": 201, "status": 200})),
    ("salesforce", "session_expired_401", answers({"operation": "upsert", "status": 400})),
    ("salesforce", "query_all_shows_deleted", shows("query_all", {"records": []})),
    ("salesforce", "composite_query_length", shows("composite", {"compositeResponse.0.httpStatusCode": 414})),
    ("salesforce", "collections_results_in_order", lambda served: served.act("answers", next=["", "reversed"])),
]  # fmt: skip


# Many at once, in one run for each vendor: each is seen by another probe.
TOGETHER: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "netsuite": [
        ("login-refused-header", {"was": 401, "headers": {"WWW-Authenticate": None}}),
        ("batch-idempotency", {"was": 400, "headers": {"Location": None}}),
        ("batch-tasks", {"operation": "job.get", "fields": {"items": [{"id": "1"}]}}),
        ("batch-results", {"operation": "job.get", "fields": {"o:errorDetails.0.o:errorCode": "OTHER"}}),
        ("transform-replace", {"operation": "creditMemo.get", "fields": {"item.items.0.amount": 100}}),
        ("currency-precision", {"operation": "suiteql", "fields": {"items.0.currencyprecision": "3"}}),
        ("credit-hold-auto", {"operation": "customer.get", "fields": {"creditHoldOverride": {"id": "OFF"}}}),
    ],
    "stripe": [
        (
            "subscription.anchor_config",
            {"operation": "subscriptions.create", "fields": {"billing_cycle_anchor": 1}},
        ),
        ("schedule.backdate", {"operation": "invoices.finalize", "fields": {"lines.data.0.period.start": 5}}),
        ("balance.transactions", {"operation": "customer_balance.list", "fields": {"data.0.type": "other"}}),
        (
            "balance.negative_invoice",
            {"operation": "customer_balance.list", "fields": {"data.0.type": "other"}},
        ),
        ("invoice.uncollectible_paid", {"operation": "invoices.pay", "was": 200, "status": 400}),
        (
            "credit_note.amount",
            {"operation": "credit_notes.retrieve", "fields": {"lines.data.0.invoice_line_item": "il_1"}},
        ),
        (
            "payment_record.invoices",
            {"operation": "invoice_payments.list", "fields": {"data.0.amount_paid": 1}},
        ),
        (
            "payment_record.refund",
            {"operation": "credit_notes.retrieve", "fields": {"refunds.0.amount_refunded": 1}},
        ),
        ("events.version", {"operation": "events.retrieve", "fields": {"api_version": None}}),
    ],
    "salesforce": [
        (
            "composite_counts_collections",
            {"operation": "composite", "fields": {"compositeResponse.1.body.records": []}},
        ),
        (
            "composite_query_length",
            {"operation": "composite", "fields": {"compositeResponse.0.httpStatusCode": 414}},
        ),
        ("bulk_session_400", {"operation": "bulk_ingest_create", "was": 401, "status": 201}),
        ("bulk_query_results", {"operation": "bulk_query_results", "headers": {"Sforce-Locator": None}}),
        ("bulk_ingest_results", {"operation": "bulk_ingest_failed", "rows": 1}),
        ("bulk_empty_cell", {"operation": "query", "fields": {"records.0.Invoice_Number__c": None}}),
        ("order_status_codes", {"operation": "query", "fields": {"records.0.StatusCode": "Done"}}),
        ("events_after_commit", {"operation": "query", "fields": {"records.0.Name": "as it was"}}),
        (
            "deletion_log",
            {
                "operation": "get_deleted",
                "fields": {"deletedRecords": [], "latestDateCovered": "2999-01-01T00:00:00.000+0000"},
            },
        ),
    ],
}


@pytest.mark.parametrize("vendor", sorted(TOGETHER))
async def test_twin_that_deviates_in_many_ways_is_found_out_in_each(vendor: str) -> None:
    case = CASES[vendor]
    with standing(case) as served:
        served.deviate(*(answer for _, answer in TOGETHER[vendor]))
        certificate = await certified(case, served)
    contradicted = {line.behaviour for line in certificate.contradicted}
    wanted = {f"{vendor}.{behaviour}" for behaviour, _ in TOGETHER[vendor]}
    assert wanted <= contradicted, [
        line for line in certificate.lines if line.behaviour in wanted - contradicted
    ]


@pytest.mark.parametrize(
    ("vendor", "behaviour", "turn"), DEVIATIONS, ids=[f"{v}-{b}" for v, b, _ in DEVIATIONS]
)
async def test_twin_that_deviates_is_found_out(
    vendor: str, behaviour: str, turn: Callable[[Served], object]
) -> None:
    case = CASES[vendor]
    with standing(case) as served:
        turn(served)
        certificate = await certified(case, served)
    assert f"{vendor}.{behaviour}" in [line.behaviour for line in certificate.contradicted], certificate.lines


def line_of(certificate: Certificate, behaviour: str) -> Line:
    return next(line for line in certificate.lines if line.behaviour == behaviour)


async def test_a_session_that_ends_is_400_to_bulk_resources() -> None:
    case = CASES["salesforce"]
    with standing(case) as served:
        served.deviate({"operation": "bulk_ingest_create", "was": 401, "status": 400, "fields": {
            "0.errorCode": "InvalidSessionId"}})  # fmt: skip
        line = line_of(await certified(case, served), "salesforce.bulk_session_400")
    assert line.answer == "true", line


async def test_change_events_that_are_not_the_feed_are_not_asked_for() -> None:
    case = CASES["salesforce"]
    with standing(case) as served:
        certificate = await certified(case, served, feed="sweep")
        streams = served.act("streams")["journal"]
    assert streams == []
    for name in ("replay_position", "replay_id_refused", "events_after_commit", "change_bitmaps"):
        line = line_of(certificate, f"salesforce.{name}")
        assert (line.answer, "sweep" in line.seen) == ("untestable", True)


@pytest.mark.parametrize("right", [True, False])
async def test_what_was_sold_is_read_where_an_org_has_it(right: bool) -> None:
    case = CASES["salesforce"]
    with standing(case) as served:
        cpq = Cpq(served)
        of = cpq.deal()
        quote = cpq.quote(of, Type="Amendment")
        cpq.line(quote, "PLATFORM", "10", "50.00", "150.00", PriorQuantity="7", EffectiveQuantity="3")
        order, items = cpq.order(of, cpq.quote(of), ("", "PLATFORM", "3", "50.00"))
        taken = cpq.reduction(of, order, items[0] if right else "", "-1", "50.00")
        cpq.change(".Order", taken, **{".Status": "Activated"})
        cpq.subscription(cpq.contract(of), "PLATFORM", "3", "50.00")
        if not right:
            (line,) = served.act("snapshot", objects=["SBQQ__QuoteLine__c"])["SBQQ__QuoteLine__c"]
            cpq.change("QuoteLine", line["Id"], PriorQuantity="4", NetTotal="10.00")
            (one,) = served.act("snapshot", objects=["SBQQ__Subscription__c"])["SBQQ__Subscription__c"]
            cpq.change("Subscription", one["Id"], SubscriptionEndDate="2027-02-01")
        certificate = await certified(case, served)
        kept = served.act("snapshot", objects=["SBQQ__QuoteLine__c", "OrderItem"])
    for name in ("reduction_negative", "cpq_amendment_deltas", "cpq_net_price", "cpq_inclusive_ends"):
        line = line_of(certificate, f"salesforce.{name}")
        assert line.answer == str(right).lower(), line
    assert [
        len(kept["SBQQ__QuoteLine__c"]),
        len([row for row in kept["OrderItem"] if not row["IsDeleted"]]),
    ] == [1, 2]


def charged(served: Served, amount: int) -> str:
    """The charge of a card payment."""
    told = CASES["stripe"].settings(served.describe())
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    form = {"amount": amount, "currency": "usd", "confirm": "true", "payment_method": "pm_card_visa"}
    headers = {
        "authorization": f"Bearer {told['api_key'].reveal()}",
        "content-type": "application/x-www-form-urlencoded",
    }
    try:
        link.request("POST", "/v1/payment_intents", urlencode(form), headers)
        return str(json.loads(link.getresponse().read())["latest_charge"])
    finally:
        link.close()


@pytest.mark.parametrize("right", [True, False])
async def test_payouts_and_disputes_that_stand_are_read(right: bool) -> None:
    case = CASES["stripe"]
    with standing(case) as served:
        charges = [charged(served, 5_000), charged(served, 7_000)]
        made = served.act("dispute", account="acct_us", charge=charges[0])
        served.act("close_dispute", account="acct_us", dispute=made["id"], won=True)
        served.act("dispute", account="acct_us", charge=charges[1], amount=1_000)
        later = datetime.fromisoformat(
            served.act("advance", business="2027-06-01T00:00:00+00:00")["business"]
        )
        assert later.year == 2027
        served.act("pay_out", account="acct_us", currency="usd")
        if not right:
            served.deviate(
                {"operation": "payouts.list", "fields": {"data.0.amount": 1}},
                {"operation": "disputes.list", "fields": {"data.0.balance_transactions": []}},
            )
        certificate = await certified(case, served)
    for name in ("payout.parts", "dispute.moves"):
        line = line_of(certificate, f"stripe.{name}")
        assert line.answer == str(right).lower(), line


@pytest.mark.parametrize("right", [True, False])
async def test_nonce_is_tried_where_calls_are_signed(right: bool) -> None:
    case = CASES["netsuite"]
    with standing(case) as served:
        told = served.describe()["tba"]
        signed = {name: Secret(told[name]) for name in ("consumer_secret", "token_secret")}
        signed |= {"sign_in": "tba"} | {name: told[name] for name in ("consumer_key", "token_id")}
        if not right:
            served.deviate({"was": 401, "status": 200})
        line = line_of(await certified(case, served, **signed), "netsuite.tba-nonce")
    assert line.answer == str(right).lower(), line


# ------------------------------------------------------------------------------------------------- the command line


def write(folder: Path, case: Case, served: Served, **changes: Any) -> Path:
    """A configuration of one connection; its secrets are in files."""
    lines = ['company = "certify"', f"[connections.{case.name}-main]", f'vendor = "{case.name}"']
    settings = case.settings(served.describe()) | {"timeout_seconds": 10} | changes
    for name, value in settings.items():
        if isinstance(value, Secret):
            (folder / name).write_text(value.reveal(), encoding="utf-8")
            lines.append(f'{name} = "file:{name}"')
        elif not isinstance(value, list | dict):
            shown = value.isoformat() if hasattr(value, "isoformat") else json.dumps(value)
            lines.append(f"{name} = {shown}")
    for name, value in settings.items():
        if isinstance(value, dict):
            lines.append(f"[connections.{case.name}-main.{name}]")
            lines += [f"{key} = {json.dumps(one)}" for key, one in value.items()]
    path = folder / "tieout.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tomllib.loads(path.read_text(encoding="utf-8"))
    return path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_dry_run_shows_and_sends_nothing(
    case: Case, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, case, served)
    assert call("-c", path, "certify", f"{case.name}-main", "--dry-run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {one["behaviour"] for one in shown["behaviours"]} == {
        one.id for one in case.connector().behaviours
    }
    assert any(one["makes"] for one in shown["behaviours"])
    assert shown["twin"] is True
    assert call("-c", path, "certify", f"{case.name}-main", "--dry-run") == 0
    assert "Nothing was sent" in capsys.readouterr().out
    assert served.log() == []
    assert not (tmp_path / "certified").exists()


def test_without_yes_nothing_is_sent(case: Case, served: Served, tmp_path: Path) -> None:
    assert call("-c", write(tmp_path, case, served), "certify", f"{case.name}-main", "--json") == 2
    assert served.log() == []


def test_live_connection_is_refused_before_anything_is_sent(
    case: Case, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, case, served, live=True)
    assert call("-c", path, "certify", f"{case.name}-main", "--yes") == 1
    assert "--allow-live" in capsys.readouterr().err
    assert served.log() == []


def test_result_is_kept_and_a_contradiction_names_the_behaviour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES["netsuite"]
    with serve(case.twin()) as served:
        path = write(tmp_path, case, served)
        assert call("-c", path, "certify", "netsuite-main", "--yes", "--json") == 0
        assert json.loads(capsys.readouterr().out)["account"] == "TSTDRV1234567"
        (kept,) = load(tmp_path)
        assert (kept.connection, kept.twin, kept.contradicted) == ("netsuite-main", True, ())
        served.faults(enforce_keys=False)
        assert call("-c", path, "certify", "netsuite-main", "--yes") == 1
        shown = capsys.readouterr()
        assert "netsuite.eid-insert-only" in shown.err
        assert "a twin certifies no vendor" in shown.out
        (kept,) = load(tmp_path)
        assert [line.behaviour for line in kept.contradicted] == ["netsuite.eid-insert-only"]
        assert call("-c", path, "check", "--json") == 1
        report = json.loads(capsys.readouterr().out)
        wrong = [one for one in report["findings"] if one["subject"] == "behaviour netsuite.eid-insert-only"]
        assert [one["level"] for one in wrong] == ["error"]
        assert report["behaviours"]["netsuite"]["verified"] == 0
        assert report["behaviours"]["netsuite"]["contradicted"] == 1
        assert len(report["relied_on"]) == len(case.connector().behaviours)


def test_unknown_connection_is_named(case: Case, served: Served, tmp_path: Path, capsys: Any) -> None:
    assert call("-c", write(tmp_path, case, served), "certify", "nobody", "--yes") == 2
    assert f"{case.name}-main" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ how it is kept


def certificate(answer: str, *, day: int = 1, twin: bool = False, text: str | None = None) -> Certificate:
    behaviour = CASES["stripe"].connector().behaviours[0]
    line = Line(behaviour=behaviour.id, text=text or behaviour.text, answer=answer, seen="so it was")
    return Certificate(
        connection="stripe-us", vendor="stripe", account="acct_1", at=datetime(2026, 5, day, tzinfo=UTC), live=False,
        twin=twin, lines=(line,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("certificates", "state"),
    [
        ([], "documented"),
        ([certificate("true")], "verified"),
        ([certificate("false")], "contradicted"),
        ([certificate("untestable")], "documented"),
        ([certificate("true", twin=True)], "documented"),
        ([certificate("false", twin=True)], "contradicted"),
        ([certificate("true"), certificate("false", day=2)], "contradicted"),
        ([certificate("false"), certificate("true", day=2)], "verified"),
        ([certificate("true"), certificate("false", day=2, twin=True)], "verified"),
        ([certificate("true"), certificate("untestable", day=2)], "verified"),
        ([certificate("true", text="an older text")], "documented"),
    ],
)
def test_standing_of_a_behaviour(certificates: list[Certificate], state: str) -> None:
    first, second, *_ = standings(CASES["stripe"].connector(), certificates)
    assert first.state == state
    assert second.state == CASES["stripe"].connector().behaviours[1].state
    if state == "verified":
        assert (first.account, first.on) == ("acct_1", certificates[-1].at.date().isoformat()) or len(
            certificates
        ) > 1


def test_certificates_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = save(tmp_path, certificate("true"))
    assert load(tmp_path) == (certificate("true"),)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="run `tieout certify` again"):
        load(tmp_path)


async def test_what_was_made_is_taken_away_though_a_probe_breaks() -> None:
    """A probe that meets what it cannot read stops no other one, and clean-up comes whatever happens."""
    done: list[str] = []

    class Breaking:
        @property
        def untestable(self) -> dict[str, str]:
            return {}

        @property
        def probes(self) -> list[Probe]:
            first, second, third, *_ = CASES["stripe"].connector().behaviours

            async def odd() -> Any:
                return seen(True, {}["no such field"])

            async def well() -> Any:
                return seen(True, "well")

            async def bug() -> Any:
                raise AssertionError("a bug of the probe")

            return [
                Probe(behaviour=first.id, run=odd),
                Probe(behaviour=second.id, run=well),
                Probe(behaviour=third.id, run=bug),
            ]

        async def clean_up(self) -> tuple[str, ...]:
            done.append("cleaned")
            return ()

    identity = Identity(organisation="o", account="a", live=False)
    with pytest.raises(AssertionError):
        await certify(
            CASES["stripe"].connector(), Breaking(), connection="x", identity=identity,
            at=datetime(2026, 5, 1, tzinfo=UTC), twin=True,
        )  # fmt: skip
    assert done == ["cleaned"]


@pytest.mark.parametrize(
    ("url", "twin"),
    [
        ("http://127.0.0.1:9000", True),
        ("https://localhost", True),
        ("http://[::1]:1", True),
        ("https://api.stripe.com", False),
        ("https://10.0.0.1", False),
    ],
)
def test_twin_is_known_by_its_address(url: str, twin: bool) -> None:
    class Config(msgspec.Struct):
        url: str
        other: int = 1

    assert is_loopback(Config(url)) is twin
