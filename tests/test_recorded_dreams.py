"""Seeded dreams of the shipped weights are what they were when they were recorded.

After a change that is meant to change dreams, or with new weights, record them again:
`python tests/test_recorded_dreams.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env import WorldModel
from doom_dream_env.envs import DreamBatch, RealBatch
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model.decoder import CODES, UNKNOWN

RECORD = Path(__file__).with_name("recorded_dreams.safetensors")
ENVS = 2
STEPS = 8
SHOWN = (0, 4, 8)  # steps after which features and pictures are kept
SEED = 7  # of dreams and of the play in them
# Processors add up in different orders, and a dream builds on its own past: a picture differs by 4e-5 after eight steps
# between two kinds of them (measured). Weights that mean something else differ by far more.
TOLERANCE = 2e-4
REAL = "take_cover"
GAME_SEED = 60_000
TEMPERATURES = {"sampled": 1.0, "central": 0.0}  # the names are those of the record


def fingerprint(model: WorldModel) -> Tensor:
    """The weights' fingerprint as a tensor of bytes."""
    return torch.tensor(list(model.fingerprint.encode()), dtype=torch.uint8)


def chances_of_patches(model: WorldModel, z: Tensor) -> Tensor:
    """How likely each kind of patch is in pictures of states (N, D), averaged over 8x8 places: (N, 64, 3, 4).

    Not the pictures themselves: where two patches are as likely, either may be the likeliest.
    """
    decoder = model.decoder
    nothing = torch.full((len(z), *CODES), UNKNOWN)
    chances = decoder.logits(decoder.hidden(decoder.places(z), nothing)).softmax(-1)
    return F.avg_pool2d(chances.permute(0, 3, 1, 2), 8)


@torch.inference_mode()
def play(batch: DreamBatch | RealBatch, seed: int | list[int]) -> dict[str, Tensor]:
    """A few steps of seeded random play.

    Returns:
        features, rewards, ends of episodes, game variables, and how likely patches are in pictures.
    """
    rng = np.random.default_rng(SEED)
    found = {}
    rewards = []
    batch.reset(seed=seed)  # type: ignore[arg-type]
    for step in range(STEPS + 1):
        if step:
            if batch.scenario.discrete:
                actions = torch.from_numpy(rng.integers(len(batch.scenario.action_table()), size=batch.num_envs))
            else:
                actions = torch.from_numpy(rng.integers(2, size=(batch.num_envs, 9)))
            _, reward, terminated, truncated = batch.step(actions)
            ended = terminated | truncated
            rewards.append(torch.stack([reward, ended.float()]))
            if bool(ended.any()):
                batch.reset(ended)
        if step in SHOWN:
            assert batch.state is not None
            found[f"features_{step}"] = batch.features
            found[f"picture_{step}"] = chances_of_patches(batch.model, batch.state.z)
    found |= {"rewards": torch.stack(rewards), "variables": batch.variables}
    return {key: value.clone().contiguous() for key, value in found.items()}


def dreams(model: WorldModel, scenario: str) -> dict[str, Tensor]:
    """A dream of a scenario, sampled and at temperature 0."""
    found = {}
    for name, temperature in TEMPERATURES.items():
        batch = DreamBatch(ENVS, scenario, temperature=temperature, weights=model)
        found |= {f"{scenario}/{name}/{key}": value for key, value in play(batch, SEED).items()}
    return found


def game(model: WorldModel) -> dict[str, Tensor]:
    """The real game through the encoder."""
    batch = RealBatch(ENVS, REAL, weights=model)
    try:
        return {f"game/{key}": value for key, value in play(batch, [GAME_SEED, GAME_SEED + 1]).items()}
    finally:
        batch.close()


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return WorldModel.from_pretrained("nano")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(RECORD)


def same(found: dict[str, Tensor], recorded: dict[str, Tensor]) -> None:
    for key, value in found.items():
        torch.testing.assert_close(
            value, recorded[key], atol=TOLERANCE, rtol=TOLERANCE, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_the_record_is_of_these_weights(model: WorldModel, recorded: dict[str, Tensor]) -> None:
    assert torch.equal(fingerprint(model), recorded["fingerprint"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_dreams_are_what_they_were(model: WorldModel, recorded: dict[str, Tensor], scenario: str) -> None:
    same(dreams(model, scenario), recorded)


def test_the_game_is_seen_as_it_was(model: WorldModel, recorded: dict[str, Tensor]) -> None:
    same(game(model), recorded)


if __name__ == "__main__":
    shipped = WorldModel.from_pretrained("nano")
    record = {"fingerprint": fingerprint(shipped)} | game(shipped)
    for name in shipped.config.scenarios:
        record |= dreams(shipped, name)
    save_file(record, RECORD)
    print(f"{len(record)} tensors, {RECORD.stat().st_size / 1e6:.2f} MB in {RECORD}")
