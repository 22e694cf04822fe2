"""A business that sells, invoices, is paid, credits, refunds, voids and writes off: from one seed, the same each time."""

from __future__ import annotations

from tieout_lab.scenario.plan import Plan, make_plan
from tieout_lab.scenario.play import Player, Watched
from tieout_lab.scenario.steering import Steering

__all__ = ["Plan", "Player", "Steering", "Watched", "make_plan"]
