"""Private keys that sign-ins sign with."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from joserfc.jwk import ECKey, RSAKey

K = TypeVar("K", RSAKey, ECKey)


@lru_cache(maxsize=32)
def signing_key(kind: type[K], pem: str) -> K:
    """A private key from its PEM text. Read once: an RSA key is checked as it is read, which takes some 50 ms. Raises
    JoseError, ValueError or TypeError; their words may hold the key."""
    return kind.import_key(pem)
