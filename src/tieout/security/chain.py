"""The audit chain: each row's hash covers the row before it, and the head is signed.

The chain covers salted commitments of the rows, so that a row can be proved without the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

GENESIS = "0" * 64


def link(previous: str, number: int, row: Sequence[Any]) -> str:
    """The hash of one audit row in the chain: SHA-256 over the previous hash, its number and its fields."""
    digest = hashlib.sha256(f"{previous}|{number}".encode())
    for value in row:
        text = str(value).encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return digest.hexdigest()


def head_text(number: int, at: int, hash_: str) -> bytes:
    """What the signature of a head covers."""
    return f"tieout audit\n{number}\n{at}\n{hash_}\n".encode()
