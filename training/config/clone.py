"""Settings of the stage that clones skilled players."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.seeds import EVALUATION
from training.config.base import Count, Number, Preset, Seed, TrainingConfig, Whole

# Maps of Freedoom on which nobody learns to play: what has learned is scored there.
UNSEEN_MAPS = ("E1M5", "E2M3", "MAP07", "MAP08")


@dataclass(frozen=True, kw_only=True)
class CloneConfig(TrainingConfig):
    """Clone the players that know what they do: one action policy for all scenarios.

    Attributes:
        weights: name or folder of the world model's weights; None: the best that ship.
        preset: sizes of the policy.
        behaviours: whose recorded episodes are cloned. Of `perturbed` players about half of what they press is chance,
            so the rounds below stand in for them.
        first_steps: of an adviser that is not among the recorded players (free play), before the first round.
        rounds: how often the policy plays the real game while the teacher says what it would press (DAgger, arXiv
            1011.0686); in between it learns from all of that.
        round_steps: of each scenario in each round.
        score_episodes: real ones of each scenario to score it with; 0: none.
        first_seed: of the games that it is scored in; from 90,000 up they are yours.
    """

    out: Path = Path("runs/clone")
    steps: Count = 4_000
    batch: Count = 32
    lr: Number = 1e-3
    weights: str | None = None
    preset: Preset = "nano"
    behaviours: tuple[str, ...] = ("scripted",)
    first_steps: Whole = 120_000
    rounds: Whole = 3
    round_steps: Count = 4_000
    score_episodes: Whole = 30
    first_seed: Seed = EVALUATION
