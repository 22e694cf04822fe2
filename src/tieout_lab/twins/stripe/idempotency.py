"""Idempotency keys: the first answer of a call is kept for a day and given again.

Kept once the work began, 500s included. Not kept: refused parameters, 401, 409, 429. The same key with other
parameters or at another endpoint is refused; while the first call is still under way, so is the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.stripe.errors import Refusal, invalid

MAX_KEY = 255


@dataclass(slots=True)
class Kept:
    """What a key stands for: the call that owns it, and its answer once there is one."""

    owner: Request
    path: str
    pairs: list[tuple[str, str]]
    since: float
    answer: Response | None = None


@dataclass(slots=True)
class Keys:
    """The keys of every account, by (account, key)."""

    life_seconds: int
    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)

    def begin(
        self, account: str, key: str, request: Request, pairs: list[tuple[str, str]], technical: float
    ) -> Response | None:
        """Take the key for this call, or give the kept answer; refuses what conflicts."""
        if len(key) > MAX_KEY:
            raise invalid(f"Idempotency-Key: at most {MAX_KEY} characters")
        place = (account, key)
        known = self.kept.get(place)
        if known is not None and technical - known.since >= self.life_seconds:
            del self.kept[place]
            known = None
        if known is None:
            self.kept[place] = Kept(request, request.path, sorted(pairs), technical)
            return None
        if known.owner is request:
            return None
        if known.path != request.path:
            raise _mismatch(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{request.path}' vs '{known.path}'): {key}"
            )
        if known.pairs != sorted(pairs):
            raise _mismatch(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with: {key}"
            )
        if known.answer is None:
            raise Refusal(
                409,
                f"Another request with this idempotency key is still in progress: {key}",
                code="idempotency_key_in_use",
                kind="idempotency_error",
                executed=False,
            )
        headers = {**known.answer.headers, "Idempotent-Replayed": "true"}
        return Response(known.answer.status, known.answer.body, headers)

    def keep(self, account: str, key: str, request: Request, answer: Response) -> None:
        """Keep the answer of the call that holds the key."""
        known = self.kept.get((account, key))
        if known is not None and known.owner is request and known.answer is None:
            body, _ = answer.encoded()
            known.answer = Response(answer.status, body, dict(answer.headers))

    def replace(self, account: str, key: str, request: Request, answer: Response) -> None:
        """The answer turned into another one after the work (a 500): that is the one to be given again."""
        known = self.kept.get((account, key))
        if known is not None and known.owner is request:
            body, _ = answer.encoded()
            known.answer = Response(answer.status, body, dict(answer.headers))

    def release(self, account: str, key: str, request: Request) -> None:
        """The call never began: the key is free again."""
        known = self.kept.get((account, key))
        if known is not None and known.owner is request and known.answer is None:
            del self.kept[(account, key)]


def _mismatch(message: str) -> Refusal:
    return Refusal(400, message, kind="idempotency_error", executed=False)
