"""Access tokens: who got one, until when it is good. Life is counted from the last use, as the vendor's is."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce.org import Org


@dataclass(slots=True)
class Session:
    user_id: str
    expires: datetime


class Sessions:
    """Every open session of the org."""

    def __init__(self, org: Org, *, seed: str, life_seconds: float) -> None:
        self._org = org
        self._seed = seed
        self._issued = 0
        self._open: dict[str, Session] = {}
        self.life = timedelta(seconds=life_seconds)

    def open(self, user_id: str) -> str:
        """A new access token."""
        self._issued += 1
        digest = hashlib.sha512(f"{self._seed}|{self._issued}".encode()).digest()
        secret = base64.b64encode(digest, altchars=b"._").decode().rstrip("=")
        token = f"{self._org.org_id[:15]}!AQ{secret}"
        self._open[token] = Session(user_id, self._org.clock.technical() + self.life)
        return token

    def of(self, request: Request) -> Session | None:
        """The session a request carries (`Bearer` or `OAuth`), renewed once half of its life has gone."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = self._open.get(token.strip()) if scheme.lower() in ("bearer", "oauth") else None
        if session is None:
            return None
        now = self._org.clock.technical()
        if session.expires <= now:
            del self._open[token.strip()]
            return None
        if session.expires - now < self.life / 2:
            session.expires = now + self.life
        return session

    def valid(self, request: Request) -> bool:
        return self.of(request) is not None

    def close(self, token: str) -> None:
        self._open.pop(token, None)

    def close_all(self) -> int:
        """End every session; how many there were."""
        count = len(self._open)
        self._open.clear()
        return count
