"""What an outside system told us: a hint, not a fact."""

from __future__ import annotations

from datetime import datetime

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class ChangeEvent(Value, frozen=True, tag_field="type_", tag="change_event.v1"):
    """CloudEvents 1.0 attributes of one change: `id` and `source` (our connection) identify it, `subject` is the
    document it is about, `type` the vendor's own word. `document_keys` are our keys seen in the body: evidence that
    a write in doubt happened, as (document key, external id). `ignored` names the rule that makes it of no interest.
    `echo` marks a change made of nothing but fields that we write ourselves; `content` is a hash of the fields that
    are not ours: the same content as the lane's last event tells nothing new. Correctness rests on neither."""

    id: str
    source: str
    type: str
    subject: Ref | None
    time: datetime
    data: bytes = b""
    datacontenttype: str = "application/json"
    specversion: str = "1.0"
    ignored: str = ""
    echo: bool = False
    content: str = ""
    document_keys: tuple[tuple[str, str], ...] = ()
