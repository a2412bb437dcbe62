"""What an inverse dynamics model is trained on: keys, and dense motion that only a recording knows.

Keys are few and some leave no trace. The player's own motion is there in every step, and what it looks like does not
depend on the map: it teaches the convolutions.

Legend: B windows, T steps, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.idm import InverseDynamics
from doom_dream_env.idm.labels import CHAINS, to_chains
from doom_dream_env.idm.network import Heads, IDMOutput
from doom_dream_env.scenarios import PAIRS
from training.data.key_windows import KeyWindow
from training.models.losses import masked_mean

TRACED = ("move", "strafe", "turn", "speed")  # chains that show in the motion


@dataclass(frozen=True)
class KeyBatch:
    """Windows of B × T steps as tensors; the fields are those of `KeyWindow`, keys as chains (B, T, 6)."""

    frames: Tensor
    chains: Tensor
    motion: Tensor
    health: Tensor
    died: Tensor
    play: Tensor

    @staticmethod
    def of(windows: list[KeyWindow], device: torch.device) -> KeyBatch:
        """Stack windows."""

        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(window, name) for window in windows])).to(device)

        chains = torch.from_numpy(to_chains(np.stack([window.actions for window in windows]))).to(device)
        names = ("frames", "motion", "health", "died", "play")
        return KeyBatch(chains=chains, **{name: stacked(name) for name in names})


@dataclass(frozen=True)
class MotionBatch:
    """Windows of the player's own motion (B, T, 3) and the chains of keys (B, T, 6) that made it, without pictures."""

    motion: Tensor
    chains: Tensor


class IDMTrainingModel(nn.Module):
    """An inverse dynamics model and the heads that teach it."""

    def __init__(self, model: InverseDynamics) -> None:
        super().__init__()
        self.model = model
        self.pair_heads = Heads(model.config.width)

    def losses(self, batch: KeyBatch, event_weight: float) -> dict[str, Tensor]:
        """All terms of the loss by the names in `training.stages.idm.LOSS_WEIGHTS`.

        Args:
            batch: windows.
            event_weight: weight of steps within one of a change of a key.
        """
        network = self.model.network
        seen = network.pictures(batch.frames)
        tokens, motion = network.tokens_of(seen)
        output = network.heads(network.temporal(tokens))
        weight = near_events(batch.chains, event_weight) * batch.play[..., None]
        return {
            "keys": key_loss(output, batch.chains, weight),
            "keys_pair": key_loss(self.pair_heads(seen), batch.chains, weight),
            "motion": motion_loss(motion, batch.motion),
            "play": F.binary_cross_entropy_with_logits(output.play, batch.play),
            "health": laplace_loss(output.health, output.health_scale, batch.health),
            "died": F.binary_cross_entropy_with_logits(output.died, batch.died),
        }

    def motion_losses(self, batch: MotionBatch, event_weight: float) -> dict[str, Tensor]:
        """The loss of keys that are read off motion alone; ATTACK and USE leave no trace in it."""
        network = self.model.network
        output = network.heads(network.temporal(network.motion_tokens(batch.motion)))
        traced = torch.tensor([name in TRACED for name in CHAINS], device=batch.motion.device)
        weight = near_events(batch.chains, event_weight) * traced
        return {"keys": key_loss(output, batch.chains, weight)}


def near_events(chains: Tensor, weight: float) -> Tensor:
    """Weight of each step and chain, (B, T, 6): greater within one step of a change."""
    changed = (chains[:, 1:] != chains[:, :-1]).float()
    first = F.pad(changed, (0, 0, 1, 0))  # the step in which it is new
    before = F.pad(changed, (0, 0, 0, 1))
    after = F.pad(first, (0, 0, 1, 0))[:, :-1]
    return 1 + (weight - 1) * torch.stack([first, before, after]).amax(0)


def key_loss(output: IDMOutput, chains: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy of the six chains, of steps with a weight (B, T, 6)."""
    count = len(PAIRS)
    pairs = F.cross_entropy(output.pairs.flatten(0, 2), chains[..., :count].flatten(), reduction="none")
    bits = F.binary_cross_entropy_with_logits(output.bits, chains[..., count:].float(), reduction="none")
    return masked_mean(torch.cat([pairs.view_as(chains[..., :count]), bits], -1), weight)


def motion_loss(predicted: Tensor, motion: Tensor) -> Tensor:
    """Huber loss of the player's own motion (B, T, 3), where it is known."""
    known = motion.isfinite()
    error = F.smooth_l1_loss(predicted.float(), motion.nan_to_num(), reduction="none", beta=0.2)
    return masked_mean(error, known.float())


def laplace_loss(centre: Tensor, log_scale: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a Laplace distribution, where the target is known."""
    known = target.isfinite()
    error = (centre - target.nan_to_num()).abs() * torch.exp(-log_scale) + log_scale
    return masked_mean(error, known.float())
