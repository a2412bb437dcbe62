"""From the network's logits to keys: the likeliest sequence, in which a change costs something.

The likeliest key of each step for itself flickers, and every flicker is two events that never happened. Keys are held
for a while, so each chain is decoded by the Viterbi algorithm with one cost for any change.

Legend: T steps, K chains, S states of a chain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from doom_dream_env.idm.labels import (
    CHAIN_OF_KEY,
    CHAINS,
    GREATEST_HEALTH,
    HEALTH_SCALE,
    VALUE_OF_KEY,
    Chains,
    Labels,
    from_chains,
)
from doom_dream_env.idm.network import IDMOutput

STATES = 3
HEALTH_TOLERANCE = 0.1  # in units of 100
READABLE = 0.5  # confidence below which health is not known
Floats = npt.NDArray[np.float64]


def log_probabilities(output: IDMOutput) -> Floats:
    """Logarithms of the probabilities of every chain's states, (..., K, S); −inf where a bit has no third state."""
    pairs = F.log_softmax(output.pairs.double(), -1)
    bits = output.bits.double()
    impossible = torch.full_like(bits, -torch.inf)
    twofold = torch.stack([F.logsigmoid(-bits), F.logsigmoid(bits), impossible], -1)
    return torch.cat([pairs, twofold], -2).cpu().numpy()


def viterbi(log_p: Floats, costs: Sequence[float]) -> Chains:
    """The likeliest states of each chain.

    Args:
        log_p: logarithms of probabilities, (T, K, S).
        costs: of a change of each chain, in nats, (K,).

    Returns:
        states, (T, K).
    """
    t, k, _ = log_p.shape
    chains = np.arange(k)
    cost = np.asarray(costs)
    score = log_p[0].copy() if t else np.zeros((k, STATES))
    came_from = np.zeros((t, k, STATES), np.int64)
    stayed = np.tile(np.arange(STATES), (k, 1))
    for step in range(1, t):
        best = score.argmax(1)
        changed = score[chains, best] - cost
        change = changed[:, None] > score
        came_from[step] = np.where(change, best[:, None], stayed)
        score = np.where(change, changed[:, None], score) + log_p[step]
    states = np.zeros((t, k), np.int64)
    if t:
        states[-1] = score.argmax(1)
    for step in range(t - 1, 0, -1):
        states[step - 1] = came_from[step, chains, states[step]]
    return states


def key_probabilities(log_p: Floats) -> npt.NDArray[np.float32]:
    """Probability that each key is pressed, (..., K, S) → (..., 9)."""
    return np.exp(log_p)[..., CHAIN_OF_KEY, VALUE_OF_KEY].astype(np.float32)


def decode(output: IDMOutput, costs: Sequence[float]) -> Labels:
    """Labels of one window.

    Args:
        output: of T steps, without a batch dimension.
        costs: `IDMConfig.switch_costs`.
    """
    assert len(costs) == len(CHAINS)
    log_p = log_probabilities(output)
    actions = from_chains(viterbi(log_p, costs))
    pressed = key_probabilities(log_p)

    def array(values: torch.Tensor) -> npt.NDArray[np.float32]:
        return values.float().cpu().numpy()

    # Laplace: the probability of an error below some tolerance.
    certain = array(1 - torch.exp(-HEALTH_TOLERANCE / output.health_scale.exp()))
    health = array(output.health * HEALTH_SCALE).clip(0, GREATEST_HEALTH)
    return Labels(
        actions=actions,
        confidence=np.where(actions > 0, pressed, 1 - pressed).astype(np.float32),
        play=array(output.play.sigmoid()),
        health=np.where(certain >= READABLE, health, np.float32("nan")),
        health_confidence=certain,
        died=array(output.died.sigmoid()),
    )
