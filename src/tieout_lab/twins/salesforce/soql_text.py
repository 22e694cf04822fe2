"""SOQL's words: a lexer that knows where each stands, so that refusals can point at it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tieout_lab.twins.salesforce import errors

_WORD = re.compile(
    r"""(?P<datetime>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))
      | (?P<date>\d{4}-\d{2}-\d{2}(?![\dT]))
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z_\d]))
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<string>'(?:[^'\\]|\\.)*')
      | (?P<operator><=|>=|!=|<>|=|<|>)
      | (?P<mark>[(),.:])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, its kind (a group of the pattern, or 'end') and where it starts (from 0)."""

    kind: str
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "name" and self.text.upper() in words


def tokens(query: str) -> list[Token]:
    """Every word of a query; MALFORMED_QUERY at the first that is none."""
    found: list[Token] = []
    at = 0
    while True:
        while at < len(query) and query[at].isspace():
            at += 1
        if at == len(query):
            found.append(Token("end", "<EOF>", at))
            return found
        match = _WORD.match(query, at)
        if match is None:
            if query[at] == "'":
                raise errors.malformed_query(f"{excerpt(query, at)}unterminated string literal")
            raise errors.malformed_query(f"{excerpt(query, at)}unexpected token: '{_stretch(query, at)}'")
        found.append(Token(match.lastgroup or "", match.group(), at))
        at = match.end()


def excerpt(query: str, at: int) -> str:
    """The vendor's pointer: the surroundings, a caret, row and column (from 1), a line feed."""
    row = query.count("\n", 0, at) + 1
    begin = query.rfind("\n", 0, at) + 1
    column = at - begin + 1
    first = max(begin, at - 40)
    line = query[first : min(len(query), at + 30)].partition("\n")[0]
    return f"\n{line}\n{' ' * (at - first)}^\nERROR at Row:{row}:Column:{column}\n"


def unquoted(literal: str, *, pattern: bool = False) -> str:
    r"""The text of a quoted literal. With `pattern`, `\%` and `\_` stay as they are, for LIKE to read."""
    body, out, at = literal[1:-1], [], 0
    while at < len(body):
        char = body[at]
        if char != "\\":
            out.append(char)
            at += 1
            continue
        code = body[at + 1]
        if code in "uU" and re.fullmatch(r"[0-9a-fA-F]{4}", body[at + 2 : at + 6]):
            out.append(chr(int(body[at + 2 : at + 6], 16)))
            at += 6
            continue
        if code in "%_":
            out.append(f"\\{code}" if pattern else code)
        elif code.lower() in "nrtbf":
            out.append(_ESCAPES[code.lower()])
        elif code in _ESCAPES:
            out.append("\\\\" if pattern and code == "\\" else _ESCAPES[code])
        else:
            text = (
                f"Invalid string literal '{body}'. Illegal character sequence '\\{code}' in string literal."
            )
            raise errors.malformed_query(text)
        at += 2
    return "".join(out)


def like(pattern: str) -> re.Pattern[str]:
    r"""The pattern of a LIKE, from text that still holds `\%`, `\_` and `\\`."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            out.append(re.escape(pattern[at + 1]))
            at += 2
            continue
        out.append({"%": ".*", "_": "."}.get(char) or re.escape(char))
        at += 1
    return re.compile("".join(out), re.DOTALL | re.IGNORECASE)


def _stretch(query: str, at: int) -> str:
    return re.match(r"\S{1,30}", query[at:]).group() if at < len(query) else ""  # type: ignore[union-attr]  # no blank
