"""What goes wrong under `--faults`: at every twin, seeded, so that the same seed brings the same faults."""

from __future__ import annotations

from typing import Any

FACTOR = 60
# Of all writes; reads and sign-ins meet only those that do no work first. One in ten answers 500, a quarter of them
# without having done anything: each of those takes the ERP's whole in-doubt horizon.
_RATES = {
    "timeout_after_work": 0.10,
    "late": 0.02,
    "error_before": 0.025,
    "error_after": 0.075,
    "rate_limited": 0.03,
    "refuse": 0.005,
    "reset": 0.01,
    "hang": 0.005,
    "malformed": 0.01,
    "html": 0.005,
}
# The list of what was delayed is as long as the delay: a minute of technical time shuffles a burst thoroughly.
_WEBHOOKS = {"duplicate": 1.0, "delay": 1.0, "delay_seconds": 60.0, "forge": 0.02}


def fault_plans(seed: int) -> dict[str, dict[str, Any]]:
    """By twin, as its control API takes it. The ERP neither enforces our keys nor shows at once what it saved."""
    common = {
        "rates": _RATES,
        "late_seconds": [20.0, 600.0],
        "visibility_delay_seconds": 20.0,
    }
    return {
        "stripe": {**common, "seed": seed, "webhooks": _WEBHOOKS},
        "salesforce": {**common, "seed": seed + 1},
        "netsuite": {**common, "seed": seed + 2, "enforce_keys": False},
        "tryton": {**common, "seed": seed + 3},
    }
