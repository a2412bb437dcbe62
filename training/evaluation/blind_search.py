"""The best policy that sees nothing: what an agent must beat before it can be said to look."""

from __future__ import annotations

import numpy as np

from doom_dream_env.envs.games import GameBatch
from doom_dream_env.evaluation import REAL_ENVS, evaluate_policy
from doom_dream_env.policies import ROUTINES, AlternatingPolicy, routine
from doom_dream_env.scenarios import Scenario
from doom_dream_env.seeds import BLIND_SEARCH
from training.players.base import random_alternation

CANDIDATES = 48  # alternations of two actions, the best of which is the score to beat
ROUNDS = ((8, 6), (40, 1))  # episodes of each candidate, and how many go on
EQUAL_HOLDS = range(5, 26, 2)  # steps of actions 1 and 2: periods of 40 to 200 tics


def description(scenario: Scenario, policy: AlternatingPolicy) -> str:
    """What a policy does, by the indices of its actions."""
    table = scenario.action_table()
    indices = [int((table == action).all(1).argmax()) for action in policy.actions]
    return ", ".join(f"action {index} for {held}" for index, held in zip(indices, policy.steps, strict=True))


def blind_candidates(scenario: Scenario) -> dict[str, AlternatingPolicy]:
    """Description → policy: equal alternations of the first two actions, the scenario's routine, and random ones.

    Random ones are added until there are `CANDIDATES`.
    """
    equal = [AlternatingPolicy.of_indices(scenario, ((1, held), (2, held))) for held in EQUAL_HOLDS]
    known = [routine(scenario)] if scenario.name in ROUTINES else []
    found = {description(scenario, policy): policy for policy in (*equal, *known)}
    rng = np.random.default_rng(0)
    while len(found) < CANDIDATES:
        policy = random_alternation(scenario, rng)
        found[description(scenario, policy)] = policy
    return found


def best_blind(scenario: Scenario) -> tuple[str, AlternatingPolicy]:
    """The best of many policies, found on seeds that no score is taken on; its description and itself.

    A first, short look throws out most candidates, a second one tells the finalists apart.
    """
    found = blind_candidates(scenario)
    games = GameBatch(min(ROUNDS[0][0], REAL_ENVS), scenario.name)
    try:
        for episodes, keep in ROUNDS:
            means = {
                name: evaluate_policy(games, policy, episodes, BLIND_SEARCH, f"blind search, {name}").mean
                for name, policy in found.items()
            }
            best = sorted(found, key=lambda name: -means[name])[:keep]
            found = {name: found[name] for name in best}
    finally:
        games.close()
    return next(iter(found.items()))
