"""SOQL as the Salesforce twin reads it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_lab.twins.salesforce import ids
from tieout_lab.twins.salesforce.errors import SalesforceError
from tieout_lab.twins.salesforce.soql_dates import period
from tieout_lab.twins.salesforce.soql_parse import parse
from tieout_lab.twins.salesforce.soql_text import like, unquoted
from tieout_lab.twins.salesforce.soql_tree import Compare, Join, Path, Query, SemiJoin
from tieout_lab.twins.salesforce.values import parse_date, parse_moment


def test_a_whole_query() -> None:
    query = parse(
        "select Id, a.Account.Name, (SELECT Id FROM OpportunityLineItems o WHERE Quantity > 1 ORDER BY SortOrder)\n"
        "FROM Opportunity a WHERE (IsWon = TRUE AND Amount >= 1.5e3) OR NOT Name LIKE 'x%'\n"
        "ORDER BY CloseDate DESC NULLS LAST, Id LIMIT 10 OFFSET 5"
    )
    assert query.source == "Opportunity"
    assert query.alias == "a"
    assert (query.limit, query.offset) == (10, 5)
    assert isinstance(query.select[1], Path)
    assert query.select[1].parts == ("a", "Account", "Name")
    inner = query.select[2]
    assert isinstance(inner, Query)
    assert (inner.source, inner.alias) == ("OpportunityLineItems", "o")
    assert isinstance(query.where, Join)
    assert query.where.word == "OR"
    assert [(order.descending, order.nulls_last) for order in query.order] == [(True, True), (False, False)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("'it\\'s'", "string", "it's"),
        ("-12.50", "number", Decimal("-12.50")),
        ("null", "null", None),
        ("false", "boolean", False),
        ("2026-11-23", "date", "2026-11-23"),
        ("2026-11-23T13:20:09Z", "datetime", "2026-11-23T13:20:09.000+0000"),
        ("2026-11-23T13:20:09.5+02:00", "datetime", "2026-11-23T11:20:09.500+0000"),
        ("2026-11-23T13:20:09.000+0000", "datetime", "2026-11-23T13:20:09.000+0000"),
        ("today", "period", "TODAY"),
    ],
)
def test_literals(text: str, kind: str, value: object) -> None:
    where = parse(f"SELECT Id FROM Account WHERE X = {text}").where
    assert isinstance(where, Compare)
    assert (where.operands[0].kind, where.operands[0].value) == (kind, value)


def test_lists_and_semi_joins() -> None:
    where = parse("SELECT Id FROM A WHERE X NOT IN ('a', 'b') AND Y IN (SELECT Id FROM B)").where
    assert isinstance(where, Join)
    first, second = where.parts
    assert isinstance(first, Compare)
    assert (first.operator, len(first.operands)) == ("NOT IN", 2)
    assert isinstance(second, SemiJoin)
    assert not second.negated


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("SELECT Id FORM Account", "'FORM'"),
        ("SELECT FROM Account", "'FROM'"),
        ("SELECT Id, FROM Account", "'FROM'"),
        ("SELECT Id FROM Account WHERE", "'<EOF>'"),
        ("SELECT Id FROM Account WHERE Name IS NULL", "'IS'"),
        ('SELECT Id FROM Account WHERE Name = "x"', "'\"x\"'"),
        ("SELECT Id FROM Account WHERE (Name = 'x'", "'<EOF>'"),
        ("SELECT Id FROM Account WHERE A = 1 AND B = 2 OR C = 3", "'OR'"),
        ("SELECT Id FROM Account WHERE A = 2026-13-45", "'2026-13-45'"),
        ("SELECT Id FROM Account WHERE A = 2026-01-01T00:00:00 00:00", "'2026'"),
        ("SELECT Id FROM Account LIMIT -1", "'-1'"),
        ("SELECT Id FROM Account; DROP TABLE x", "';'"),
        ("SELECT * FROM Account", "'*'"),
        ("SELECT Id FROM Account LIMIT 1 WHERE Name = 'x'", "'WHERE'"),
    ],
)
def test_unexpected_tokens(text: str, token: str) -> None:
    with pytest.raises(SalesforceError) as caught:
        parse(text)
    assert caught.value.code == "MALFORMED_QUERY"
    assert caught.value.message.startswith("\n")
    assert "ERROR at Row:1:Column:" in caught.value.message
    if "2026-01-01T" not in text:
        assert caught.value.message.endswith(f"unexpected token: {token}")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT Name FROM Account GROUP BY ROLLUP(Name)",
        "SELECT FORMAT(Amount) FROM Opportunity",
        "SELECT convertCurrency(Amount) FROM Opportunity",
        "SELECT Id FROM Account FOR UPDATE",
        "SELECT Id FROM Account WITH SECURITY_ENFORCED",
        "SELECT TYPEOF Owner WHEN User THEN Id END FROM Account",
        "SELECT Id FROM Account USING SCOPE mine",
    ],
)
def test_what_is_left_out_says_so(text: str) -> None:
    with pytest.raises(SalesforceError, match="is not supported by this twin") as caught:
        parse(text)
    assert caught.value.code == "MALFORMED_QUERY"


def test_position_of_a_refusal() -> None:
    with pytest.raises(SalesforceError) as caught:
        parse("SELECT Id\nFROM Account\nWHERE Name ==")
    assert "ERROR at Row:3:Column:13\n" in caught.value.message


def test_strings_end_and_escape_rightly() -> None:
    assert unquoted(r"'a\nb\tc\"d\\e\u00e9\_\%'") == 'a\nb\tc"d\\eé_%'
    with pytest.raises(SalesforceError, match="Illegal character sequence"):
        unquoted(r"'\d'")
    with pytest.raises(SalesforceError, match="unterminated"):
        parse("SELECT Id FROM A WHERE B = 'x")
    with pytest.raises(SalesforceError, match="unterminated"):
        parse("SELECT Id FROM A WHERE B = 'x\\'")


@given(st.text())
def test_any_text_survives_the_documented_escapes(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    where = parse(f"SELECT Id FROM A WHERE B = '{escaped}'").where
    assert isinstance(where, Compare)
    assert where.operands[0].value == text


@pytest.mark.parametrize(
    ("literal", "matches", "does_not"),
    [
        ("'Ac%'", ["Acme", "ac", "AC/DC"], ["xAc"]),
        ("'A_me'", ["Acme", "A%me"], ["Ame"]),
        (r"'100\%'", ["100%"], ["1000"]),
        (r"'a\_b'", ["a_b"], ["axb"]),
        (r"'a\\%'", ["a\\b"], ["ab"]),
        ("'.*'", [".*"], ["ab"]),
    ],
)
def test_like(literal: str, matches: list[str], does_not: list[str]) -> None:
    pattern = like(unquoted(literal, pattern=True))
    assert all(pattern.fullmatch(text) for text in matches)
    assert not any(pattern.fullmatch(text) for text in does_not)


@pytest.mark.parametrize(
    ("word", "n", "first", "after"),
    [
        ("TODAY", 0, "2026-11-23", "2026-11-24"),
        ("YESTERDAY", 0, "2026-11-22", "2026-11-23"),
        ("LAST_N_DAYS", 7, "2026-11-16", "2026-11-24"),
        ("NEXT_N_DAYS", 2, "2026-11-24", "2026-11-26"),
        ("N_DAYS_AGO", 3, "2026-11-20", "2026-11-21"),
        ("THIS_WEEK", 0, "2026-11-22", "2026-11-29"),
        ("THIS_MONTH", 0, "2026-11-01", "2026-12-01"),
        ("LAST_N_MONTHS", 2, "2026-09-01", "2026-11-01"),
        ("NEXT_MONTH", 0, "2026-12-01", "2027-01-01"),
        ("THIS_QUARTER", 0, "2026-10-01", "2027-01-01"),
        ("LAST_YEAR", 0, "2025-01-01", "2026-01-01"),
    ],
)
def test_date_literals(word: str, n: int, first: str, after: str) -> None:
    assert period(word, n, date(2026, 11, 23)) == (date.fromisoformat(first), date.fromisoformat(after))


def test_a_word_that_is_no_date_literal() -> None:
    assert period("SOMEDAY", 0, date(2026, 11, 23)) is None


@pytest.mark.parametrize("text", ["2026-02-30", "26-01-01", "2026-01-01T25:00:00Z", "tomorrow", ""])
def test_no_dates(text: str) -> None:
    assert parse_date(text) is None
    assert parse_moment(text) is None


def test_ids_carry_their_case() -> None:
    # printed in the vendor's documentation
    assert ids.full("001RM000003oCpr") == "001RM000003oCprYAE"
    assert ids.full("001RM000003oCprYAE") == "001RM000003oCprYAE"
    assert ids.full("001RM000003oCprYAA") is None
    assert ids.full("001rm000003oCprYAE") is None
    assert ids.full("001RM000003oCp") is None
    assert ids.full("001RM000003oC'r") is None


def test_minted_ids_sort_by_number() -> None:
    minted = [ids.mint("006", number) for number in range(1, 300)]
    assert minted == sorted(minted)
    assert len(set(minted)) == len(minted)
    assert all(ids.full(each) == each and ids.full(each[:15]) == each for each in minted)
