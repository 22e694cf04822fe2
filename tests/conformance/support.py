"""What conformance tests stand on: it is in the proving ground, so that other people's connectors can use it too."""

from tieout_lab.conformance.world import (
    CannedTransport,
    RealChance,
    RealClock,
    RecordingTransport,
    Served,
    SystemTransport,
    canned,
    open_world,
    refused_url,
    serve,
)

__all__ = [
    "CannedTransport",
    "RealChance",
    "RealClock",
    "RecordingTransport",
    "Served",
    "SystemTransport",
    "canned",
    "open_world",
    "refused_url",
    "serve",
]
