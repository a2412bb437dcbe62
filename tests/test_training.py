"""Promises of the two training stages: they learn, resume along the same curve, and stop before damage is done."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_world import EPISODES, LENGTH, WINDOW, WORLDS, run

from doom_dream_env.scenarios import SCENARIOS, get_scenario
from training import dynamics, world_model
from training.dataset import Dataset
from training.facts import Facts
from training.loop import Compute, Muon, Optimiser, load_checkpoint, prefetched, save_checkpoint, seeded
from training.world_model import Trainee, by_world, make_batch, sample_rows, supports

STEPS = 200
DELTAS = ((-10.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # of health; nothing else ever changes
CPU = Compute(torch.device("cpu"), 0, 1, False)


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, WORLDS)


def prepared(stage: str, joint_run: Path, out: Path) -> Path:
    """A fresh run folder in which `stage` can start; returns the checkpoint it will write."""
    out.mkdir(parents=True)
    if stage == "dynamics":
        (out / world_model.CHECKPOINT).write_bytes((joint_run / world_model.CHECKPOINT).read_bytes())
        return out / dynamics.CHECKPOINT
    return out / world_model.CHECKPOINT


def lines(out: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]


# ---- batches -----------------------------------------------------------------------------------------------------------


def test_a_window_past_the_end_is_marked_not_filled(data: Dataset) -> None:
    rows = np.array([0, LENGTH - 2])
    batch = make_batch(data, rows, 4, CPU.device)
    assert batch.valid.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]] and batch.follows.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.age.tolist() == [0, LENGTH - 2] and batch.ended[1, 1] == 1 and batch.ended[0].sum() == 0
    assert torch.equal(batch.frames[0], torch.from_numpy(data.frames(np.arange(4))))
    assert torch.equal(batch.actions[0], torch.from_numpy(data.actions[:4]).float())
    assert torch.equal(batch.heat[0, 1], torch.from_numpy(data.heat[1]).float()) and batch.heat.sum() > 0


def test_invalid_steps_have_no_influence_on_any_loss(data: Dataset) -> None:
    """Windows cut short: whatever stands in the padding, the losses are the same (frames excepted: BatchNorm in eval mode)."""
    torch.manual_seed(0)
    deltas, rewards = supports(data)
    trainee = toy_trainee(deltas, rewards).eval()
    batch = make_batch(data, np.array([LENGTH - 3, 2 * LENGTH - 2]), WINDOW, CPU.device)
    with torch.no_grad():
        before, _ = trainee.losses(batch, seeded(0))
        padding = batch.valid == 0
        for name in ("rewards", "ended", "variables", "next_variables", "heat", "actions"):
            values = getattr(batch, name)
            values[padding] = 1 - values[padding]
        batch.frames[padding] = 255 - batch.frames[padding]
        after, _ = trainee.losses(batch, seeded(0))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_every_world_gets_the_same_share_of_a_batch(data: Dataset) -> None:
    pool = np.r_[data.windows(WINDOW)[data.scenario[data.windows(WINDOW)] == 0], data.windows(WINDOW)[-3:]]  # uneven
    drawn = [sample_rows(by_world(data, pool), 11, np.random.default_rng(seed)) for seed in range(40)]
    shares = [tuple(np.bincount(data.scenario[rows]).tolist()) for rows in drawn]
    assert set(shares) == {(6, 5), (5, 6)}, "the odd one goes to either by lot"
    assert set(np.concatenate(drawn)) <= set(pool)


def test_some_worlds_can_get_a_larger_share(toy: Path, data: Dataset, joint_run: Path, tmp_path: Path) -> None:
    rows = sample_rows(by_world(data, data.windows(WINDOW)), 12, np.random.default_rng(0), np.array([3.0, 1.0]))
    assert np.bincount(data.scenario[rows]).tolist() == [9, 3]
    prepared("dynamics", joint_run, tmp_path / "run")
    with pytest.raises(ValueError, match="--emphasis names basic, but the worlds are take_cover, defend_the_center"):
        run("dynamics", toy, tmp_path / "run", 2, emphasis="basic=3")


def test_shards_that_were_trained_on_count_less(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "OLD_SHARE", 0.5)
    names = [f"take_cover/train-{i:05d}" for i in range(4)] + ["freedoom/train-MAP01-00000"]
    monkeypatch.setattr(data, "shard_rows", lambda: ((name, np.arange(10 * i, 10 * i + 10)) for i, name in enumerate(names)))
    rows = dynamics.chosen_rows(data, {"take_cover": 2}, {})
    assert rows[rows < 50].tolist() == [*range(10), *range(20, 50)], "the second of two old shards should be left out"


def test_scripted_players_can_be_left_out_of_a_world(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    played = np.array(["random", "scripted", "noisy", "relay"])[np.unique(data.first, return_inverse=True)[1] % 4]
    monkeypatch.setattr(data, "behaviour", played)
    rows = dynamics.chosen_rows(data, {}, {"take_cover": 0.0})
    assert set(played[rows[data.scenario[rows] == 0]]) == {"random", "relay"}
    assert np.isin(np.flatnonzero(data.scenario == 1), rows).all(), "another world lost its scripted players"


def test_supports_hold_every_change_and_reward_of_the_data(data: Dataset) -> None:
    deltas, rewards = supports(data)
    assert deltas == DELTAS and rewards == (4.0, 5.0)


def toy_trainee(deltas: Any, rewards: Any) -> Trainee:
    from doom_dream_env.world_model import PRESETS

    known = tuple(tuple(map(bool, get_scenario(name).variable_mask())) for name in WORLDS)
    return Trainee(dataclasses.replace(PRESETS["tiny"], scenarios=WORLDS, known=known, deltas=deltas, rewards=rewards))


# ---- the stages learn --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def learned(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, long enough to learn the toy."""
    out = tmp_path_factory.mktemp("learned")
    run("world_model", toy, out, 51, every=1000)
    run("dynamics", toy, out, 151, every=1000, batch=16, window=8, lr=3e-3)
    return out


