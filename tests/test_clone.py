"""Promises of cloning: advice is the teacher's whoever plays, the policy learns it, and its scores cannot be copied."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from doom_dream_env.agents.action_policy import SIZES, ActionPolicy, ActionPolicyConfig, PolicyNetwork
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.config import CloneConfig
from training.data.advice import Advice, edges, record_advice, recorded_advice
from training.data.dataset import Dataset
from training.data.latents import agent_features, encode_all, trunk_features
from training.evaluation import cloning as scores
from training.models import cloning
from training.models.cloning import Rows, cloning_loss, draw_windows
from training.players.roster import ADVISERS
from training.stages import clone

WORLDS = ("take_cover", "freedoom")
FEATURES = 4


def make_network(seed: int = 0, width: int = FEATURES) -> PolicyNetwork:
    torch.manual_seed(seed)
    return PolicyNetwork(ActionPolicyConfig(width, WORLDS, "", "", **SIZES["tiny"]))


def made_up_advice(scenario: str, rows: int = 120, length: int = 12) -> Advice:
    """Episodes in which the sign of the first feature says which of the first two buttons of the scenario to press."""
    features = torch.randn(rows, FEATURES)
    table = torch.from_numpy(get_scenario(scenario).action_table()) if scenario != "freedoom" else torch.eye(9)
    advised = table[torch.where(features[:, 0] > 0, 1, 2)].to(torch.uint8)
    pressed = table[torch.randint(3, (rows,))].to(torch.uint8)
    return Advice(features.half(), pressed, advised, *edges(torch.full((rows // length,), length)))


def test_advice_is_the_teachers_whoever_plays(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = get_scenario("take_cover")
    table = torch.from_numpy(scenario.action_table())
    monkeypatch.setitem(ADVISERS, "take_cover", lambda scenario, rng: lambda game: table[2].numpy())
    config = ActionPolicyConfig(model.config.feature_width, WORLDS, "", "", **SIZES["tiny"])
    network = PolicyNetwork(config)
    torch.nn.init.zeros_(network.head[-1].weight)
    with torch.no_grad():
        network.head[-1].bias.copy_(torch.tensor([0.0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]).repeat(2))  # MOVE_RIGHT
    policy = ActionPolicy(network)
    found = record_advice(model, scenario, 60, 2, count(), policy, teacher_share=0.0)
    assert (found.advised == table[2]).all() and len(found) == 60
    assert (found.pressed == table[1]).float().mean() > 0.3, "the policy never got to play"
    assert torch.equal(found.first.unique(), torch.cat([torch.tensor([0]), found.last.unique()[:-1] + 1]))
    taught = record_advice(model, scenario, 20, 2, count(), policy, teacher_share=1.0)
    assert torch.equal(taught.pressed, taught.advised)


def test_recorded_episodes_are_seen_as_an_agent_sees_them(toy: Path, model: WorldModel) -> None:
    data = Dataset(toy, ("take_cover",), "train")
    found = recorded_advice(model, data, ("random",))
    z = encode_all(model, data)
    data.scenario = np.full(len(data), model.config.scenarios.index("take_cover"))
    seen = agent_features(model, data, z, trunk_features(model, data, z))
    torch.testing.assert_close(found.features.float(), seen, rtol=0, atol=5e-3)
    assert torch.equal(found.pressed, torch.from_numpy(data.actions)) and torch.equal(found.advised, found.pressed)
    assert found.last.tolist() == data.last.tolist()
    with pytest.raises(ValueError, match="nobody in the data of take_cover plays scripted, only random"):
        recorded_advice(model, data, ("scripted",))


def test_windows_end_with_their_episode_and_know_no_future() -> None:
    advice = [made_up_advice(name) for name in WORLDS]
    windows = draw_windows(advice, 20, 6, 3, np.random.default_rng(0))
    assert windows.scenario.tolist() == [0] * 10 + [1] * 10
    valid = windows.valid.bool()
    assert valid[:, 0, 0].all() and not valid.all()
    assert (valid[:, :, 0] >= valid[:, :, 2]).all() and (valid[:, :-1, 1] == valid[:, 1:, 0]).all()
    assert not windows.pressed[:, 0].any()
    own = windows.advised[:, :, 0][valid[:, :, 0]]
    sign = windows.features[:, :, 0][valid[:, :, 0]] > 0
    first, second = get_scenario("take_cover").action_table()[1:3]
    in_tables = windows.scenario[:, None].expand(-1, 6)[valid[:, :, 0]] == 0
    assert torch.equal(own[in_tables & sign], torch.from_numpy(first).float().expand_as(own[in_tables & sign]))
    assert torch.equal(own[in_tables & ~sign], torch.from_numpy(second).float().expand_as(own[in_tables & ~sign]))


def test_the_policy_learns_what_it_is_advised_not_what_was_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    advice = [made_up_advice(name, rows=600) for name in WORLDS]
    network = make_network()
    rows = Rows([get_scenario(name) for name in WORLDS])
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    monkeypatch.setattr(cloning, "NOISE", 0.05)
    for step in range(80):
        windows = draw_windows(advice, 16, 8, network.config.ahead, np.random.default_rng(step))
        loss, numbers = cloning_loss(network, windows, rows, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = {name: float(value.detach()) for name, value in numbers.items()}
    assert found["nats"] < 0.35 < found["nats_ahead"], "the next but one cannot be known"


def test_the_stage_goes_on_where_it_was_and_keeps_its_policy(
    toy: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "data": toy,
        "out": tmp_path,
        "scenarios": ("take_cover",),
        "weights": str(weights),
        "preset": "tiny",
        "behaviours": ("random",),
        "batch": 4,
        "round_steps": 24,
        "score_episodes": 0,
        "threads": 1,
    }
    monkeypatch.setattr(clone, "WINDOW", 6)
    monkeypatch.setattr(clone, "ROUND_ENVS", 2)
    clone.train(CloneConfig(steps=4, rounds=0, **settings))
    played = []
    record = clone.record_advice
    monkeypatch.setattr(clone, "record_advice", lambda *args: played.append(args[2]) or record(*args))
    clone.train(CloneConfig(steps=8, rounds=1, **settings))
    clone.train(CloneConfig(steps=8, rounds=1, **settings))
    assert played == [24], "a round was played again"
    model = WorldModel.from_pretrained(weights)
    policy = ActionPolicy.load(tmp_path / "policy", model.fingerprint)
    assert policy.config.scenarios == ("take_cover",) and policy.config.training["rounds"] == 1


class Script:
    """A teacher or clone that presses what it is told, step by step."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def __call__(self, batch: Any) -> torch.Tensor:
        table = torch.from_numpy(get_scenario("take_cover").action_table())
        return table[self.rows[int(batch.steps[0])]][None]

    def press(self, batch: Any, buttons: torch.Tensor) -> None:
        pass


