"""Record ids: 15 case-sensitive characters, written with 3 more that carry the case of the first 15.

Source: REST API Developer Guide, "ID Field Type": each block of 5 characters gives 5 bits, the first character the
lowest, a bit set for each upper-case letter; the bits index `ABCDEFGHIJKLMNOPQRSTUVWXYZ012345`.
"""

from __future__ import annotations

_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_POD = "Hk"


def suffix(fifteen: str) -> str:
    """The three check characters of a 15-character id."""
    blocks = (fifteen[start : start + 5] for start in (0, 5, 10))
    return "".join(
        _SUFFIX[sum(1 << bit for bit, char in enumerate(block) if "A" <= char <= "Z")] for block in blocks
    )


def mint(prefix: str, number: int) -> str:
    """The 18-character id of the `number`-th record of an object; ids of one object sort in order of their number."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    fifteen = prefix + _POD + digits.rjust(10, "0")
    return fifteen + suffix(fifteen)


def full(given: str) -> str | None:
    """The 18-character form of a 15- or 18-character id, or None if it is no id (length, alphabet, check)."""
    if len(given) not in (15, 18) or not (given.isascii() and given.isalnum()):
        return None
    complete = given[:15] + suffix(given[:15])
    return complete if len(given) == 15 or given == complete else None


def is_of(given: str, prefix: str) -> bool:
    """Whether a string is an id of the object with this key prefix."""
    return given.startswith(prefix) and full(given) is not None
