"""Promises of the stage dynamics: it learns what actions do, and leaves the encoder alone."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_world import TOY_SCENARIOS, WINDOW, plain_batch, run, toy_config

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import PRESETS
from training.data.batch import make_batch
from training.data.dataset import Dataset
from training.engine.compute import Compute, seeded
from training.engine.optim import Optimiser
from training.models.losses import outcome_targets
from training.models.rollout import Windows, kl_divergence, open_loop_rollout
from training.models.training_model import TrainingModel
from training.ranks import SampleGenerator
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT
from training.stages.dynamics import LOSS_WEIGHTS, chosen_rows, losses

CPU = Compute(torch.device("cpu"), 0, 1, False)
DELTAS = ((-10.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # of the toy's health; nothing else ever changes
STEPS = 200
WINDOWS = 32  # per step


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


def config(data: Path = Path("unused"), **settings: Any) -> Any:
    return toy_config("dynamics", data, Path("unused"), STEPS, **settings)


def toy_model() -> TrainingModel:
    torch.manual_seed(0)
    known = tuple(tuple(map(bool, get_scenario(name).variable_mask())) for name in TOY_SCENARIOS)
    sizes = dataclasses.replace(
        PRESETS["tiny"], scenarios=TOY_SCENARIOS, known=known, deltas=DELTAS, rewards=(4.0, 5.0)
    )
    return TrainingModel(sizes).eval()


def toy_windows(model: TrainingModel, data: Dataset, begin: int = 1) -> Windows:
    batch = make_batch(data, data.windows(WINDOW)[:6], WINDOW, CPU.device, frames=False)
    z = torch.randn(6, WINDOW, model.world_model.config.state_width, generator=seeded(5))
    return Windows(batch, z, batch.scenario, outcome_targets(model.world_model, batch), begin)


@pytest.mark.parametrize("option", ["scenario_weights", "seen_shards", "scripted_share"])
def test_options_of_scenarios_that_are_not_trained_are_refused(
    toy: Path, representation_run: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / REPRESENTATION_CHECKPOINT).write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes())
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(ValueError, match=f"{flag} names basic, but the scenarios are take_cover, defend_the_center"):
        run("dynamics", toy, tmp_path, 2, **{option: {"basic": 3}})


def test_shards_that_were_trained_on_count_less(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"take_cover/train-{i:05d}" for i in range(4)] + ["freedoom/train-MAP01-00000"]
    shards = [(name, np.arange(10 * i, 10 * i + 10)) for i, name in enumerate(names)]
    monkeypatch.setattr(data, "shard_rows", lambda: iter(shards))
    rows = chosen_rows(data, config(seen_shards={"take_cover": 2}))
    assert rows[rows < 50].tolist() == [*range(10), *range(20, 50)], "the second of two old shards should be left out"


def test_scripted_players_can_be_left_out_of_a_scenario(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    behaviours = np.array(["random", "scripted", "perturbed", "handover"])
    played = behaviours[np.unique(data.first, return_inverse=True)[1] % 4]
    monkeypatch.setattr(data, "behaviour", played)
    rows = chosen_rows(data, config(scripted_share={"take_cover": 0.0}))
    assert set(played[rows[data.scenario[rows] == 0]]) == {"random", "handover"}
    assert np.isin(np.flatnonzero(data.scenario == 1), rows).all(), "another scenario lost its scripted players"


@pytest.fixture(scope="module")
def learned(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, long enough to learn the toy."""
    out = tmp_path_factory.mktemp("learned")
    rarely = {"training.engine.fit.CHECKPOINT_EVERY": 1000, "training.stages.dynamics.WINDOW": 8}
    run("representation", toy, out, 51, rarely)
    run("dynamics", toy, out, 151, rarely, batch=16, lr=3e-3)
    return out


def test_losses_fall(learned: Path) -> None:
    for stage, names in (
        ("representation", ("objects", "objects_predicted", "objects_trunk", "outcome")),
        ("dynamics", ("outcome", "outcome_rollout")),
    ):
        lines = (learned / stage / "log.jsonl").read_text().splitlines()
        reports = [report for report in map(json.loads, lines) if "loss" in report]
        assert all(math.isfinite(value) for report in reports for value in report.values())
        for name in names:
            assert reports[-1][name] < 0.8 * reports[0][name], (stage, name, reports[0][name], reports[-1][name])


def test_the_second_stage_leaves_the_encoder_alone_and_moves_the_rest(learned: Path) -> None:
    first = load_file(learned / REPRESENTATION_CHECKPOINT)
    second = load_file(learned / DYNAMICS_CHECKPOINT)
    kept = ("module.world_model.encoder", "module.world_model.decoder", "module.object_head")
    trained = ("module.world_model.trunk.blocks", "module.world_model.dynamics.central")
    for name, tensor in first.items():
        if name.startswith(kept):
            assert torch.equal(tensor, second[name]), name
        elif name.startswith(trained) and name.endswith("weight"):
            assert not torch.equal(tensor, second[name]), name
    codes = "module.world_model.dynamics.codes.embedding"
    assert not torch.equal(first[codes], second[codes]), "no code was learned"


def test_every_term_of_the_loss_has_a_weight(data: Dataset) -> None:
    model = toy_model()
    terms, skills = losses(model, toy_windows(model, data), torch.ones(2, 3), SampleGenerator.alone(6, 0))
    assert terms.keys() == LOSS_WEIGHTS.keys()
    assert skills.keys() == {"skill_1", "skill_2"}


