"""Promises of the one loop that plays episodes for a score: whole episodes, each counted once, the seeds asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from doom_dream_env.envs import DreamBatch, GameBatch, RealBatch
from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.evaluation import EpisodeStatistics, compare_dream_and_game, evaluate_policy, relative_gap
from doom_dream_env.policies import AlternatingPolicy, NoopPolicy, RandomPolicy
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel

SCENARIO = "take_cover"


def test_every_episode_that_is_begun_is_scored(weights: Path) -> None:
    batch = DreamBatch(3, SCENARIO, weights=weights)
    score = evaluate_policy(batch, NoopPolicy(), 7, first_seed=0)
    assert len(score.returns) == len(score.lengths) == 7
    assert score.margin > 0 and score.lengths.max() <= get_scenario(SCENARIO).time_limit


def test_more_environments_than_episodes_are_no_harm(weights: Path) -> None:
    batch = DreamBatch(5, SCENARIO, weights=weights)
    assert len(evaluate_policy(batch, NoopPolicy(), 2, first_seed=0).returns) == 2
    with pytest.raises(ValueError, match="episodes must be 1 or more"):
        evaluate_policy(batch, NoopPolicy(), 0, first_seed=0)


def test_returns_and_lengths_are_those_of_the_steps(immortal: WorldModel) -> None:
    batch = DreamBatch(2, SCENARIO, weights=immortal, max_episode_steps=4)
    rewards: list[Tensor] = []

    class Watched(DreamBatch):
        def step(self, *arguments: object, **options: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            result = super().step(*arguments, **options)  # type: ignore[arg-type]
            rewards.append(result[1])
            return result

    batch.__class__ = Watched
    score = evaluate_policy(batch, RandomPolicy(), 4, first_seed=0)
    assert score.lengths.tolist() == [4] * 4
    sums = torch.stack(rewards).double().view(2, 4, 2).sum(1)  # episodes in turn, steps, environments
    np.testing.assert_allclose(score.returns, sums.flatten())


def test_real_episodes_are_those_of_the_seeds() -> None:
    scores = []
    for num_envs in (2, 3):
        batch = GameBatch(num_envs, SCENARIO)
        try:
            scores.append(evaluate_policy(batch, NoopPolicy(), 4, 60_000))
        finally:
            batch.close()
    first, again = scores
    assert first.lengths.tolist() == again.lengths.tolist() and first.returns.tolist() == again.returns.tolist()
    assert len(set(first.lengths.tolist())) > 1
    assert (first.lengths > 10).all()
    assert (first.returns <= 4 * first.lengths).all() and (first.returns > 3 * first.lengths).all()


def test_an_episode_has_its_own_seed_whoever_plays(weights: Path) -> None:
    """A policy that looks at nothing scores the same whether the games are encoded or not."""
    seen: dict[int, set[int]] = {}

    def policy(batch: EnvBatch) -> Tensor:
        for seed in batch.seeds:
            seen.setdefault(id(batch), set()).add(seed)  # type: ignore[arg-type]
        return left_and_right(batch)

    left_and_right = AlternatingPolicy.of_indices(get_scenario(SCENARIO), ((2, 25), (1, 25)))
    bare = GameBatch(2, SCENARIO)
    encoded = RealBatch(3, SCENARIO, weights=weights)
    try:
        scores = [evaluate_policy(batch, policy, 3, 60_010) for batch in (bare, encoded)]
        assert np.array_equal(scores[0].returns, scores[1].returns)
        assert all(seen[id(batch)] == {60_010, 60_011, 60_012} for batch in (bare, encoded))
    finally:
        bare.close()
        encoded.close()


def test_dream_and_game_are_compared(model: WorldModel) -> None:
    both = compare_dream_and_game(model, SCENARIO, {"noop": NoopPolicy(), "random": RandomPolicy()}, 2, 60_000)
    assert list(both) == ["noop", "random"]
    assert all(list(score) == ["dream", "real"] and len(score["real"].returns) == 2 for score in both.values())


def test_statistics_are_the_textbooks() -> None:
    score = EpisodeStatistics(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1, 2, 3, 6]))
    assert score.mean == 3 and score.sd == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    assert score.margin == pytest.approx(1.96 * score.sd / 2)
    assert str(score) == "3.0 ± 2.1 (SD 2, n = 4)"
    assert EpisodeStatistics(np.array([5.0]), np.array([1])).sd == 0
    other = EpisodeStatistics(np.array([2.0]), np.array([1]))
    assert relative_gap({"dream": score, "real": other}) == pytest.approx(0.5)
