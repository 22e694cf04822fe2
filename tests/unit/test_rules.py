"""Decision tables: every mistake at once with file and line; every answer with rule and version."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.company import JP, TEXTS, US, master_data, rule_files
from tieout.canonical.decision import MissingRule
from tieout.masterdata.coverage import coverage, unknown_codes
from tieout.masterdata.rules import RuleErrors
from tieout.masterdata.tables import load, read_rule_files

DAY = date(2026, 1, 15)
TERMS = "rule_id,crm_terms,days,erp_terms,valid_from,valid_to\n"


def errors(**changed: str) -> list[str]:
    with pytest.raises(RuleErrors) as refused:
        master_data(**changed)
    return [str(error) for error in refused.value.errors]


def test_answers_carry_rule_and_version() -> None:
    data = master_data()
    decision = data.item("prod_PLATFORM", "us", "deferred", DAY)
    assert (decision.value.item, decision.value.account, decision.value.department) == (
        "PLATFORM-DEF",
        "2400",
        "10",
    )
    assert decision.rule_id == "I1"
    assert decision.version == data.versions()["items"]


@pytest.mark.parametrize(("day", "rule"), [(date(2026, 1, 31), "I1"), (date(2026, 2, 1), "I1b")])
def test_valid_to_is_the_first_day_without_the_rule(day: date, rule: str) -> None:
    assert master_data().item("prod_PLATFORM", "us", "deferred", day).rule_id == rule


def test_the_version_is_that_of_the_content() -> None:
    head, *rows = TEXTS["terms"].splitlines(keepends=True)
    more = "N0,NET0,0,4,,\n"
    forth = master_data(terms=head + "".join(rows) + more).versions()["terms"]
    back = master_data(terms="\ufeff" + head + "# a remark\n\n" + more + "".join(rows)).versions()["terms"]
    assert forth == back != master_data().versions()["terms"]


def test_overlap_names_both_lines_and_what_to_write() -> None:
    found = errors(terms=TERMS + "a,NET30,30,2,,2026-03-01\nb,NET30,30,3,2026-02-01,\n")
    said = "rules/terms.csv:3: overlaps crm_terms NET30 (rule a, line 2); write valid_to 2026-02-01 in line 2"
    assert found == [f"{said} or a later valid_from in line 3"]


def test_hole_names_both_lines_and_what_to_write() -> None:
    (found,) = errors(terms=TERMS + "b,NET30,30,3,2026-02-01,\na,NET30,30,2,,2026-01-01\n")
    assert found.startswith("rules/terms.csv:2: hole from 2026-01-01 until 2026-02-01")
    assert "write valid_from 2026-01-01 in line 2" in found


def test_all_mistakes_of_all_files_at_once() -> None:
    found = errors(
        terms=TERMS
        + "a,NET30,thirty,2,2026-13-01,\na2,NET0,0,2,2026-02-01,2026-02-01\na3,X,1,2\nb,NET1,1,1,,\nb,NET2,1,1,,\n",
        products="rule_id,crm_product,billing_connection,billing_product,nome,valid_from,valid_to\n",
        tax_codes=TEXTS["tax_codes"] + "T9,uk,GB,20,GB,,\nT10,us,*,5,X,,\nT11,us,NV,abc,X,,\n",
    )
    for start in (
        "rules/products.csv:1: unknown column 'nome'",
        "rules/products.csv:1: column 'name' is missing",
        "rules/terms.csv:2: days: 'thirty' is no number of days",
        "rules/terms.csv:2: valid_from: '2026-13-01' is no date; write it as 2026-01-31",
        "rules/terms.csv:3: valid_to 2026-02-01 is not after",
        "rules/terms.csv:4: 4 cells where the header has 6",
        "rules/terms.csv:6: rule_id 'b' is that of line 5",
        "rules/tax_codes.csv:5: entity: 'uk' is not configured",
        "rules/tax_codes.csv:6: jurisdiction * stands for a rate of 0 only",
        "rules/tax_codes.csv:7: rate_percent: 'abc' is no number",
    ):
        assert any(error.startswith(start) for error in found), (start, found)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("rule_id;crm_terms;days\n", "semicolons"),
        (TERMS + 'a,"NET30,30,2,,\n', "not readable"),
        (TERMS + ",NET30,30,2,,\n", "rule_id is empty"),
        (TERMS + "a,,30,2,,\n", "crm_terms is empty"),
        (TERMS + "a,NET30,30,2,20260101,\n", "is no date"),
    ],
)
def test_what_is_no_table(text: str, said: str) -> None:
    assert any(said in error for error in errors(terms=text))


def test_a_missing_file_says_its_header(tmp_path: Path) -> None:
    for file in rule_files():
        if file.table != "terms":
            (tmp_path / f"{file.table}.csv").write_text(file.text, encoding="utf-8")
    with pytest.raises(
        RuleErrors, match=r"terms\.csv:1: the file is missing; write it with the header rule_id,crm_terms"
    ):
        load(read_rule_files(tmp_path), [US, JP])


def test_hostile_cells_are_cells() -> None:
    data = master_data(terms=TERMS + '=1+1,"NET ""30"", 👍",30,"2\n",,\n')
    assert data.terms('NET "30", 👍', DAY).rule_id == "=1+1"


def test_the_most_special_account_wins() -> None:
    data = master_data()
    assert data.account("clearing", "us", "billing-us", "USD", DAY).value.account == "1050"
    assert data.account("clearing", "us", "billing-us", "EUR", DAY).value.account == "1051"


def test_rate_zero_falls_back_and_no_other_does() -> None:
    data = master_data()
    assert data.tax_code("us", "DE", Decimal("0.00"), DAY).value == "EXEMPT"
    assert data.tax_code("jp", "JP", Decimal(10), DAY).value == "JP_10"
    with pytest.raises(MissingRule) as missing:
        data.tax_code("us", "US-NY", Decimal("8.875"), DAY)
    assert missing.value.outcome.scope == "mapping"
    assert missing.value.outcome.remedy == (
        "Add a row to rules/tax_codes.csv: <rule_id>,us,US-NY,8.875,<code>,<valid_from>,<valid_to>"
    )


def test_missing_rule_is_scoped_to_product_and_entity() -> None:
    with pytest.raises(MissingRule) as missing:
        master_data().item("prod_GHOST", "us", "deferred", DAY)
    assert missing.value.outcome.key == "prod_GHOST x us"


def test_entities() -> None:
    data = master_data()
    assert data.entity_of_billing("billing-jp") == JP
    for ask in (data.legal_entity, data.entity_of_billing):
        with pytest.raises(MissingRule):
            ask("nowhere")


def test_coverage_tells_each_hole_once() -> None:
    sold = [("PLATFORM", "recurring", "us"), ("GHOST", "recurring", "us"), ("ONBOARD", "one_time", "us")]
    found = coverage(master_data(), on=DAY, sold=sold, terms=["NET30"], money=[("us", "USD"), ("jp", "JPY")])
    subjects = [finding.subject for finding in found]
    assert subjects == ["product GHOST", "product GHOST", "bank account", "bad_debt account"]
    assert unknown_codes(master_data(), items=frozenset(), accounts=frozenset({"4000"}))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 3300))
def test_ranges_that_touch_are_accepted_and_answer_by_day(lengths: list[int], offset: int) -> None:
    first = date(2020, 1, 1)
    rows, start = [], first
    for number, length in enumerate(lengths):
        end = start + timedelta(days=length)
        rows.append((f"r{number}", start, end))
        start = end
    text = TERMS + "".join(f"{name},NET30,30,2,{one},{two}\n" for name, one, two in reversed(rows))
    data = master_data(terms=text)
    day = first + timedelta(days=offset)
    expected = next((name for name, one, two in rows if one <= day < two), None)
    if expected is None:
        with pytest.raises(MissingRule):
            data.terms("NET30", day)
    else:
        assert data.terms("NET30", day).rule_id == expected