def test_losses_fall(learned: Path) -> None:
    for stage, names in (
        ("joint", ("heat_z", "heat_next", "heat_h", "outcome")),
        ("dynamics", ("outcome", "outcome_rollout")),
    ):
        reports = [line for line in lines(learned, stage) if "loss" in line]
        assert all(math.isfinite(value) for line in reports for value in line.values())
        for name in names:
            assert reports[-1][name] < 0.8 * reports[0][name], (stage, name, reports[0][name], reports[-1][name])


def test_a_trained_dream_follows_the_action() -> None:
    """A deterministic world of states, z' = 0.9·z + push[action]: what is learned must be the push, not its average.

    A model that ignores its action cannot pass: its error is that of the action that was not pressed.
    """
    torch.manual_seed(0)
    table = torch.from_numpy(get_scenario("take_cover").action_table()).float()
    trainee, lanes = toy_trainee(DELTAS, (4.0, 5.0)), 32
    trainee.eval()
    optimiser, push = Optimiser(trainee, "adamw", 5e-3, STEPS), 0.6 * torch.randn(len(table), trainee.model.config.state_width)

    def world(dice: torch.Generator) -> tuple[world_model.Batch, Tensor]:
        pressed = torch.randint(len(table), (lanes, WINDOW), generator=dice)
        z = [torch.randn(lanes, push.shape[1], generator=dice)]
        for t in range(WINDOW - 1):
            z.append(0.9 * z[-1] + push[pressed[:, t]])
        one, healthy = torch.ones(lanes, WINDOW), torch.tensor([100.0, 0.0, 0.0, 0.0]).expand(lanes, WINDOW, 4)
        none, nothing = torch.zeros(lanes, dtype=torch.long), torch.zeros(lanes, WINDOW, 3)
        batch = world_model.Batch(
            frames=None, actions=table[pressed], rewards=4 * one, ended=0 * one, variables=healthy, next_variables=healthy,
            scenario=none, age=none, heat=torch.zeros(lanes, WINDOW, 3, 12, 16), valid=one, follows=one[:, 1:], rows=one,
            place=none, pose=torch.zeros(lanes, WINDOW, 4), sight=nothing,
        )  # fmt: skip
        return batch, torch.stack(z, 1)

    for step in range(STEPS):
        terms = dynamics.losses(trainee, *world(seeded(1, step)), 1, 3, torch.full((2, 3), 0.3), seeded(2, step))
        (terms["prediction"] + terms["rollout"] + terms["outcome"]).backward()
        optimiser.step(step, CPU)

    batch, z = world(seeded(3))
    state = trainee.model.begin(z[:, 0], batch.variables[:, 0], batch.scenario)
    with torch.no_grad():
        for t in range(3):  # three dreamed steps, never corrected
            other = batch.actions[:, t].roll(1, 0)
            differs = (other != batch.actions[:, t]).any(1)
            pressed, reward, _ = trainee.model.imagine(state, batch.actions[:, t], 0)
            ignored, *_ = trainee.model.imagine(state, other, 0)
            right, wrong = ((found.z - z[:, t + 1])[differs].square().mean() for found in (pressed, ignored))
            assert float(right) < 0.5 * float(wrong), (t, float(right), float(wrong))
            torch.testing.assert_close(reward, torch.full((lanes,), 4.0), atol=0.2, rtol=0)
            state = pressed


