"""A twin told to do otherwise than its vendor: what `tieout certify` must notice.

The work is done as always and only the answer differs. What concerns the work itself (keys that are not enforced, keys
that are forgotten at once) is a fault of the plan or a setting of the twin.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tieout_lab.twins.kit import Response


@dataclass(frozen=True, slots=True)
class Deviation:
    """Answers of an operation (`*`: of any) that differ: `was` names the status they must have had, `status` the one
    they get; `headers` are set, None takes one away; `fields` are set in the JSON body by path (`a.0.b`), `rows` is how
    many lines of a CSV body are left, its header among them."""

    operation: str = "*"
    was: int | None = None
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None

    def meets(self, operation: str, response: Response) -> bool:
        return self.operation in ("*", operation) and self.was in (None, response.status)

    def change(self, response: Response) -> Response:
        """The answer as it differs."""
        body, headers = response.encoded()
        for name, value in self.headers.items():
            headers.pop(name.lower(), None)
            if value is not None:
                headers[name.lower()] = value
        if self.fields and body:
            content = msgspec.json.decode(body)
            for path, value in self.fields.items():
                _set(content, path.split("."), value)
            body = msgspec.json.encode(content)
        if self.rows is not None:
            body = b"".join(body.splitlines(keepends=True)[: self.rows])
        return replace(response, status=self.status or response.status, body=body, headers=headers)


def _set(content: Any, path: list[str], value: Any) -> None:
    """Set one place of a JSON value; a place that is not there is left alone."""
    *way, last = path
    for step in way:
        content = content[int(step)] if isinstance(content, list) and int(step) < len(content) else (
            content.get(step) if isinstance(content, dict) else None
        )  # fmt: skip
    if isinstance(content, dict):
        content[last] = value
    elif isinstance(content, list) and int(last) < len(content):
        content[int(last)] = value


def read(given: dict[str, Any]) -> list[Deviation]:
    """The deviations of `PUT /_control/deviate {"answers": [...]}`. TypeError for what there is not."""
    return [Deviation(**entry) for entry in given.get("answers", [])]


def deviate(deviations: list[Deviation], operation: str, response: Response) -> Response:
    """The answer, changed by every deviation that it meets."""
    for deviation in deviations:
        if deviation.meets(operation, response):
            response = deviation.change(response)
    return response
