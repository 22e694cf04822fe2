"""Structured logs: one JSON object a line on standard error, with trace, lane and effect key; never a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from tieout.canonical.secret import Secret

LEVELS = ("debug", "info", "warning", "error")
_SECRET_NAME = re.compile(
    r"(authorization|api_?key|secret|password|passphrase|token|private_?key|cookie|signature)", re.IGNORECASE
)
# What gives itself away as a secret wherever it stands: bearer tokens, PEM keys, keys with the usual beginnings.
_SECRET_TEXT = re.compile(
    r"(Bearer\s+[A-Za-z0-9._~+/=-]{8,}|(?:sk|rk|whsec)_[A-Za-z0-9_]{6,}|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?"
    r"(?:-----END [A-Z ]*PRIVATE KEY-----|$)|://[^/\s:@]+:[^/\s@]+@)"
)
_MASK = "***"


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks what is named like a secret and what looks like one, however deep."""
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: Any) -> Any:
    match value:
        case Secret():
            return _MASK
        case str() if _SECRET_NAME.search(name):
            return _MASK
        case str():
            return _SECRET_TEXT.sub(_MASK, value)
        case bytes():
            return f"{len(value)} bytes"
        case dict():
            return {key: _masked(str(key), one) for key, one in value.items()}
        case list() | tuple():
            return [_masked(name, one) for one in value]
        case _:
            return value


class _Stderr:
    """Writes lines to standard error. Where nobody reads it any more, a log line is lost and nothing else."""

    def msg(self, text: str) -> None:
        try:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = fatal = log = msg


class _Handler(logging.Handler):
    """The libraries' way to the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        _Stderr().msg(self.format(record))


def configure(level: str) -> None:
    """Set up logging for this process; libraries' own logs take the same form."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak up only when something is wrong: their chatter would drown the hub's own words.
    root.setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
