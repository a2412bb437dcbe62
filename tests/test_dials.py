"""Promises of the stage that sets dials: dreams become as kind as the game, and nothing but the dial changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model

from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.evaluation import EpisodeStatistics
from doom_dream_env.policies import Policy
from doom_dream_env.world_model import WorldModel
from training.config import DialsConfig
from training.stages import dials


@pytest.fixture(scope="module")
def healing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny weights in whose dreams health can be gained."""
    folder = tmp_path_factory.mktemp("healing")
    small = make_model()
    config = dataclasses.replace(small.config, deltas=((-100.0, 0.0, 5.0), *small.config.deltas[1:]))
    model = WorldModel(config).eval().requires_grad_(False)
    model.initial_states = small.initial_states
    model.context_clips = small.context_clips
    model.save_pretrained(folder)
    return folder


GAME = 100.0  # steps that everybody lasts in the game


class World:
    """Stands in for episodes: a dream's last as long as the dial of its scenario makes them, a game's always as long.

    Attributes:
        length: of a dreamed episode by the odds of losing and of gaining health.
        played: how often somebody was asked to play.
    """

    def __init__(self, length: Callable[[float, float], float]) -> None:
        self.length = length
        self.played = 0

    def play(self, policies: Mapping[str, Policy], batch: EnvBatch, episodes: int) -> dict[str, EpisodeStatistics]:
        self.played += 1
        lasts = GAME
        if isinstance(batch, DreamBatch):
            dynamics = batch.model.dynamics
            odds = dynamics.odds[batch.model.config.scenarios.index(batch.scenario.name), 0].exp()
            changes = dynamics.changes[0]
            lasts = self.length(float(odds[changes < 0].mean()), float(odds[changes > 0].mean()))
        batch.close()
        return {who: EpisodeStatistics(np.full(4, lasts), np.full(4, int(lasts))) for who in policies}


def config(tmp_path: Path, weights: Path, *scenarios: str) -> DialsConfig:
    return DialsConfig(weights=str(weights), scenarios=scenarios, episodes=4, out=tmp_path / "dials")


def test_dreams_that_spare_people_are_made_to_hurt(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda harm, healing: 100 * 3 / harm)
    monkeypatch.setattr(dials, "play", world.play)
    settings = config(tmp_path, weights, "take_cover")
    dials.train(settings)
    found = WorldModel.from_pretrained(tmp_path / "dials" / "weights")
    harm = dict(zip(found.config.scenarios, found.config.harm, strict=True))
    assert harm.pop("take_cover") == pytest.approx(3, rel=0.06)
    assert set(harm.values()) == {1.0} and set(found.config.healing) == {1.0}
    assert found.fingerprint == WorldModel.from_pretrained(settings.weights).fingerprint, "agents stay valid"
    before = world.played
    dials.train(settings)
    assert world.played == before, "what was found is measured again"


def test_a_scenario_without_health_has_no_dial(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ValueError, match="basic: no dial to set; the scenarios with health are take_cover"):
        dials.train(config(tmp_path, weights, "basic"))


def test_dreams_without_stand_ins_can_be_set(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way once, with real games."""
    monkeypatch.setattr(dials, "ROUNDS", 1)
    settings = dataclasses.replace(config(tmp_path, weights, "take_cover"), episodes=2)
    dials.train(settings)
    assert len(list(settings.out.glob("*/take_cover.json"))) == 1


def test_harm_and_healing_turn_the_odds_of_health_and_nothing_else(healing: Path) -> None:
    model = WorldModel.from_pretrained(healing)
    dynamics = model.dynamics
    changes = dynamics.changes[0]
    logits = dynamics.outcome_logits(torch.zeros(1, model.config.trunk_width), torch.zeros(1, dtype=torch.long))[0, 0]
    before = logits.softmax(-1)
    known = len(model.config.scenarios)
    dynamics.set_dials((2.0,) * known, (0.5,) * known)
    after = (logits + dynamics.odds[0, 0]).softmax(-1)
    possible = before > 0
    still = (changes == 0) & possible
    odds = (after / after[still]) / (before / before[still])
    assert torch.allclose(odds[(changes < 0) & possible], torch.tensor(2.0), rtol=1e-4)
    assert torch.allclose(odds[(changes > 0) & possible], torch.tensor(0.5), rtol=1e-4)
