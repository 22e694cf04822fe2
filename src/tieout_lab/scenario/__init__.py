"""A business that sells, bills, is paid, credits, refunds, voids and writes off; one seed, one business."""

from __future__ import annotations

from tieout_lab.scenario.plan import Plan, make_plan
from tieout_lab.scenario.play import Player, Watched
from tieout_lab.scenario.steering import Steering

__all__ = ["Plan", "Player", "Steering", "Watched", "make_plan"]
