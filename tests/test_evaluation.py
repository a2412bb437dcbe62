"""Promises of the one loop that plays episodes for a score, and of the policies that see nothing.

Legend: N environments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from doom_dream_env.envs import DreamBatch, GameBatch
from doom_dream_env.evaluation import EpisodeStatistics, evaluate_policy, relative_gap
from doom_dream_env.policies import (
    AlternatingPolicy,
    HeldRandomPolicy,
    NoopPolicy,
    RandomPolicy,
    fixed_policies,
    routine,
)
from doom_dream_env.scenarios import BUTTONS, get_scenario
from doom_dream_env.world_model import WorldModel

SCENARIO = "take_cover"


@pytest.mark.parametrize(("num_envs", "episodes"), [(3, 7), (5, 2)])
def test_every_episode_that_is_begun_is_scored(weights: Path, num_envs: int, episodes: int) -> None:
    batch = DreamBatch(num_envs, SCENARIO, weights=weights)
    score = evaluate_policy(batch, NoopPolicy(), episodes, first_seed=0)
    assert len(score.returns) == len(score.lengths) == episodes
    assert score.margin > 0 and score.lengths.max() <= get_scenario(SCENARIO).time_limit
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


def test_statistics_are_the_textbooks() -> None:
    score = EpisodeStatistics(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1, 2, 3, 6]))
    assert score.mean == 3 and score.sd == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    assert score.margin == pytest.approx(1.96 * score.sd / 2)
    assert str(score) == "3.0 ± 2.1 (SD 2, n = 4)"
    assert EpisodeStatistics(np.array([5.0]), np.array([1])).sd == 0
    other = EpisodeStatistics(np.array([2.0]), np.array([1]))
    assert relative_gap({"dream": score, "real": other}) == pytest.approx(0.5)


N = 50


@pytest.fixture
def batch(immortal: WorldModel) -> DreamBatch:
    """Dreams of a scenario with an action table."""
    batch = DreamBatch(N, "take_cover", weights=immortal)
    batch.reset(seed=0)
    return batch


@pytest.fixture
def free(immortal: WorldModel) -> DreamBatch:
    """Dreams of free play, which takes all buttons together."""
    batch = DreamBatch(N, "freedoom", weights=immortal)
    batch.reset(seed=0)
    return batch


def test_fixed_policies_press_the_scenarios_buttons(batch: DreamBatch) -> None:
    policies = fixed_policies(batch.scenario)
    table = batch.scenario.action_table()
    assert list(policies) == ["noop", "random", "routine"] and not policies["noop"](batch).any()
    drawn = torch.cat([batch.buttons(policies["random"](batch)) for _ in range(8)])
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in table.tolist()}
    at = np.array([0, 24, 25, 49, 50])
    np.testing.assert_array_equal(routine(batch.scenario).buttons_at(at), table[[2, 2, 1, 1, 2]])


def test_a_routine_goes_by_each_episodes_own_time(batch: DreamBatch) -> None:
    policy = AlternatingPolicy.of_indices(batch.scenario, ((1, 2), (2, 1)))
    table = batch.action_table
    for expected in (1, 1, 2, 1):
        assert torch.equal(policy(batch).float(), table[expected].expand(N, -1))
        batch.step(policy(batch))
    batch.reset(torch.arange(N) == 0)
    mixed = policy(batch).float()
    assert torch.equal(mixed[0], table[1]) and torch.equal(mixed[1], table[1])
    batch.step(mixed)
    mixed = policy(batch).float()
    assert torch.equal(mixed[0], table[1]) and torch.equal(mixed[1], table[2])


def test_a_new_episode_gets_a_new_held_action(batch: DreamBatch) -> None:
    policy = HeldRandomPolicy(batch.scenario, np.random.default_rng(0), 1000, 1000, num_envs=N)
    first = policy(batch)
    batch.step(first)
    assert torch.equal(policy(batch), first)
    begun = torch.arange(N) < N // 2
    batch.reset(begun)
    second = policy(batch)
    assert torch.equal(second[~begun], first[~begun]) and not torch.equal(second[begun], first[begun])
    one = DreamBatch(1, "take_cover", weights=batch.model)
    one.reset(seed=0)
    assert policy(one).shape == (1, len(BUTTONS)), "a policy is bound to the batch that it played in first"
