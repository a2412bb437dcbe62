"""All players by name. A new one goes in here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import Scenario
from training.players.base import AlternatingPlayer, PerturbedPlayer, Player, RandomPlayer, random_alternation
from training.players.explorers import Explorer
from training.players.handover import AgentPlayer, HandoverPlayer
from training.players.marksmen import Corridor, Gunner, Rocketeer
from training.players.teachers import Dodger, Sniper
from training.players.walkers import Gatherer, Homecomer
from training.players.wanderers import Wanderer

# The scripted player of each scenario: it looks at what ViZDoom knows.
TEACHERS: dict[str, Callable[[Scenario, np.random.Generator], Player]] = {
    "take_cover": Dodger,
    "basic": Sniper,
    "defend_the_center": Gunner,
    "defend_the_line": Gunner,
    "health_gathering": Gatherer,
    "health_gathering_supreme": Gatherer,
    "deadly_corridor": Corridor,
    "my_way_home": Homecomer,
    "predict_position": Rocketeer,
    "freedoom": Explorer,
}
# Whom a policy asks what to press: in free play not the teacher, who goes by a map that no picture shows.
ADVISERS: dict[str, Callable[[Scenario, np.random.Generator], Player]] = TEACHERS | {"freedoom": Wanderer}
BEHAVIOURS = ("random", "holding", "alternating", "scripted", "perturbed", "handover")
LONG_HOLD = 120  # steps, at most, that whoever is holding presses the same: he meets every wall
HANDOVER_TO = "handover:"  # with an agent's folder behind it


def make_player(behaviour: str, scenario: Scenario, rng: np.random.Generator) -> Player:
    """Make a player for one episode.

    Args:
        behaviour: one of `BEHAVIOURS`, the folder of a saved agent, or "handover:" and such a folder.
        scenario: what it plays.
        rng: source of all its random numbers.

    Raises:
        ValueError: if there is no such behaviour, or nobody who can show it in this scenario.
    """
    if behaviour == "random":
        return RandomPlayer(scenario, rng)
    if behaviour == "holding":
        return RandomPlayer(scenario, rng, LONG_HOLD)
    if behaviour == "alternating":
        return AlternatingPlayer(random_alternation(scenario, rng))
    folder = behaviour.removeprefix(HANDOVER_TO)
    agent = AgentPlayer(folder, scenario, rng) if (Path(folder) / "agent.json").is_file() else None
    if agent and folder == behaviour:
        return agent
    if agent is None and behaviour not in BEHAVIOURS:
        known = ", ".join(BEHAVIOURS)
        raise UserError(f"behaviour {behaviour!r} is unknown; choose from {known}, or give the folder of a saved agent")
    if scenario.name not in TEACHERS:
        raise UserError(
            f"nobody knows how to play {scenario.name}: give --mix random 1 alternating 1, or the folder of an agent"
        )
    teacher = TEACHERS[scenario.name](scenario, rng)
    if behaviour == "scripted":
        return teacher
    if behaviour == "perturbed":
        return PerturbedPlayer(teacher, scenario, rng)
    return HandoverPlayer(teacher, scenario, rng, agent)