def changes(own: list[int], true: list[int]) -> dict[str, float]:
    watching = scores.Watching(Script(true), Script(own))  # type: ignore[arg-type]
    for step in range(len(true)):
        watching(SimpleNamespace(steps=torch.tensor([step]), done=torch.tensor([False])))  # type: ignore[arg-type]
    return scores.change_scores(*watching.changes())


def test_copying_the_last_action_foretells_no_change() -> None:
    true = [1] * 10 + [2] * 10 + [1] * 10 + [0] * 10
    assert changes(true, true)["f1"] == 1.0 and changes(true, true)["changes"] == 3
    assert changes([1, *true[:-1]], true)["f1"] == 0.0
    early = [*true[1:], 0]
    assert changes(early, true)["f1"] == 1.0, "a change that is foretold a step early does not count"
    much_earlier = [*true[3:], 0, 0, 0]
    assert changes(much_earlier, true)["f1"] == 0.0
    assert changes(true, true)["f1_at_other_times"] < 0.3


def test_a_clone_is_scored_beside_its_teacher_and_chance(
    model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = get_scenario("basic").action_table()
    monkeypatch.setitem(ADVISERS, "basic", lambda scenario, rng: lambda game: table[1])  # shoots, mostly at nothing
    policy = ActionPolicy(make_network(width=model.config.feature_width))
    about = scores.score_clone(policy, model, [get_scenario("basic")], 2, tmp_path)
    found = json.loads((tmp_path / "cloning.json").read_text())["scenarios"]["basic"]
    assert found == about["scenarios"]["basic"] and found["episodes"] == 2
    expected = (found["clone"]["mean"] - found["random"]["mean"]) / (found["teacher"]["mean"] - found["random"]["mean"])
    assert found["share"] == pytest.approx(expected)
    assert "| basic |" in (tmp_path / "cloning.md").read_text()
    played: list[int] = []

    def evaluate(batch: object, policy: object, episodes: int, first_seed: int, label: str) -> object:
        played.append(first_seed)
        raise InterruptedError

    monkeypatch.setattr(scores, "evaluate_policy", evaluate)
    assert scores.score_clone(policy, model, [get_scenario("basic")], 2, tmp_path) == about, "the same games once"
    with pytest.raises(InterruptedError):
        scores.score_clone(policy, model, [get_scenario("basic")], 2, tmp_path, 90_000)
    assert played == [90_000]
