"""Play whole episodes with a policy, dreamed or real, and say what they were worth.

`evaluate_policy` is the only loop that plays episodes for a score. It takes any batch: a `DreamBatch`, a `RealBatch`
for policies that look at features, or a `GameBatch` for those that need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.errors import UserError
from doom_dream_env.policies import Policy
from doom_dream_env.progress import progress
from doom_dream_env.world_model import WorldModel

DREAM_ENVS = 64  # side by side: dreams are cheap
REAL_ENVS = 12


@dataclass(frozen=True)
class EpisodeStatistics:
    """Returns and lengths of episodes, in the order in which they were begun.

    Attributes:
        returns: sum of rewards of each.
        lengths: steps of each.
    """

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


def evaluate_policy(
    batch: EnvBatch, policy: Policy, episodes: int, first_seed: int, label: str | None = None
) -> EpisodeStatistics:
    """Play exactly `episodes` whole episodes, every one to its end, so that short ones are not preferred.

    Args:
        batch: where to play.
        policy: who plays.
        episodes: how many.
        first_seed: real episodes use this seed and the ones after it; a dream is seeded with it once.
        label: text of the progress bar; None: no bar.

    Raises:
        ValueError: if `episodes` is below 1.
    """
    if episodes < 1:
        raise UserError(f"episodes must be 1 or more, got {episodes}")
    returns = np.zeros(episodes)
    lengths = np.zeros(episodes, np.int64)
    total = torch.zeros(batch.num_envs, dtype=torch.float64)
    # Which episode each environment plays. From `episodes` on they count for nothing: there is no more to begin.
    playing = np.arange(batch.num_envs)
    begun = batch.num_envs

    def seeds(numbers: npt.NDArray[np.int64]) -> list[int]:
        return [first_seed + int(number) if number < episodes else first_seed for number in numbers]

    batch.reset(seed=seeds(playing) if batch.per_episode_seeds else first_seed)
    with progress(total=episodes, desc=label, unit="episode", disable=label is None, leave=False) as bar:
        while (playing < episodes).any():
            _, reward, _, _ = batch.step(policy(batch), allow_ended=True)
            total += reward.cpu().double()
            counts = playing < episodes
            ended = batch.done.cpu().numpy() & (counts | (not batch.per_episode_seeds))
            if not ended.any():
                continue
            counted = ended & counts
            returns[playing[counted]] = total.numpy()[counted]
            lengths[playing[counted]] = batch.steps.cpu().numpy()[counted]
            bar.update(int(counted.sum()))
            total[torch.from_numpy(ended)] = 0.0
            count = int(ended.sum())
            playing[ended] = np.arange(begun, begun + count)
            begun += count
            # A game without an episode to play stands still, because it would cost as much as the others. A dream goes
            # on, because all of a batch cost the same and share one stream of random numbers.
            again = ended & (playing < episodes) if batch.per_episode_seeds else ended
            if again.any():
                mask = torch.from_numpy(again).to(batch.device)
                batch.reset(mask, seed=seeds(playing[again]) if batch.per_episode_seeds else None)
    return EpisodeStatistics(returns, lengths)


def evaluate_policies(
    batches: Mapping[str, EnvBatch], policies: Mapping[str, Policy], episodes: int, first_seed: int, label: str = ""
) -> dict[str, dict[str, EpisodeStatistics]]:
    """Play the same policies in several batches, as `evaluate_policy` does.

    Args:
        batches: where to play, by name.
        policies: who plays, by name.
        episodes: how many each plays in each batch.
        first_seed: as for `evaluate_policy`.
        label: what the progress bars say in front of the names.

    Returns:
        name of a policy → name of a batch → episodes.
    """
    return {
        policy_name: {
            name: evaluate_policy(batch, policy, episodes, first_seed, f"{label}{policy_name}, {name}")
            for name, batch in batches.items()
        }
        for policy_name, policy in policies.items()
    }


def compare_dream_and_game(
    model: WorldModel, scenario: str, policies: Mapping[str, Policy], episodes: int, first_seed: int
) -> dict[str, dict[str, EpisodeStatistics]]:
    """Play the same policies in the dream and in the real game.

    Returns:
        name → {"dream": ..., "real": ...}; no "dream" where the weights do not know the scenario.
    """
    batches: dict[str, EnvBatch] = {}
    if scenario in model.config.scenarios:
        batches["dream"] = DreamBatch(min(episodes, DREAM_ENVS), scenario, weights=model)
    real = batches["real"] = RealBatch(min(episodes, REAL_ENVS), scenario, weights=model)
    try:
        return evaluate_policies(batches, policies, episodes, first_seed)
    finally:
        real.close()


def relative_gap(both: Mapping[str, EpisodeStatistics]) -> float:
    """How far the dream is from the real game, as a share of the real mean return."""
    return abs(both["dream"].mean - both["real"].mean) / max(abs(both["real"].mean), 1e-9)