class Push:
    """A deterministic game of states: z' = 0.9·z + push[action], at full health, for a reward of 4 each step."""

    def __init__(self, model: TrainingModel) -> None:
        self.model = model
        self.table = torch.from_numpy(get_scenario("take_cover").action_table()).float()
        self.push = 0.6 * torch.randn(len(self.table), model.world_model.config.state_width)

    def windows(self, generator: torch.Generator) -> Windows:
        pressed = torch.randint(len(self.table), (WINDOWS, WINDOW), generator=generator)
        states = [torch.randn(WINDOWS, self.push.shape[1], generator=generator)]
        for t in range(WINDOW - 1):
            states.append(0.9 * states[-1] + self.push[pressed[:, t]])
        healthy = torch.tensor([100.0, 0.0, 0.0, 0.0]).expand(WINDOWS, WINDOW, 4)
        batch = plain_batch(
            *(WINDOWS, WINDOW, torch.zeros(WINDOWS, dtype=torch.long)),
            actions=self.table[pressed],
            rewards=torch.full((WINDOWS, WINDOW), 4.0),
            variables=healthy,
            next_variables=healthy,
            object_maps=torch.zeros(WINDOWS, WINDOW, 3, 12, 16),
            pose=torch.zeros(WINDOWS, WINDOW, 4),
            sightings=torch.zeros(WINDOWS, WINDOW, 3),
        )
        outcome = outcome_targets(self.model.world_model, batch)
        return Windows(batch, torch.stack(states, 1), batch.scenario, outcome, begin=1)


def test_a_trained_dream_follows_the_action() -> None:
    """What is learned must be the push of each action, not their average.

    A model that ignores its action cannot pass: its error is that of the action that was not pressed.
    """
    model = toy_model()
    game = Push(model)
    optimiser = Optimiser(model, "adamw", 5e-3, STEPS)
    change = torch.full((2, 3), 0.3)
    for step in range(STEPS):
        chance = SampleGenerator.alone(WINDOWS, 2, step)
        terms, _ = losses(model, game.windows(seeded(1, step)), change, chance)
        (terms["prediction"] + terms["rollout"] + terms["outcome"]).backward()
        optimiser.step(step, CPU)

    windows = game.windows(seeded(3))
    batch = windows.batch
    world_model = model.world_model
    state = world_model.begin(windows.z[:, 0], batch.variables[:, 0], batch.scenario)
    with torch.no_grad():
        for t in range(3):  # three dreamed steps, never corrected
            other = batch.actions[:, t].roll(1, 0)
            differs = (other != batch.actions[:, t]).any(1)
            pressed, reward, _ = world_model.imagine(state, batch.actions[:, t], 0)
            ignored, *_ = world_model.imagine(state, other, 0)
            errors = [(found.z - windows.z[:, t + 1])[differs].square().mean() for found in (pressed, ignored)]
            right, wrong = map(float, errors)
            assert right < 0.5 * wrong, (t, right, wrong)
            torch.testing.assert_close(reward, torch.full((WINDOWS,), 4.0), atol=0.2, rtol=0)
            state = pressed


def test_a_rollout_that_follows_the_mean_is_a_dream_at_temperature_0(data: Dataset) -> None:
    """Where the likeliest outcome is the observed one, a rollout is what `imagine` dreams."""
    model = toy_model()
    windows = toy_windows(model, data)
    world_model = model.world_model
    batch = windows.batch
    state = world_model.prefill(
        windows.z[:, :2], batch.actions[:, :1], batch.variables[:, :2], batch.scenario, batch.elapsed
    )
    with torch.no_grad():
        for index, head in enumerate(world_model.dynamics.outcome.bias.split(world_model.dynamics.sizes)):
            head.zero_()[1 if index == 0 else 0] = 60.0  # nothing changes
        still = dataclasses.replace(batch, variables=batch.variables[:, 1:2].expand(-1, WINDOW, -1).clone())
        still.variables[:, 0] = batch.variables[:, 0]
        outcome = torch.tensor([1, 0, 0, 0]).expand(6, WINDOW, 4)
        windows = dataclasses.replace(windows, batch=still, outcome=outcome)
        follow_mean = torch.zeros(6, 1, dtype=torch.bool)
        dream = open_loop_rollout(model, windows, 3, follow_mean, SampleGenerator.alone(6, 0))
        for step in range(3):
            state, *_ = world_model.imagine(state, batch.actions[:, 1 + step], 0)
            torch.testing.assert_close(dream.states[:, step], state.z, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(dream.features[:, step], state.h, atol=1e-5, rtol=1e-5)


def test_the_kl_divergence_is_the_textbooks_and_its_gradient_balanced() -> None:
    """Free nats spare the posterior and not the prior."""
    for free_nats in (0.0, 1.0):
        posterior = torch.tensor([[0.5, 0.5], [0.9, 0.1]], requires_grad=True)
        log_prior = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log().requires_grad_()
        divergence = kl_divergence(posterior, log_prior, 0.8, free_nats=free_nats)
        assert float(divergence.detach()) == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
        divergence.backward()
        assert log_prior.grad is not None and posterior.grad is not None
        torch.testing.assert_close(log_prior.grad, -0.8 * posterior.detach())
        full = posterior.detach().log() - log_prior.detach() + 1
        torch.testing.assert_close(posterior.grad, (0.0 if free_nats else 0.2) * full)
