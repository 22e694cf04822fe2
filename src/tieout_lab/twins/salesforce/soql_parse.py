"""SOQL read into a tree. Names are not resolved here; `soql_bind.py` does that.

The subset is what integrations send: field lists with parent paths and child sub-selects, COUNT(), aggregates with
GROUP BY and HAVING, date functions, FIELDS(), WHERE with semi-joins, INCLUDES and date literals, ORDER BY, LIMIT,
OFFSET. TYPEOF, FORMAT and the rest are refused by name.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from tieout_lab.twins.salesforce import errors, values
from tieout_lab.twins.salesforce.soql_dates import PARTS
from tieout_lab.twins.salesforce.soql_text import Token, excerpt, tokens, unquoted
from tieout_lab.twins.salesforce.soql_tree import (
    Aggregate,
    Compare,
    Condition,
    FieldSet,
    Join,
    Literal,
    Order,
    Path,
    Query,
    SemiJoin,
)

_LEFT_OUT = ("TYPEOF", "WITH", "USING", "FOR", "UPDATE", "SCOPE")
_RESERVED = (
    "FROM",
    "WHERE",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "AND",
    "OR",
    "IN",
    "LIKE",
    "SELECT",
    "GROUP",
    "HAVING",
    "ALL",
)
_AGGREGATES = ("COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX")
_OPERATORS = {"<>": "!="}


@lru_cache(maxsize=512)
def parse(text: str) -> Query:
    """The tree of a query, which nobody changes; MALFORMED_QUERY where it is none."""
    if len(text) > 100_000:
        raise errors.malformed_query("SOQL statements cannot be longer than 100000 characters.")
    reader = _Reader(text)
    query = reader.query()
    reader.expect_end()
    return query


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.words = tokens(text)
        self.index = 0
        self.in_having = False

    # -- words --------------------------------------------------------------------------------------------------
    @property
    def word(self) -> Token:
        return self.words[self.index]

    def take(self) -> Token:
        token = self.word
        self.index += 1
        return token

    def fail(self, token: Token | None = None) -> errors.SalesforceError:
        token = token or self.word
        return errors.malformed_query(f"{excerpt(self.text, token.at)}unexpected token: '{token.text}'")

    def accept(self, *words: str) -> bool:
        if self.word.is_word(*words):
            self.index += 1
            return True
        return False

    def accept_mark(self, mark: str) -> bool:
        if self.word.kind == "mark" and self.word.text == mark:
            self.index += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.fail()

    def expect_mark(self, mark: str) -> None:
        if not self.accept_mark(mark):
            raise self.fail()

    def expect_end(self) -> None:
        if self.word.is_word(*_LEFT_OUT):
            raise self.unsupported(self.word)
        if self.word.kind != "end":
            raise self.fail()

    def unsupported(self, token: Token) -> errors.SalesforceError:
        text = f"{excerpt(self.text, token.at)}{token.text.upper()} is not supported by this twin"
        return errors.malformed_query(text)

    def name(self) -> Token:
        # `Order` is an object's name too: a clause only where BY follows.
        named = self.word.is_word("ORDER") and not self.words[self.index + 1].is_word("BY")
        if self.word.kind != "name" or (self.word.is_word(*_RESERVED) and not named):
            raise self.fail()
        return self.take()

    # -- query --------------------------------------------------------------------------------------------------
    def query(self) -> Query:
        self.expect("SELECT")
        query = Query("", 0)
        if self.word.is_word("COUNT") and [w.text for w in self.words[self.index + 1 :][:2]] == ["(", ")"]:
            self.index += 3
            query.count = True
        else:
            query.select.append(self.item())
            while self.accept_mark(","):
                query.select.append(self.item())
        self.expect("FROM")
        source = self.name()
        query.source, query.source_at = source.text, source.at
        if self.word.is_word("AS"):
            self.take()
        if self.word.kind == "name" and not self.word.is_word(*_RESERVED, *_LEFT_OUT):
            query.alias = self.take().text
        if self.accept("WHERE"):
            query.where = self.condition()
        self.tail(query)
        return query

    def tail(self, query: Query) -> None:
        if self.word.is_word(*_LEFT_OUT):
            raise self.unsupported(self.word)
        if self.accept("GROUP"):
            self.expect("BY")
            query.groups.append(self.grouped())
            while self.accept_mark(","):
                query.groups.append(self.grouped())
            if self.accept("HAVING"):
                self.in_having = True
                query.having = self.condition()
                self.in_having = False
        if self.accept("ORDER"):
            self.expect("BY")
            query.order.append(self.order())
            while self.accept_mark(","):
                query.order.append(self.order())
        if self.accept("LIMIT"):
            query.limit = self.whole()
        if self.accept("OFFSET"):
            at = self.word.at
            query.offset = self.whole()
            if query.offset > 2000:
                text = f"{excerpt(self.text, at)}Maximum SOQL offset allowed is 2000"
                raise errors.SalesforceError(400, "NUMBER_OUTSIDE_VALID_RANGE", text)

    def grouped(self) -> Path:
        path = self.path()
        if self.word.text == "(":  # ROLLUP, CUBE, date functions
            raise self.unsupported(self.words[self.index - 1])
        return path

    def whole(self) -> int:
        if self.word.kind != "number" or not self.word.text.isdigit():
            raise self.fail()
        return int(self.take().text)

    def item(self) -> Path | Aggregate | FieldSet | Query:
        if self.accept_mark("("):
            inner = self.query()
            self.expect_mark(")")
            return inner
        if self.word.is_word("TYPEOF"):
            raise self.unsupported(self.word)
        first = self.name()
        if self.word.text == "(" and first.text.upper() not in (*PARTS, "TOLABEL"):
            return self.function(first)
        path = self.path(first)
        return Path(path.parts, path.at, self.alias(), path.function)

    def alias(self) -> str | None:
        """The name after a selected item, where the list or the clause goes on behind it."""
        after = self.words[min(self.index + 1, len(self.words) - 1)]
        goes_on = after.text == "," or after.is_word("FROM")
        if self.word.kind == "name" and not self.word.is_word(*_RESERVED) and goes_on:
            return self.take().text
        return None

    def aggregate(self, name: Token) -> Aggregate:
        self.expect_mark("(")
        path = self.path()
        self.expect_mark(")")
        return Aggregate(name.text.upper(), path, name.at)

    def function(self, name: Token) -> Aggregate | FieldSet:
        if name.is_word(*_AGGREGATES):
            found = self.aggregate(name)
            return Aggregate(found.function, found.path, found.at, self.alias())
        if not name.is_word("FIELDS"):
            raise self.unsupported(name)
        self.expect_mark("(")
        kind = self.take().text.upper()
        if kind not in ("ALL", "STANDARD", "CUSTOM"):
            raise self.fail(self.words[self.index - 1])
        self.expect_mark(")")
        return FieldSet(kind, name.at)

    def path(self, first: Token | None = None) -> Path:
        first = first or self.name()
        if self.word.text == "(" and first.text.upper() in (*PARTS, "TOLABEL"):
            self.expect_mark("(")
            inner = self.path()
            self.expect_mark(")")
            # a label is its value here
            name = first.text.upper() if first.text.upper() in PARTS else inner.function
            return Path(inner.parts, first.at, function=name)
        parts = [first.text]
        while self.accept_mark("."):
            if self.word.kind != "name":
                raise self.fail()
            parts.append(self.take().text)
        return Path(tuple(parts), first.at)

    def order(self) -> Order:
        path: Path | Aggregate = self.path()
        if self.word.text == "(":
            token = self.words[self.index - 1]
            if not token.is_word(*_AGGREGATES):
                raise self.unsupported(token)
            path = self.aggregate(token)
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        last = False
        if self.accept("NULLS"):
            if not self.word.is_word("FIRST", "LAST"):
                raise self.fail()
            last = self.take().text.upper() == "LAST"
        return Order(path, descending, last)

    # -- conditions ---------------------------------------------------------------------------------------------
    def condition(self) -> Condition:
        """AND and OR may not stand side by side without parentheses: the vendor refuses the second word."""
        parts = [self.negation()]
        if not self.word.is_word("AND", "OR"):
            return parts[0]
        word = self.word.text.upper()
        while self.accept(word):
            parts.append(self.negation())
        if self.word.is_word("AND", "OR"):
            raise self.fail()
        return Join(word, tuple(parts))

    def negation(self) -> Condition:
        if self.accept("NOT"):
            return Join("NOT", (self.negation(),))
        if self.accept_mark("("):
            inner = self.condition()
            self.expect_mark(")")
            return inner
        return self.comparison()

    def comparison(self) -> Condition:
        path: Path | Aggregate = self.path()
        if self.word.text == "(":
            token = self.words[self.index - 1]
            if not (self.in_having and token.is_word(*_AGGREGATES)):
                raise self.unsupported(token)
            path = self.aggregate(token)
        negated = self.accept("NOT")
        if self.accept("IN"):
            return self.membership(path, negated=negated)
        if negated:
            raise self.fail()
        if self.word.is_word("INCLUDES", "EXCLUDES"):
            word = self.take().text.upper()
            self.expect_mark("(")
            return Compare(path, word, self.literals())
        if self.accept("LIKE"):
            return Compare(path, "LIKE", (self.literal(),))
        if self.word.kind != "operator":
            raise self.fail()
        text = self.take().text
        return Compare(path, _OPERATORS.get(text, text), (self.literal(),))

    def membership(self, path: Path | Aggregate, *, negated: bool) -> Condition:
        self.expect_mark("(")
        if self.word.is_word("SELECT") and isinstance(path, Path):
            inner = self.query()
            self.expect_mark(")")
            return SemiJoin(path, negated, inner)
        return Compare(path, "NOT IN" if negated else "IN", self.literals())

    def literals(self) -> tuple[Literal, ...]:
        """What stands in parentheses, whose first is taken already."""
        found = [self.literal()]
        while self.accept_mark(","):
            found.append(self.literal())
        self.expect_mark(")")
        return tuple(found)

    def literal(self) -> Literal:
        token = self.take()
        if token.kind == "string":
            return Literal(
                "string", unquoted(token.text), token.at, pattern=unquoted(token.text, pattern=True)
            )
        if token.kind == "number":
            return Literal("number", Decimal(token.text), token.at)
        if token.kind in ("date", "datetime"):
            parsed = (
                values.parse_date(token.text) if token.kind == "date" else values.parse_moment(token.text)
            )
            if parsed is None:
                raise self.fail(token)
            return Literal(token.kind, parsed, token.at)
        if token.is_word("NULL"):
            return Literal("null", None, token.at)
        if token.is_word("TRUE", "FALSE"):
            return Literal("boolean", token.text.upper() == "TRUE", token.at)
        if token.kind == "mark" and token.text == ":":
            raise errors.malformed_query(
                f"{excerpt(self.text, token.at)}Bind variables only allowed in Apex code"
            )
        if token.kind == "name" and not token.is_word(*_RESERVED):
            n = 0
            if self.accept_mark(":"):
                n = self.whole()
            return Literal("period", token.text.upper(), token.at, n=n)
        raise self.fail(token)
