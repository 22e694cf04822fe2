"""Choices from a seed: each by its own name, so that one more customer changes nothing about the others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Draws:
    """Numbers and picks that depend on the seed and on their name alone."""

    seed: int

    def below(self, limit: int, *name: object) -> int:
        """A whole number from 0 to below `limit`."""
        text = "|".join(map(str, (self.seed, *name)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % limit

    def pick(self, choices: Sequence[T], *name: object) -> T:
        """One of the choices."""
        return choices[self.below(len(choices), *name)]

    def chance(self, percent: int, *name: object) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100, *name) < percent