def test_the_second_stage_leaves_the_encoder_alone_and_moves_the_rest(learned: Path) -> None:
    first, second = load_file(learned / world_model.CHECKPOINT), load_file(learned / dynamics.CHECKPOINT)
    for name, tensor in first.items():
        if name.startswith(("module.model.encoder", "module.model.decoder", "module.heat_z")):
            assert torch.equal(tensor, second[name]), name
        elif name.startswith(("module.model.trunk.blocks", "module.model.dynamics.central")) and name.endswith("weight"):
            assert not torch.equal(tensor, second[name]), name
    codes = "module.model.dynamics.codes.embedding"
    assert not torch.equal(first[codes], second[codes]), "no code was learned"


# ---- going on ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stage", ["world_model", "dynamics"])
def test_a_killed_run_resumes_along_the_same_curve(
    toy: Path, joint_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, optimizer: str
) -> None:
    whole, broken = (prepared(stage, joint_run, tmp_path / name) for name in ("whole", "broken"))
    run(stage, toy, whole.parent, 6, optimizer=optimizer)

    module = importlib.import_module(f"training.{stage}")

    def killed(path: Path, *arguments: Any) -> None:
        save_checkpoint(path, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        run(stage, toy, broken.parent, 6, optimizer=optimizer)
    halfway = load_file(broken)
    monkeypatch.setattr(module, "save_checkpoint", save_checkpoint)
    run(stage, toy, broken.parent, 6, optimizer=optimizer)

    expected, found = load_file(whole), load_file(broken)
    assert expected.keys() == found.keys() and any(name.startswith("optimiser.") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    moved = [name for name, tensor in halfway.items() if name.endswith("weight") and not torch.allclose(tensor, expected[name])]
    assert moved, "nothing was learned after the interruption: the comparison says nothing"


@pytest.mark.parametrize("stage", ["world_model", "dynamics"])
def test_a_finished_run_given_again_changes_nothing(toy: Path, joint_run: Path, tmp_path: Path, stage: str) -> None:
    checkpoint = prepared(stage, joint_run, tmp_path / "run")
    run(stage, toy, checkpoint.parent, 2)
    before = checkpoint.read_bytes()
    run(stage, toy, checkpoint.parent, 2)
    assert checkpoint.read_bytes() == before


def test_the_seed_decides_the_run(toy: Path, joint_run: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        run("world_model", toy, tmp_path / name, 4, seed=seed)
    first, same, other = (load_file(folder / world_model.CHECKPOINT) for folder in (joint_run, tmp_path / "same", tmp_path / "other"))
    name = "module.model.dynamics.central.0.weight"
    torch.testing.assert_close(same[name], first[name], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(other[name], first[name])


def test_checkpoints_describe_themselves(joint_run: Path) -> None:
    trainee = dynamics.load_trainee(joint_run / world_model.CHECKPOINT)
    assert trainee.model.config.scenarios == WORLDS and trainee.model.config.deltas == DELTAS
    assert not trainee.training
    step, about = load_checkpoint(joint_run / world_model.CHECKPOINT, trainee)
    assert step == 4 and about["seed"] == 0


def test_beginnings_are_the_first_frames_of_episodes(joint_run: Path, data: Dataset, tmp_path: Path) -> None:
    trainee = dynamics.load_trainee(joint_run / world_model.CHECKPOINT)
    states = dynamics.cached_states(trainee, data, tmp_path / "states.safetensors", CPU)
    dynamics.pick_starts(trainee, data, states)
    for index, name in enumerate(WORLDS):
        rows = np.flatnonzero((data.first == np.arange(len(data))) & (data.scenario == index))
        z, variables = trainee.model.starts[name]
        assert len(rows) == EPISODES == len(z)
        assert {tuple(row.tolist()) for row in z} == {tuple(row.tolist()) for row in states[rows].float()}
        assert (variables[:, 0] == 100).all() and (variables[:, 1] == (26 if "AMMO2" in SCENARIOS[name].variables else 0)).all()


def test_cached_states_are_reused_only_for_the_same_encoder_and_shards(
    joint_run: Path, data: Dataset, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trainee = tmp_path / "states.safetensors", dynamics.load_trainee(joint_run / world_model.CHECKPOINT)
    states = dynamics.cached_states(trainee, data, path, CPU)
    expected = trainee.model.encode(data.frames(np.arange(9))[None])[0]
    torch.testing.assert_close(states[:9].float(), expected, atol=0.05, rtol=0.05)  # bfloat16 products
    written = path.stat().st_mtime_ns
    assert torch.equal(dynamics.cached_states(trainee, data, path, CPU), states) and path.stat().st_mtime_ns == written
    with torch.no_grad():
        trainee.model.encoder.projector[-1].bias += 1
    moved = dynamics.cached_states(trainee, data, path, CPU)
    assert (moved.float() - states.float()).mean() == pytest.approx(1, abs=0.05), "states of another encoder were used"
    half = Dataset(toy, WORLDS[:1])
    path.unlink()
    first = dynamics.cached_states(trainee, half, path, CPU)
    torch.testing.assert_close(first, moved[: len(half)])
    encoded: list[int] = []
    encode = trainee.model.encode
    monkeypatch.setattr(trainee.model, "encode", lambda frames: encoded.append(frames.shape[1]) or encode(frames))
    torch.testing.assert_close(dynamics.cached_states(trainee, data, path, CPU), moved)
    assert sum(encoded) == len(data) - len(half), "shards that were known were encoded again"
    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(dynamics.cached_states(trainee, data, path, CPU), moved), "a damaged file was not made anew"


# ---- stopping before damage ----------------------------------------------------------------------------------------------


def poisoned(stage: str, monkeypatch: pytest.MonkeyPatch, poison: Any, at: int) -> None:
    """Apply `poison` to the loss terms from the `at`-th step of a stage on."""
    owner, name = (Trainee, "losses") if stage == "world_model" else (dynamics, "losses")
    original, calls = getattr(owner, name), []

    def losses(*arguments: Any) -> Any:
        result = original(*arguments)
        calls.append(1)
        if len(calls) > at:
            terms = result[0] if stage == "world_model" else result
            terms["prediction"] = poison(terms["prediction"])
        return result

    monkeypatch.setattr(owner, name, losses)


@pytest.mark.parametrize(
    ("poison", "what"),
    [(lambda x: x * math.nan, "loss is nan"), (lambda x: x + math.inf, "loss is inf"), (lambda x: (x * 0).sqrt(), "gradient is nan")],
    ids=["nan", "inf", "gradient"],
)
@pytest.mark.parametrize("stage", ["world_model", "dynamics"])
def test_a_loss_or_gradient_that_is_no_number_stops_the_run_with_the_last_checkpoint_intact(
    toy: Path, joint_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, poison: Any, what: str
) -> None:
    checkpoint = prepared(stage, joint_run, tmp_path / "run")
    with monkeypatch.context() as patch:
        poisoned(stage, patch, poison, at=3)
        with pytest.raises(FloatingPointError, match=f"{what} at step 3.*resume with a smaller --lr"):
            run(stage, toy, checkpoint.parent, 6)
    saved = load_file(checkpoint)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert load_checkpoint(checkpoint, dynamics.load_trainee(checkpoint))[0] == 2
    run(stage, toy, checkpoint.parent, 6)
    assert load_checkpoint(checkpoint, dynamics.load_trainee(checkpoint))[0] == 6


def test_a_refused_update_leaves_the_weights_alone() -> None:
    layer = nn.Linear(3, 2)
    optimiser = Optimiser(layer, "adamw", 1.0, 10)
    before = layer.weight.detach().clone()
    (layer(torch.ones(1, 3)) * math.nan).sum().backward()
    with pytest.raises(FloatingPointError, match="gradient is nan at step 7"):
        optimiser.step(7, CPU)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("stage", ["world_model", "dynamics"])
@pytest.mark.parametrize("keep", [0, 50, -100])
def test_a_cut_checkpoint_is_named(toy: Path, joint_run: Path, tmp_path: Path, stage: str, keep: int) -> None:
    """The stage's own, and for the second stage that of the first too."""
    prepared(stage, joint_run, tmp_path / "run")
    path = tmp_path / "run" / world_model.CHECKPOINT
    path.write_bytes((joint_run / world_model.CHECKPOINT).read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
        run(stage, toy, path.parent, 6)


def test_a_cut_checkpoint_of_the_second_stage_is_named(toy: Path, joint_run: Path, tmp_path: Path) -> None:
    path = prepared("dynamics", joint_run, tmp_path / "run")
    run("dynamics", toy, path.parent, 2)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
        run("dynamics", toy, path.parent, 4)


def test_a_checkpoint_of_another_configuration_is_named(toy: Path, joint_run: Path, tmp_path: Path) -> None:
    path = prepared("dynamics", joint_run, tmp_path / "run").parent / world_model.CHECKPOINT
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged or of another configuration"):
        run("world_model", toy, path.parent, 6, preset="nano")


def test_the_second_stage_asks_for_the_first(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="joint.safetensors is missing: run the stage that writes it first"):
        run("dynamics", toy, tmp_path, 2)


# ---- facts ---------------------------------------------------------------------------------------------------------------


def test_facts_are_read_off_linearly_and_only_where_they_are_known(data: Dataset) -> None:
    """Two places with coordinates of their own: a linear head per place finds both; an offset that does not exist teaches nothing."""
    torch.manual_seed(0)
    facts, width = Facts(12, 2), 12
    facts.calibrate(SimpleNamespace(places=["a", "b"], place=np.repeat([0, 1], 50), pose=np.random.default_rng(0).normal(0, 200, (100, 4))))
    batch = make_batch(data, np.arange(64) % len(data), 2, CPU.device)
    dice = seeded(3)
    x = torch.randn(64, 2, width, generator=dice)
    place = torch.arange(64) % 2
    at = torch.where(place[:, None, None] == 0, 150 * x[..., :2], -150 * x[..., :2])
    angle = torch.atan2(x[..., 2], x[..., 3]).rad2deg()
    sight = torch.stack([torch.full((64, 2), math.nan), (x[..., 4] > 0).float(), (x[..., 5] > 0).float()], -1)
    batch = dataclasses.replace(batch, place=place, pose=torch.cat([at, 0 * at[..., :1], angle[..., None]], -1), sight=sight)
    before, optimiser = [], torch.optim.Adam(facts.parameters(), 0.02)
    for _ in range(300):
        loss = facts.loss(x[..., :8], x[..., 8:], batch, torch.ones(64, 2))
        before.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        assert facts.sight.weight.grad is not None and (facts.sight.weight.grad[0] == 0).all(), "learned an offset of nothing"
        optimiser.step()
    assert before[-1] < 0.2 * before[0]


# ---- small parts -------------------------------------------------------------------------------------------------------


def test_prefetching_keeps_the_order_and_passes_errors_on() -> None:
    def fetch(step: int) -> int:
        if step == 40:
            raise ValueError("step 40")
        return step * step

    assert list(prefetched(fetch, range(20))) == [step * step for step in range(20)]
    results = prefetched(fetch, range(30, 50))
    with pytest.raises(ValueError, match="step 40"):
        list(results)


def test_every_step_has_its_own_dice() -> None:
    def draw(*numbers: int) -> Tensor:
        return torch.rand(4, generator=seeded(*numbers))

    assert torch.equal(draw(1, 2), draw(1, 2))
    drawn = torch.stack([draw(a, b) for a in range(5) for b in range(5)] + [draw(0), draw(0, 7, 3), draw(0, 3, 7)])
    assert len(drawn.unique(dim=0)) == len(drawn)


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    layer = nn.Linear(2, 2)
    optimiser, rates = Optimiser(layer, "adamw", 1.0, steps=1000, warmup=50), []
    for step in range(1000):
        layer(torch.ones(1, 2)).sum().backward()
        optimiser.step(step, CPU)
        rates.append(optimiser.optimisers[0].param_groups[0]["lr"])
    assert rates[0] == pytest.approx(1 / 50, rel=0.01) and int(np.argmax(rates)) == 49 and rates[49] > 0.97
    assert rates[-1] == pytest.approx(0.1, abs=0.01) and rates[50:] == sorted(rates[50:], reverse=True)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_muon_updates_as_torch_does(shape: tuple[int, int]) -> None:
    dice = seeded(0)
    mine, theirs = (nn.Parameter(torch.randn(shape, generator=seeded(1))) for _ in range(2))
    ours, reference = Muon([mine], 0.01, 0.1), torch.optim.Muon([theirs], 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape, generator=dice)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=0)  # torch's is computed in bfloat16


def test_muon_gets_hidden_matrices_and_adamw_the_rest() -> None:
    deltas, rewards = ((-1.0, 0.0), (0.0, 1.0)), (0.0, 1.0)
    trainee = toy_trainee(deltas, rewards)
    adamw, muon = Optimiser(trainee, "muon", 1e-3, 10).optimisers
    chosen = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in trainee.named_parameters() if id(p) in chosen}
    assert names and all(".blocks." in name or ".projector." in name for name in names)
    assert sum(len(group["params"]) for group in (*adamw.param_groups, *muon.param_groups)) == len(list(trainee.parameters()))
