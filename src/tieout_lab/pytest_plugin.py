"""Pytest fixtures for the digital twins, for anybody's tests: the entry point `pytest11`.

    def test_mine(stripe_twin):
        client = MyClient(stripe_twin.url, stripe_twin.describe()["api_key"])
        stripe_twin.act("seed_catalogue")
        stripe_twin.fail_once("timeout_after_work", "customers.create")

Each is a `Served` twin on a loopback port of its own, fresh for every test: `url`, `describe()`, `act(action, ...)`,
`faults(...)`, `fail(kind, ...)`, `fail_once(kind, ...)`, `deviate(...)`, `move_clock(moment)`, `log()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tieout_lab.conformance.world import Served
    from tieout_lab.twins.clock import TwinClock


@pytest.fixture
def twin_clock() -> TwinClock:
    """The clocks of the twins of one test; override it to begin at another business moment, or to run faster."""
    from tieout_lab.twins.clock import SystemTwinClock

    return SystemTwinClock()


@pytest.fixture
def serve_twin(twin_clock: TwinClock) -> Iterator[Callable[[Callable[[TwinClock], Any]], Served]]:
    """Serves any twin, also one of your own: `serve_twin(create)` with `create(clock) -> application`."""
    from tieout_lab.conformance.world import serve

    with ExitStack() as open_twins:
        yield lambda create: open_twins.enter_context(serve(create(twin_clock)))


@pytest.fixture
def stripe_twin(serve_twin: Any) -> Served:
    """The billing twin: two accounts, nothing in them."""
    from tieout_lab.twins.stripe import create

    served: Served = serve_twin(create)
    return served


@pytest.fixture
def salesforce_twin(serve_twin: Any) -> Served:
    """The CRM twin: a sandbox with products and prices."""
    from tieout_lab.twins.salesforce import create

    served: Served = serve_twin(create)
    return served


@pytest.fixture
def netsuite_twin(serve_twin: Any) -> Served:
    """The ERP twin: an account with two subsidiaries."""
    from tieout_lab.twins.netsuite import create

    served: Served = serve_twin(create)
    return served
