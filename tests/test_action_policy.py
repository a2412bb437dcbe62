"""Promises of the action policy: one head for all worlds, the same alone and in windows, and a file that is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents.action_policy import SIZES, ActionPolicy, ActionPolicyConfig, PolicyNetwork
from doom_dream_env.agents.choices import (
    N_LOGITS,
    button_logits,
    choices_of,
    draw_buttons,
    log_probabilities,
    table_logits,
)
from doom_dream_env.envs import DreamBatch
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel

STEPS = 11  # more than the toy's context


def make_policy(model: WorldModel, seed: int = 0, **settings: Any) -> ActionPolicy:
    """A tiny policy with random weights."""
    torch.manual_seed(seed)
    config = ActionPolicyConfig(
        feature_width=model.config.feature_width,
        scenarios=model.config.scenarios[:3],
        fingerprint=model.fingerprint,
        weights=model.source,
        **SIZES["tiny"],
    )
    network = PolicyNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return ActionPolicy(network, generator=torch.Generator().manual_seed(seed), **settings)


def test_a_table_keeps_the_odds_of_its_rows() -> None:
    table = torch.from_numpy(get_scenario("deadly_corridor").action_table())
    logits = torch.randn(5, N_LOGITS)
    rows = log_probabilities(logits) @ choices_of(table).T
    torch.testing.assert_close(table_logits(logits, table).softmax(-1), rows.exp() / rows.exp().sum(-1, keepdim=True))


def test_drawn_buttons_follow_the_odds_and_exclude_opposites() -> None:
    logits = torch.randn(1, N_LOGITS)
    drawn = draw_buttons(logits.expand(4000, -1), generator=torch.Generator().manual_seed(0))
    assert (drawn[:, [0, 2, 4]] * drawn[:, [1, 3, 5]]).sum() == 0
    torch.testing.assert_close(drawn.mean(0), button_logits(logits)[0].sigmoid(), rtol=0, atol=0.04)
    best = draw_buttons(logits, greedy=True)
    assert (log_probabilities(logits) * choices_of(best)).sum() >= (log_probabilities(logits) * choices_of(drawn)).sum(
        -1
    ).max()


def test_stepping_is_the_same_computation_as_whole_windows(model: WorldModel) -> None:
    network = make_policy(model).network
    features = torch.randn(2, STEPS, model.config.feature_width)
    pressed = torch.randint(2, (2, STEPS, 9)).float()
    known = torch.ones(2, STEPS)
    known[:, 0] = 0
    scenario = torch.tensor([0, 3])
    whole = network(features, pressed, known, scenario)
    assert whole.shape == (2, STEPS, network.config.ahead, N_LOGITS)
    context = network.no_context(2)
    for step in range(STEPS):
        if step:
            context = context.__class__(context.cache, context.length, pressed[:, step])
        logits, context = network.step(context, features[:, step], scenario)
        torch.testing.assert_close(logits, whole[:, step], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scenario", ["take_cover", "deadly_corridor", "freedoom"])
def test_it_plays_every_world(scenario: str, immortal: WorldModel) -> None:
    policy = make_policy(immortal)
    batch = DreamBatch(4, scenario, weights=immortal)
    batch.reset(seed=0)
    pressed = []
    for _ in range(6):
        pressed.append(policy(batch))
        batch.step(pressed[-1])
    every = torch.cat(pressed)
    assert len(every.unique(dim=0)) > 1
    if batch.scenario.discrete:
        assert (every[:, None] == batch.action_table).all(-1).any(-1).all(), "it pressed what the table does not have"
    else:
        assert (every[:, [0, 2, 4]] * every[:, [1, 3, 5]]).sum() == 0


def test_a_new_episode_begins_without_memories(immortal: WorldModel) -> None:
    batch = DreamBatch(2, "take_cover", weights=immortal)
    batch.reset(seed=0)
    old, fresh = make_policy(immortal), make_policy(immortal)
    for _ in range(3):
        batch.step(old(batch))
    batch.reset(torch.tensor([True, False]))
    remembered, new = old.look(batch), fresh.look(batch)
    torch.testing.assert_close(remembered[0], new[0])
    assert not torch.allclose(remembered[1], new[1], atol=1e-3), "the other episode was forgotten too"


def test_a_saved_policy_is_the_same(model: WorldModel, tmp_path: Path) -> None:
    policy = make_policy(model)
    policy.save(tmp_path)
    again = ActionPolicy.load(tmp_path, model.fingerprint)
    batch = DreamBatch(3, "basic", weights=model)
    batch.reset(seed=0)
    assert again.config == policy.config and torch.equal(again.look(batch), policy.look(batch))
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0123456789abcdef"}, "was cloned through weights"),
        ({"format_version": 9}, "format version 9"),
        ({"depth": 2}, "does not fit the sizes in policy.json"),
        ({"width": 10**6}, "width must be less"),
        ({"heads": 3}, "heads must divide width"),
        ({"sha256": 5}, "sha256 must be a text"),
        ({"sha256": "0"}, r"policy\.safetensors is damaged"),
        ({"ahead": "8"}, "ahead must be a whole number"),
        (None, r"policy\.safetensors is missing"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    model: WorldModel, tmp_path: Path, change: dict[str, Any] | None, message: str
) -> None:
    make_policy(model).save(tmp_path)
    card = tmp_path / "policy.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | (change or {})))
    if change is None:
        (tmp_path / "policy.safetensors").unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ActionPolicy.load(tmp_path, model.fingerprint)
