"""Dream efficiency: the real score of a learner that trained in the dream, over that of one that trained in the game.

PPO with the same settings and steps trains in both, and both are scored in the real game, above random play. 1 means
that nothing is lost by dreaming. Dreams begin and end as the scenario's recipe says, games as they do. Agents stay in
the report's folder with the returns of their episodes, so a killed run goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.agents import Agent
from doom_dream_env.agents.ppo import make_dreams, train_ppo
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.evaluation import REAL_ENVS, evaluate_policy
from doom_dream_env.progress import progress
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_json
from training.config import TransferConfig

ENVS = 16  # that an agent learns in, in dream and game
RESAMPLES = 2_000  # of the bootstrap

Returns = list[npt.NDArray[np.float64]]  # of the episodes of each agent


def dream_efficiency(
    model: WorldModel, scenario: str, config: TransferConfig, chance: float, folder: Path
) -> dict[str, float]:
    """Efficiency in one scenario, and its interval.

    Args:
        model: the dream.
        scenario: one with an action table.
        config: how many agents learn for how long, and how they are scored.
        chance: mean real return of random play.
        folder: of the agents.
    """
    returns: dict[str, Returns] = {"dream": [], "game": []}
    jobs = [(place, seed) for seed in range(config.efficiency_seeds) for place in returns]
    for place, seed in progress(jobs, desc=f"{scenario}, efficiency", unit="agent", leave=False):
        where = folder / f"{model.fingerprint}-{config.efficiency_steps}-{place}-{seed}"
        returns[place].append(_agent_returns(model, scenario, config, place, seed, where))
    low, high = bootstrap(returns["dream"], returns["game"], chance)
    means = {place: float(np.mean([own.mean() for own in agents])) for place, agents in returns.items()}
    return {"efficiency": ratio(returns["dream"], returns["game"], chance), "low": low, "high": high} | means


def _agent_returns(
    model: WorldModel, scenario: str, config: TransferConfig, place: str, seed: int, folder: Path
) -> npt.NDArray[np.float64]:
    """Real returns of an agent that was trained in the dream or in the game; each is made once, then read."""
    path = folder / "returns.json"
    found = read_json(path) if path.exists() else {}
    if not found:
        batch: LatentBatch = (
            make_dreams(model, scenario, ENVS) if place == "dream" else RealBatch(ENVS, scenario, weights=model)
        )
        try:
            agent, _ = train_ppo(batch, config.efficiency_steps, seed=seed)
        finally:
            batch.close()
        agent.save(folder)
    if found.get("first_seed") != config.first_seed or len(found["returns"]) != config.episodes:
        real = RealBatch(min(config.episodes, REAL_ENVS), scenario, weights=model)
        try:
            policy = Agent.load(folder, model.fingerprint)
            played = evaluate_policy(real, policy, config.episodes, config.first_seed)
        finally:
            real.close()
        found = {"first_seed": config.first_seed, "returns": played.returns.tolist()}
        write_json(path, found)
    return np.array(found["returns"])


def ratio(dream: Returns, game: Returns, chance: float) -> float:
    """Mean real return above chance of agents from the dream, over that of those from the game; NaN if that is none."""
    above = np.mean([own.mean() for own in game]) - chance
    return float((np.mean([own.mean() for own in dream]) - chance) / above) if above > 0 else float("nan")


def bootstrap(dream: Returns, game: Returns, chance: float) -> tuple[float, float]:
    """95 % interval of `ratio`: agents are drawn anew, and of each its episodes."""
    rng = np.random.default_rng(0)

    def again(agents: Returns) -> Returns:
        drawn = [agents[index] for index in rng.integers(len(agents), size=len(agents))]
        return [rng.choice(own, len(own)) for own in drawn]

    low, high = np.nanpercentile([ratio(again(dream), again(game), chance) for _ in range(RESAMPLES)], [2.5, 97.5])
    return float(low), float(high)
