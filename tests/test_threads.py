"""Promises about threads: work that is repeated gets one or all, whichever is faster, and results stay the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from doom_dream_env.envs import DreamBatch
from doom_dream_env.world_model import WorldModel, threads
from doom_dream_env.world_model.threads import AdaptiveThreads, at_most

ALL = 2


class Clock:
    """Time that passes only when work is done: `cost` seconds of one repetition, by number of threads."""

    def __init__(self, one: float, every: float) -> None:
        self.now = 0.0
        self.cost = {1: one, ALL: every}
        self.used: list[int] = []

    def work(self, adaptive: AdaptiveThreads, times: int) -> float:
        """Repeat the work; returns how long it took."""
        started = self.now
        for _ in range(times):
            with adaptive:
                self.used.append(torch.get_num_threads())
                self.now += self.cost[self.used[-1]]
        return self.now - started


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(ALL)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1.0, 0.6)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock.now)
    return clock


def test_all_threads_work_while_that_is_faster(clock: Clock) -> None:
    assert clock.work(AdaptiveThreads(), 500) < 500 * 0.65
    assert torch.get_num_threads() == ALL


def test_it_follows_the_machine_in_both_directions(clock: Clock) -> None:
    adaptive = AdaptiveThreads()
    clock.work(adaptive, 200)
    clock.cost[ALL] = 20.0  # another process begins
    assert clock.work(adaptive, 2000) < 2000 * 1.1
    clock.cost[ALL] = 0.6  # and ends
    clock.work(adaptive, 1200)
    assert clock.work(adaptive, 200) < 200 * 0.65


def test_one_thread_of_the_users_stays_one(clock: Clock) -> None:
    torch.set_num_threads(1)
    clock.work(AdaptiveThreads(), 100)
    assert set(clock.used) == {1} and torch.get_num_threads() == 1


def test_threads_that_torch_is_given_later_are_tried_against_one(clock: Clock) -> None:
    adaptive = AdaptiveThreads()
    torch.set_num_threads(1)
    clock.work(adaptive, 10)
    torch.set_num_threads(ALL)
    for cost in (0.9, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6):
        clock.cost[ALL] = cost
        clock.work(adaptive, 1)
    assert clock.work(adaptive, 200) < 200 * 0.65


def test_an_error_gives_the_threads_back() -> None:
    for context in (AdaptiveThreads(), at_most(1)):
        with pytest.raises(RuntimeError, match="broken"), context:
            assert torch.get_num_threads() == 1
            raise RuntimeError("broken")
        assert torch.get_num_threads() == ALL


@pytest.mark.parametrize("num_envs", [3, 128])
def test_a_seed_repeats_a_dream_on_any_number_of_threads(model: WorldModel, num_envs: int) -> None:
    seen = []
    for number in (1, ALL):
        torch.set_num_threads(number)
        batch = DreamBatch(num_envs, "take_cover", weights=model)
        batch.reset(seed=3)
        for _ in range(8):
            features, *_ = batch.step(torch.ones(num_envs, dtype=torch.long), allow_ended=True)
        seen.append(features)
        assert torch.get_num_threads() == number
    assert torch.equal(*seen)
