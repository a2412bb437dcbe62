"""Promises of learning in imagination: what is rewarded or decided by a planner is learned, and runs go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent
from doom_dream_env.agents.imagination import (
    ImaginationConfig,
    Unroll,
    lambda_returns,
    learn_in_imagination,
)
from doom_dream_env.agents.planning import make_planner
from doom_dream_env.envs import DreamBatch, RealBatch
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.config import DistilConfig
from training.stages import distil

SCENARIO = "take_cover"
FEATURES = 3
TOY = ImaginationConfig(steps=2_048, unroll=4, minibatch=64, width=16, learning_rate=3e-3)


class Bandit:
    """Stands for a batch: episodes of three steps; `pays` says which buttons earn 1."""

    def __init__(self, scenario: str, pays: Any, num_envs: int = 16) -> None:
        self.scenario = get_scenario(scenario)
        self.action_table = torch.from_numpy(self.scenario.action_table()).float()
        self.model = SimpleNamespace(
            config=SimpleNamespace(feature_width=FEATURES), fingerprint="none", source="nowhere"
        )
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.time_limit = 3
        self.pays = pays

    @property
    def features(self) -> torch.Tensor:
        return torch.nn.functional.one_hot(self.steps.clamp(max=2), FEATURES).float()

    def buttons(self, actions: torch.Tensor) -> torch.Tensor:
        return actions.float() if actions.ndim == 2 else self.action_table[actions]

    def reset(self, envs: torch.Tensor | None = None, seed: int | None = None) -> torch.Tensor:
        self.steps = torch.zeros(self.num_envs, dtype=torch.long) if envs is None else self.steps.masked_fill(envs, 0)
        self.done = torch.zeros(self.num_envs, dtype=torch.bool)
        self.continues = torch.ones(self.num_envs)
        return self.features

    def step(self, buttons: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        self.steps = self.steps + 1
        self.done = self.steps >= 3
        self.continues = 1 - self.done.float()
        return self.features, self.pays(buttons), self.done, torch.zeros_like(self.done)


class AlwaysRight:
    """A prior that is nearly sure of action 2."""

    def action_logits(self, batch: Any) -> torch.Tensor:
        return torch.tensor([0.0, 0.0, 5.0]).expand(batch.num_envs, 3)

    def press(self, batch: Any, buttons: torch.Tensor) -> None:
        pass


def make_unroll(rewards: list[float], continues: list[float], ended: list[bool]) -> Unroll:
    def column(values: list[Any]) -> torch.Tensor:
        return torch.tensor(values)[:, None]

    nothing = torch.zeros(len(rewards), 1, 1)
    return Unroll(nothing, nothing, nothing, column(rewards), column(continues), column(ended), nothing)


def test_returns_are_those_of_their_definition() -> None:
    values = torch.tensor([10.0, 20.0, 30.0])[:, None]
    going_on = make_unroll([1.0, 2.0, 3.0], [1.0] * 3, [False] * 3)
    one_step = lambda_returns(going_on, values, 0.5, 0.0)
    assert one_step[:, 0].tolist() == [1 + 5, 2 + 10, 3 + 15]
    to_the_end = lambda_returns(going_on, values, 0.5, 1.0)
    assert to_the_end[:, 0].tolist() == [1 + 0.5 * (2 + 0.5 * 18), 2 + 0.5 * 18, 18]
    half = lambda_returns(going_on, values, 0.5, 0.5)[:, 0].tolist()
    assert half == [1 + 0.5 * (0.5 * 10 + 0.5 * half[1]), 2 + 0.5 * (0.5 * 20 + 0.5 * 18), 18]


def test_death_ends_the_returns_and_time_does_not() -> None:
    values = torch.tensor([10.0, 20.0, 30.0])[:, None]
    died = lambda_returns(make_unroll([1.0, 2.0, 3.0], [1.0, 0.0, 1.0], [False, True, False]), values, 1.0, 1.0)
    assert died[:, 0].tolist() == [3, 2, 33]
    out_of_time = lambda_returns(make_unroll([1.0, 2.0, 3.0], [1.0] * 3, [False, True, False]), values, 1.0, 1.0)
    assert out_of_time[:, 0].tolist() == [23, 22, 33]
    maybe = lambda_returns(make_unroll([1.0, 2.0, 3.0], [1.0, 0.25, 1.0], [False] * 3), values, 1.0, 1.0)
    assert maybe[:, 0].tolist() == [1 + 2 + 0.25 * 33, 2 + 0.25 * 33, 33]


@pytest.mark.parametrize("objective", ["reinforce", "pmpo"])
def test_what_is_rewarded_is_learned(objective: Any) -> None:
    batch: Any = Bandit(SCENARIO, lambda buttons: buttons[:, 2])  # MOVE_LEFT, action 2
    config = ImaginationConfig(**(vars(TOY) | {"objective": objective}))
    agent, curve = learn_in_imagination(batch, config, progress=False)
    assert (agent.logits(torch.eye(FEATURES)).softmax(-1)[:, 2] > 0.8).all()
    assert curve[-1][1] > 2.2 > curve[0][1], "mean returns do not rise to the 3 of an episode"


def test_buttons_of_free_play_are_learned_one_by_one() -> None:
    batch: Any = Bandit("freedoom", lambda buttons: buttons[:, 0] - buttons[:, 6])  # forward, and hold fire
    agent, _ = learn_in_imagination(batch, TOY, progress=False)
    odds = agent.logits(torch.eye(FEATURES)).sigmoid()
    assert agent.card.buttons and (odds[:, 0] > 0.7).all() and (odds[:, 6] < 0.3).all()


def test_an_actor_without_rewards_stays_with_its_prior() -> None:
    batch: Any = Bandit(SCENARIO, lambda buttons: torch.zeros(len(buttons)))
    agent, _ = learn_in_imagination(batch, TOY, prior=AlwaysRight(), progress=False)
    assert (agent.logits(torch.eye(FEATURES)).softmax(-1)[:, 2] > 0.8).all()


def test_what_learned_in_a_dream_is_an_agent_and_repeats_with_its_seed(model: WorldModel, tmp_path: Path) -> None:
    config = ImaginationConfig(steps=512, unroll=8, width=16)
    agents = []
    for _ in range(2):
        dreams = DreamBatch(8, SCENARIO, weights=model, initial_states="anywhere", max_episode_steps=5)
        agents.append(learn_in_imagination(dreams, config, seed=3, progress=False)[0])
    features = torch.randn(5, model.config.feature_width)
    assert torch.equal(agents[0].logits(features), agents[1].logits(features))
    agents[0].save(tmp_path)
    again = Agent.load(tmp_path, model.fingerprint)
    assert torch.equal(again.logits(features), agents[0].logits(features))
    assert again.card.hyper_parameters["steps"] == 512 and again.card.hyper_parameters["time_limit"] == 5
    dreams.step(again(dreams))


def test_the_same_code_learns_in_the_game(model: WorldModel) -> None:
    real = RealBatch(2, SCENARIO, weights=model, max_episode_steps=6)
    agent, curve = learn_in_imagination(real, ImaginationConfig(steps=32, unroll=8, width=16), progress=False)
    assert real.continues.tolist() == [1.0, 1.0] or real.done.any()
    real.close()
    assert agent.card.scenario == SCENARIO and curve[-1][1] == 4 * 6  # +1 for every tic, cut after six steps


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage distil at toy size."""
    for name, value in {"ROLLOUTS": 1, "DREAMS": 2, "HORIZON": 3, "EPOCHS": 2}.items():
        monkeypatch.setattr(distil, name, value)
    monkeypatch.setattr(distil, "make_planner", partial(make_planner, horizon=2, dreams=1, plans=8, rounds=1))


@pytest.mark.usefixtures("small")
def test_a_killed_run_goes_on_and_its_agent_plays(
    weights: Path, model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DistilConfig(weights=str(weights), out=tmp_path, iterations=2)
    learn = distil.learn

    def killed(config: DistilConfig, model: WorldModel, home: Path, iteration: int) -> Agent:
        if iteration == 1:
            raise KeyboardInterrupt
        return learn(config, model, home, iteration)

    monkeypatch.setattr(distil, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        distil.train(config)
    monkeypatch.setattr(distil, "learn", learn)
    monkeypatch.setattr(distil, "play", lambda *more: pytest.fail("what is recorded is not recorded again"))
    distil.train(config)
    agent = Agent.load(tmp_path / "agent", model.fingerprint)
    assert agent.card.hyper_parameters["decisions"] == 2 * 2 * 3
    batch = DreamBatch(2, weights=model)
    batch.reset(seed=0)
    assert agent(batch).shape == (2,)
