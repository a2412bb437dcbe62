"""Dream efficiency: the real score of a learner that trained in the dream, over that of one that trained in the game.

    python -m training efficiency --scenarios take_cover --seeds 3

The same learner with the same settings and steps trains in both, and both are scored in the real game, above random
play. 1 means that nothing is lost by dreaming. Dreams begin and end as the scenario's recipe says, games as they do.
Writes efficiency.json into --out; agents stay there with the returns of their episodes, so a killed run goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.agents import Agent
from doom_dream_env.agents.ppo import make_dreams
from doom_dream_env.envs.base import LatentBatch, shared_world_model
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.evaluation import REAL_ENVS, evaluate_policy
from doom_dream_env.policies import RandomPolicy
from doom_dream_env.progress import progress
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training.config import EfficiencyConfig, record_config
from training.evaluation.agent_scores import learn

PLACES = ("dream", "game")
Returns = list[npt.NDArray[np.float64]]  # of the episodes of each agent


def run(config: EfficiencyConfig) -> dict[str, Any]:
    """Train and score all agents and write the report.

    Raises:
        ValueError: if a scenario has no action table or the weights do not know it.
    """
    model = shared_world_model(config.weights)
    record_config(config, config.out / "efficiency.config.json")
    about: dict[str, Any] = {"weights": model.fingerprint, "learner": config.learner, "steps": config.steps}
    about["first_seed"] = config.first_seed
    about["scenarios"] = {name: of_scenario(model, name, config) for name in config.scenarios}
    write_atomically(config.out / "efficiency.json", (json.dumps(about, indent=2) + "\n").encode())
    for name, found in about["scenarios"].items():
        low, high = found["interval_95"]
        scores = ", ".join(f"{place} {np.mean(found[place]):.1f}" for place in (*PLACES, "random"))
        print(f"{name}: dream efficiency {found['efficiency']:.2f} ({low:.2f} to {high:.2f}); trained in {scores}")
    return about


def of_scenario(model: WorldModel, name: str, config: EfficiencyConfig) -> dict[str, Any]:
    """Efficiency in one scenario, its interval, and the mean real return of each agent and of random play."""
    folder = config.out / model.fingerprint / name
    jobs = [(place, seed) for seed in range(config.seeds) for place in PLACES]
    returns: dict[str, Returns] = {place: [] for place in PLACES}
    for place, seed in progress(jobs, desc=name, unit="agent", leave=False):
        where = folder / f"{config.learner}-{config.steps}-{place}-{seed}"
        returns[place].append(agent_returns(model, name, config, place, seed, where))
    games = GameBatch(min(config.episodes, REAL_ENVS), name)
    try:
        chance = evaluate_policy(games, RandomPolicy(), config.episodes, config.first_seed).mean
    finally:
        games.close()
    found: dict[str, Any] = {place: [float(own.mean()) for own in returns[place]] for place in PLACES}
    low, high = bootstrap(returns["dream"], returns["game"], chance, config.resamples)
    efficiency = ratio(returns["dream"], returns["game"], chance)
    return {"efficiency": efficiency, "interval_95": [low, high], "random": chance} | found


def agent_returns(
    model: WorldModel, name: str, config: EfficiencyConfig, place: str, seed: int, folder: Path
) -> npt.NDArray[np.float64]:
    """Real returns of an agent that was trained in the dream or in the game; made once, then read."""
    path = folder / "returns.json"
    found = {"first_seed": EVALUATION} | read_json(path) if path.exists() else {"returns": []}
    if not found["returns"]:
        batch: LatentBatch = (
            make_dreams(model, name, config.envs) if place == "dream" else RealBatch(config.envs, name, weights=model)
        )
        try:
            agent, _ = learn(batch, config.learner, config.steps, seed)
        finally:
            batch.close()
        agent.save(folder)
    if found.get("first_seed") != config.first_seed or len(found["returns"]) != config.episodes:
        real = RealBatch(min(config.episodes, REAL_ENVS), name, weights=model)
        try:
            played = evaluate_policy(real, Agent.load(folder, model.fingerprint), config.episodes, config.first_seed)
        finally:
            real.close()
        found = {"first_seed": config.first_seed, "returns": played.returns.tolist()}
        write_atomically(path, (json.dumps(found) + "\n").encode())
    return np.array(found["returns"])


def ratio(dream: Returns, game: Returns, chance: float) -> float:
    """Mean real return above chance of agents from the dream, over that of those from the game; NaN if that is none."""
    above = np.mean([own.mean() for own in game]) - chance
    return float((np.mean([own.mean() for own in dream]) - chance) / above) if above > 0 else float("nan")


def bootstrap(dream: Returns, game: Returns, chance: float, resamples: int) -> tuple[float, float]:
    """95 % interval of `ratio`: agents are drawn anew, and of each its episodes."""
    rng = np.random.default_rng(0)

    def again(agents: Returns) -> Returns:
        drawn = [agents[index] for index in rng.integers(len(agents), size=len(agents))]
        return [rng.choice(own, len(own)) for own in drawn]

    ratios = [ratio(again(dream), again(game), chance) for _ in range(resamples)]
    low, high = np.nanpercentile(ratios, [2.5, 97.5])
    return float(low), float(high)
