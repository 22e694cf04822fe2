"""Moments as the store keeps them: microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """An aware moment as the store keeps it."""
    return (moment - _EPOCH) // _MICRO


def moment(value: int) -> datetime:
    """The moment of a stored value."""
    return _EPOCH + timedelta(microseconds=value)
