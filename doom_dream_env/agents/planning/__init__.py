"""Planners: policies that try plans in the dream before they act.

planner = make_planner(model, "take_cover")
evaluate_policy(RealBatch(8, "take_cover", weights=model), planner, episodes=20, first_seed=60_000)
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

from doom_dream_env.agents.planning.cem import CEMPlanner
from doom_dream_env.agents.planning.config import RECIPES, CEMConfig, GradientConfig, PlannerConfig
from doom_dream_env.agents.planning.gradient import GradientPlanner
from doom_dream_env.agents.planning.objectives import ValueFunction
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.planner import Planner
from doom_dream_env.errors import UserError
from doom_dream_env.policies import Policy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.world_model import WorldModel

KINDS: dict[str, type[Planner]] = {"cem": CEMPlanner, "gradient": GradientPlanner}

__all__ = [
    "KINDS",
    "RECIPES",
    "CEMConfig",
    "CEMPlanner",
    "GradientConfig",
    "GradientPlanner",
    "Plan",
    "Planner",
    "PlannerConfig",
    "make_planner",
]


def make_planner(
    model: WorldModel,
    scenario: str | Scenario,
    kind: str | None = None,
    *,
    goal: np.ndarray | Tensor | None = None,
    proposal: Policy | None = None,
    value: ValueFunction | None = None,
    **settings: Any,
) -> Planner:
    """A planner with the settings that suit a scenario.

    Args:
        model: the dream that plans are tried in.
        scenario: name of the scenario.
        kind: one of `KINDS`; None: "cem".
        goal: a frame to get near to, as for `Planner`.
        proposal: a policy that makes some of the plans, likewise.
        value: a critic, likewise.
        **settings: fields of the kind's configuration that are to be other than usual.

    Raises:
        ValueError: if there is no such kind or setting, or as for `Planner`.
    """
    scenario = get_scenario(scenario)
    kind = kind or "cem"
    if kind not in KINDS:
        raise UserError(f"planner kind {kind!r} is unknown; choose from {', '.join(KINDS)}")
    planner = KINDS[kind]
    known = [field.name for field in fields(planner.settings)]
    if unknown := sorted(settings.keys() - set(known)):
        raise UserError(f"a {kind} planner has no settings {', '.join(unknown)}; it has {', '.join(known)}")
    config = planner.settings(**(RECIPES.get(scenario.name, {}) | settings))
    return planner(model, scenario, config, goal=goal, proposal=proposal, value=value)
