"""Encryption at rest: AES-256-GCM boxes under named data keys, which a master key wraps.

A box is bound to where it stands (`place` is the associated data), so that it cannot be moved to another row. Personal
data of one customer stands under that customer's own key: destroying the key erases it everywhere, backups included.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieout.ports import Chance

_NONCE = 12
COMPANY = "company"


class Unreadable(Exception):
    """A box that does not open: wrong key, erased key, moved or altered."""


class KeyRing:
    """The master key and the data keys opened so far."""

    def __init__(self, master: bytes, chance: Chance) -> None:
        if len(master) != 32:
            raise ValueError("the master key must be 32 bytes")
        self._master = AESGCM(master)
        self._chance = chance
        self._opened: dict[str, AESGCM] = {}
        self.signer = Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(b"tieout audit head" + master).digest()
        )

    def make(self, name: str) -> bytes:
        """A fresh data key, wrapped for the store. It is used only once `open` has been told of it."""
        nonce = self._chance.token(_NONCE)
        return nonce + self._master.encrypt(nonce, self._chance.token(32), name.encode())

    def open(self, name: str, wrapped: bytes) -> None:
        """Unwrap a data key for use. Raises Unreadable."""
        try:
            self._opened[name] = AESGCM(
                self._master.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], name.encode())
            )
        except InvalidTag as error:
            raise Unreadable(f"data key {name!r} does not open under this master key") from error

    def has(self, name: str) -> bool:
        return name in self._opened

    def forget(self, name: str) -> None:
        self._opened.pop(name, None)

    def seal(self, plain: bytes, place: str, name: str = COMPANY) -> bytes:
        """Encrypt `plain` for the row and column named by `place`."""
        nonce = self._chance.token(_NONCE)
        return nonce + self._opened[name].encrypt(nonce, plain, place.encode())

    def unseal(self, box: bytes, place: str, name: str = COMPANY) -> bytes:
        """Decrypt a box. Raises Unreadable."""
        key = self._opened.get(name)
        if key is None:
            raise Unreadable(f"data key {name!r} is not there (erased?)")
        try:
            return key.decrypt(box[:_NONCE], box[_NONCE:], place.encode())
        except InvalidTag as error:
            raise Unreadable(f"the box at {place} was altered or moved") from error


def master_key_file(path: Path, chance: Chance) -> bytes:
    """The master key of a key file, made (mode 0600) when there is none. ValueError when it is no such file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w") as out:
            out.write(chance.token(32).hex() + "\n")
        # Whole or not at all, and never over another: processes that start at once all read the first one's.
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
        Path(fresh).unlink()
    text = path.read_text().strip()
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError(f"{path}: a master key is 64 hexadecimal characters") from error
    if len(key) != 32:
        raise ValueError(f"{path}: a master key is 64 hexadecimal characters, this has {len(text)}")
    return key
