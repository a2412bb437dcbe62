"""Who plays, by name: the one place that turns what a person writes behind `--agent` into a policy.

| name | who |
|---|---|
| `agent` | the agent that ships for the scenario |
| `clone` | the action policy that ships, one for all scenarios; it learned from the scripted teachers |
| a scenario's name | the agent that ships for it |
| a folder | the agent or the action policy that was saved there, or the scenario's of the agents in folders below |
| `noop`, `random`, `routine` | nothing, random play, a routine that sees nothing |
| `planner`, `planner:cem` | plans in the dream by the cross-entropy method |
| `planner:gradient` | plans in the dream by gradients |
"""

from __future__ import annotations

import secrets
from pathlib import Path

import torch

from doom_dream_env.agents import action_policy, agent
from doom_dream_env.agents.agent import Agent, shipped_agents
from doom_dream_env.envs.weights import shared_world_model
from doom_dream_env.errors import UserError
from doom_dream_env.options import MINDS, MOST_SEED
from doom_dream_env.policies import NoopPolicy, Policy, RandomPolicy, routine
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json


def load_mind(
    name: str | Path,
    scenario: str | Scenario,
    weights: WorldModel | str | Path | None = None,
    *,
    seed: int | None = None,
) -> Policy:
    """A policy by its name.

    Args:
        name: see the table at the top of this module.
        scenario: what it is to play.
        weights: what it sees through, and dreams with: as for `WorldModel.from_pretrained`, or a `WorldModel`.
        seed: of its random numbers; None: chance.

    Raises:
        ValueError: if there is no such mind, or if it is one of another scenario or of other weights.
        FileNotFoundError: if a file of its folder is missing.
    """
    name = str(name)
    scenario = get_scenario(scenario)
    seed = secrets.randbelow(MOST_SEED) if seed is None else seed
    if name == "noop":
        return NoopPolicy()
    if name == "random":
        return RandomPolicy(seed)
    if name == "routine":
        return routine(scenario)
    model = shared_world_model(weights)
    kind, _, variant = name.partition(":")
    if kind == "planner":
        from doom_dream_env.agents.planning import make_planner

        return make_planner(model, scenario, variant or None, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    if name == "clone":
        clone = shipped_clone(model.fingerprint)
        if clone is None:
            raise UserError(
                "no clone ships for these weights; make one with `python -m training clone`, and give its folder"
            )
        name = str(clone)
    if (Path(name) / action_policy.CARD).is_file():
        policy = action_policy.ActionPolicy.load(name, model.fingerprint)
        policy.generator = generator
        return policy
    loaded = _load_agent(name, scenario, model)
    loaded.generator = generator
    return loaded


def shipped_clone(fingerprint: str) -> Path | None:
    """Folder of the action policy that ships, if it was cloned through weights of this fingerprint."""
    card = agent.SHIPPED / "clone" / action_policy.CARD
    found = card.is_file() and read_json(card).get("fingerprint") == fingerprint
    return card.parent if found else None


def _load_agent(name: str, scenario: Scenario, model: WorldModel) -> Agent:
    ships = shipped_agents(model.fingerprint)
    if name == "agent":
        if scenario.name not in ships:
            others = ", ".join(ships) or "no scenario"
            raise UserError(f"no agent ships for {scenario.name} and these weights; one does for {others}")
        name = scenario.name
    elif name not in shipped_agents() and not Path(name).is_dir():
        kinds = ", ".join(MINDS)
        raise UserError(f"{name!r} is nobody who can play: choose from {kinds}, or give the folder of an agent")
    elif (Path(name) / scenario.name / agent.CARD).is_file():
        name = str(Path(name) / scenario.name)
    loaded = Agent.load(name, model.fingerprint)
    if loaded.card.scenario != scenario.name:
        raise UserError(f"agent {name} was trained for {loaded.card.scenario}, not for {scenario.name}")
    return loaded
