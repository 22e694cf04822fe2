"""Preflight: every fault of a deal at once; what changed after acceptance is named."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest

from tests.unit.company import US, account_ref, customer, master_data, order, order_line
from tieout.canonical.ids import Ref
from tieout.canonical.order import Order
from tieout.canonical.party import Address, Customer, TaxId
from tieout.masterdata.fault import Fault
from tieout.masterdata.hierarchy import by_ref, decide_payer
from tieout.masterdata.matching import match_customer, normal_name
from tieout.masterdata.preflight import CreditStanding, preflight
from tieout.masterdata.survivorship import decide_golden_record

DATA = master_data()


def check(deal: Order, buyer: Customer | None = None, **given: object) -> tuple[Fault, ...]:
    values: dict[str, object] = {"ancestors": (), "entity": US, "as_of": date(2026, 1, 10), **given}
    values.setdefault("customer", buyer or customer())
    return preflight(deal, rules=DATA, **values)  # type: ignore[arg-type]


def codes(deal: Order, buyer: Customer | None = None, **given: object) -> list[str]:
    return [fault.code for fault in check(deal, buyer, **given)]


def test_a_sound_deal_has_no_fault() -> None:
    assert check(order()) == ()
    assert check(order(), accepted=order()) == ()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"currency": "GBP"}, "currency"),
        ({"lines": (order_line(currency="EUR"),)}, "two_currencies"),
        ({"lines": ()}, "no_lines"),
        ({"start": None}, "start_missing"),
        ({"end": None, "term_months": None}, "term_missing"),
        ({"end": date(2026, 1, 15)}, "end_before_start"),
        ({"term_months": 0}, "term"),
        ({"frequency": "fortnight"}, "frequency"),
        ({"payment_terms": "NET999"}, "payment_terms"),
        ({"lines": (order_line(quantity=Decimal(0), net_minor=0),)}, "quantity"),
        ({"lines": (order_line(quantity=Decimal(-1), net_minor=-9000),)}, "quantity"),
        ({"lines": (order_line(net_minor=90001),)}, "net"),
        ({"lines": (order_line(product="GHOST"),)}, "product_mapping"),
        ({"lines": (order_line(product="NOWHERE"),)}, "product_mapping"),
        ({"lines": (order_line(charge=""),)}, "charge"),
    ],
)
def test_one_fault(changed: dict[str, object], code: str) -> None:
    (fault,) = check(order(**changed))
    assert fault.code == code
    assert fault.message
    assert fault.remedy


def test_the_missing_mapping_is_a_named_blocker() -> None:
    (fault,) = check(order(lines=(order_line(product="GHOST"),)))
    assert fault.blocker == "prod_GHOST x us"


def test_a_cent_off_is_named() -> None:
    (fault,) = check(order(lines=(order_line(net_minor=89999),)))
    assert "-0.01 USD" in fault.message


def test_net_is_rounded_half_up_as_the_crm_does() -> None:
    line = order_line(
        quantity=Decimal(1), unit_price=Decimal("0.05"), discount_percent=Decimal(50), net_minor=3
    )
    assert check(order(lines=(line,))) == ()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"po_required": True}, "po_number"),
        ({"payment_terms": ""}, "payment_terms"),
        ({"shipping_address": Address(country="US", region="NY")}, "registration"),
        ({"shipping_address": Address()}, "address"),
        ({"deleted": True}, "account_deleted"),
        ({"merged_into": account_ref("001B")}, "account_merged"),
        ({"parent": account_ref("001Z")}, "account_missing"),
        ({"parent": account_ref()}, "account_cyclic"),
        ({"payer": account_ref("001Z")}, "payer"),
    ],
)
def test_one_fault_of_the_account(changed: dict[str, object], code: str) -> None:
    assert codes(order(), customer(**changed)) == [code]


def test_declared_to_need_no_registration() -> None:
    assert check(order(), customer(shipping_address=Address(country="DE"))) == ()


def test_a_registration_that_is_over_is_none() -> None:
    (registration,) = US.registrations
    over = msgspec.structs.replace(registration, valid_to=date(2026, 1, 15))
    entity = msgspec.structs.replace(US, registrations=(over,))
    assert codes(order(), entity=entity) == ["registration"]
    assert codes(order(start=date(2026, 1, 14)), entity=entity) == []


def test_credit_hold_shows_its_age_and_an_unknown_customer_has_none() -> None:
    (fault,) = check(order(), credit=CreditStanding(hold=True, age=timedelta(hours=3)))
    assert "as of 3 h ago" in fault.message
    assert check(order(), credit=CreditStanding(hold=False, age=timedelta(days=9))) == ()
    assert check(order(), credit=CreditStanding()) == ()


def test_every_fault_at_once() -> None:
    deal = order(
        currency="GBP",
        frequency="x",
        start=None,
        end=None,
        term_months=None,
        lines=(order_line(quantity=Decimal(0), product="NOWHERE"),),
    )
    buyer = customer(
        po_required=True, payment_terms="", parent=account_ref("001Z"), shipping_address=Address()
    )
    found = codes(deal, buyer, credit=CreditStanding(hold=True))
    assert found == [
        "account_missing",
        "currency",
        "start_missing",
        "term_missing",
        "frequency",
        "quantity",
        "net",
        "po_number",
        "payment_terms",
        "address",
        "product_mapping",
        "credit_hold",
    ]


def test_no_account_and_no_entity() -> None:
    assert codes(order(), customer=None, entity=None) == ["account_missing", "legal_entity", "payment_terms"]


def test_one_time_deals_need_no_frequency_and_no_term() -> None:
    line = order_line(product="ONBOARD", charge="one_time")
    assert check(order(lines=(line,), frequency="", end=None, term_months=None)) == ()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"won": False, "closed": False}, "reopened"),
        ({"won": False}, "lost"),
        ({"deleted": True}, "deleted"),
    ],
)
def test_gone_after_acceptance(changed: dict[str, object], code: str) -> None:
    assert codes(order(**changed), accepted=order()) == [code]
    assert codes(order(**changed)) == []


def test_each_edit_after_acceptance_is_named() -> None:
    now = order(
        account=account_ref("001B"),
        start=date(2026, 1, 16),
        currency="EUR",
        lines=(order_line(quantity=Decimal(11), net_minor=99000), order_line(id="00k2", product="ONBOARD")),
    )
    faults = [fault for fault in check(now, accepted=order()) if fault.code == "edited"]
    assert [(fault.field, fault.line) for fault in faults] == [
        ("account", ""),
        ("currency", ""),
        ("start", ""),
        ("quantity", "00k1"),
        ("net_minor", "00k1"),
        ("lines", "00k2"),
    ]
    assert "quantity was 10, is 11" in faults[3].message


def test_equal_numbers_are_no_edit() -> None:
    assert check(order(lines=(order_line(quantity=Decimal("10.00")),)), accepted=order()) == ()


def test_a_clone_carries_what_only_the_hub_writes() -> None:
    other = order(
        ref=Ref(connection="crm-main", kind="opportunity", id="006B"), name="First", external_id="K1"
    )
    # Two like deals of one customer are business.
    assert codes(order(), siblings=(other,)) == []
    assert codes(order(accepted_status="parked"), siblings=(other,)) == []
    assert codes(order(accepted_status="active"), siblings=(other,)) == ["cloned"]
    assert codes(
        order(external_id="K1", lines=(order_line(net_minor=90000, id="x"),)), siblings=(other,)
    ) == ["cloned"]
    assert codes(order(external_id="K1"), siblings=(other,), accepted=order()) == []


def test_payers_are_followed_to_the_one_who_pays() -> None:
    head = customer(ref=account_ref("H"), payer=account_ref("H"))
    middle = customer(ref=account_ref("M"), payer=account_ref("H"))
    leaf = customer(payer=account_ref("M"))
    assert decide_payer(leaf, by_ref([head, middle])) == account_ref("H")
    with pytest.raises(ValueError, match="circle"):
        decide_payer(leaf, by_ref([customer(ref=account_ref("M"), payer=account_ref())]))


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("ＡＣＭＥ, Inc.", "acme"),
        ("Société Générale S.A.", "societe generale"),
        ("Co", "co"),
        ("東京 KK", "東京"),
    ],
)
def test_normal_names(name: str, normal: str) -> None:
    assert normal_name(name) == normal


def test_only_the_crm_id_is_certain() -> None:
    tax = (TaxId(scheme="eu_vat", number="DE 123"),)
    held = customer(ref=account_ref("001B"), name="ACME", tax_ids=(TaxId(scheme="eu_vat", number="DE-123"),))
    assert match_customer(customer(), [customer(name="Renamed")]).kind == "same"
    assert match_customer(customer(tax_ids=tax), [held]).kind == "doubtful"
    assert match_customer(customer(), [held]).kind == "new"
    assert match_customer(customer(name="Other", tax_ids=tax), [held]).kind == "new"


def test_survivorship_fills_what_is_empty_and_says_from_where() -> None:
    other = customer(
        ref=Ref(connection="crm-old", kind="account", id="9"),
        name="Old",
        invoice_email="a@example.com",
        deleted=True,
    )
    golden = decide_golden_record([customer(), other])
    assert golden.customer.name == "Acme, Inc."
    assert golden.customer.invoice_email == "a@example.com"
    assert not golden.customer.deleted
    assert golden.sources == {"invoice_email": "crm-old"}
