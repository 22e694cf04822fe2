"""What conformance tests stand on: it is in the proving ground, so that other people's connectors can use it too."""

from tieout_lab.conformance.world import (
    SystemTransport,
    CannedTransport,
    RealChance,
    RealClock,
    RecordingTransport,
    Served,
    canned,
    open_world,
    refused_url,
    serve,
)

__all__ = [
    "SystemTransport",
    "CannedTransport",
    "RealChance",
    "RealClock",
    "RecordingTransport",
    "Served",
    "canned",
    "open_world",
    "refused_url",
    "serve",
]
