"""Play whole episodes with a policy, dreamed or real, and say what they scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from doom_dream_env.envs.batch import DreamBatch, Lanes
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.world_model import WorldModel

REAL_LANES, DREAM_LANES = 12, 64

# A policy maps features (N, F) and steps since the episode began (N,) to action indices (N,).
Policy = Callable[[Tensor, Tensor], Tensor]

# Blind policies: (action of the scenario's table, steps) in turn, the best of a sweep on seeds 40,000 and up.
BLIND: dict[str, tuple[tuple[int, int], ...]] = {
    "take_cover": ((2, 25), (1, 25)),
    "defend_the_center": ((2, 3), (1, 2)),
    "health_gathering": ((1, 10), (3, 3)),
}


def random_policy(actions: int, seed: int = 0) -> Policy:
    """Uniform actions."""
    generator = torch.Generator().manual_seed(seed)
    return lambda features, steps: torch.randint(actions, (len(steps),), generator=generator)


def blind_policy(plan: tuple[tuple[int, int], ...]) -> Policy:
    """Repeats (action, steps) pairs without looking."""
    order = torch.tensor([action for action, held in plan for _ in range(held)])
    return lambda features, steps: order[steps.cpu() % len(order)]


@dataclass(frozen=True)
class Score:
    """Returns and lengths of episodes."""

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the returns."""
        return float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the mean (normal approximation)."""
        return 1.96 * self.sd / len(self.returns) ** 0.5

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.margin:.1f} (SD {self.sd:.0f}, n = {len(self.returns)})"


def play_episodes(lanes: Lanes, policy: Policy, episodes: int, first_seed: int, label: str | None = None) -> Score:
    """Play exactly `episodes` whole episodes, every one to its end, so that short ones are not preferred.

    Args:
        lanes: a `DreamBatch` or `RealBatch`.
        policy: who plays.
        episodes: how many.
        first_seed: real episodes use this seed and the ones after it; a dream is seeded with it once.
        label: text of the progress bar; None: no bar.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be 1 or more, got {episodes}")
    real, count = hasattr(lanes, "games"), lanes.num_envs
    queue = iter(range(first_seed, first_seed + episodes))
    returns, lengths = [], []
    active = np.array([i < episodes for i in range(count)])
    seeds = [next(queue, first_seed) for _ in range(count)]
    lanes.reset(seed=seeds if real else first_seed)  # type: ignore[attr-defined]
    total = torch.zeros(count, dtype=torch.float64)
    with tqdm(total=episodes, desc=label, unit="episode", disable=label is None, leave=False) as bar:
        while active.any():
            _, reward, terminated, truncated = lanes.step(policy(lanes.features, lanes.steps))  # type: ignore[attr-defined]
            total += reward.cpu().double()
            done = (terminated | truncated).cpu()
            if not bool(done.any()):
                continue
            seeds = []
            for lane in done.nonzero()[:, 0].tolist():
                if active[lane]:
                    returns.append(float(total[lane]))
                    lengths.append(int(lanes.steps[lane]))
                    bar.update()
                seed = next(queue, None)
                active[lane] = seed is not None
                seeds.append(first_seed if seed is None else seed)
            total[done] = 0.0
            lanes.reset(done.to(lanes.device), seed=seeds if real else None)  # type: ignore[attr-defined]
    return Score(np.array(returns), np.array(lengths))


def play_both(
    model: WorldModel, scenario: str, policies: Mapping[str, Policy], episodes: int, first_seed: int
) -> dict[str, dict[str, Score]]:
    """Play the same policies in the dream and in the real game, as `play_episodes` does.

    Returns:
        name → {"dream": ..., "real": ...}; no "dream" where the weights do not know the world.
    """
    worlds: dict[str, Lanes] = {}
    if scenario in model.config.scenarios:
        worlds["dream"] = DreamBatch(min(episodes, DREAM_LANES), scenario, weights=model)
    real = worlds["real"] = RealBatch(min(episodes, REAL_LANES), scenario, weights=model)
    try:
        return {
            name: {world: play_episodes(lanes, policy, episodes, first_seed, f"{name}, {world}") for world, lanes in worlds.items()}
            for name, policy in policies.items()
        }
    finally:
        real.close()


def gap(both: Mapping[str, Score]) -> float:
    """How far the dream is from the real game, as a share of the real mean return."""
    return abs(both["dream"].mean - both["real"].mean) / max(abs(both["real"].mean), 1e-9)
