"""Promises of the state of things: what the game did is what its states say, dreams answer the keys, runs resume.

The shards are of the real game, at toy size.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, get_scenario, press
from doom_dream_env.world_model.things.dynamics import ThingsConfig, ThingsDynamics, place_new
from doom_dream_env.world_model.things.eye import COLUMNS, FOCAL, POSE, ROWS, Eye, Seen, detections
from doom_dream_env.world_model.things.features import PER_THING, PLAYER, WIDTH, features, nearest
from doom_dream_env.world_model.things.state import EMPTY, HISTORY, WALLS, Things, moved_on
from doom_dream_env.world_model.things.tracker import Tracker
from training.config import CollectConfig, EyeConfig, ThingsAgentsConfig, ThingsTrainingConfig
from training.data import collect
from training.data.dataset import Dataset
from training.data.things import Kinds, ThingsData, read_shard, shards_of
from training.engine.checkpoint import load_checkpoint
from training.evaluation import things as scores
from training.evaluation import things_agents
from training.models.eye import mirrored as mirrored_frames
from training.models.things import Averaged, mirrored, things_loss, what_killed
from training.stages import eye as eye_stage
from training.stages import things as stage

WORLD = "take_cover"
BALL, IMP = 2, 3  # indices of kinds in `CONFIG`
CONFIG = ThingsConfig(
    kinds=("", "Burst", "DoomImpBall", "DoomImp", "Medikit"),
    becomes=(0, 0, 1, 0, 0),
    groups=(4, 4, 0, 1, 2),
    scenarios=(WORLD,),
    mortal=(True,),
    deltas=((-12.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)),
    rewards=(0.0, 4.0),
    width=32,
    depth=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of things: a few hundred steps of two worlds."""
    out = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "STEPS_PER_SHARD", 300)
        for name in (WORLD, "defend_the_center"):
            config = CollectConfig(
                out=out, scenarios=(name,), steps=300, mix={"random": 1.0}, workers=1, things=True, frames=False
            )
            collect.collect(config)
    return out


def things_data(folder: Path, world: str = WORLD) -> ThingsData:
    return ThingsData(map(read_shard, shards_of(folder, [world], "train")), Kinds(), [world], [True])


def things(place: list[list[float]], kind: list[int]) -> Things:
    """One lane with things at given places that have not moved yet."""
    slots = len(kind)
    return Things(
        kind=torch.tensor([kind]),
        place=torch.tensor([place]),
        moved=torch.zeros(1, slots, HISTORY, 3),
        known=torch.zeros(1, slots),
        unseen=torch.zeros(1, slots),
        pose=torch.zeros(1, 3),
        located=torch.zeros(1),
        motion=torch.zeros(1, 3),
        actions=torch.zeros(1, HISTORY, len(BUTTONS)),
        variables=torch.tensor([[100.0, 0.0, 0.0, 0.0]]),
        elapsed=torch.zeros(1),
        walls=torch.full((1, WALLS), 40.0),
        scenario=torch.zeros(1, dtype=torch.long),
    )


# ---- what the game did -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("world", [WORLD, "defend_the_center"])
def test_moving_a_state_on_by_what_the_game_did_gives_the_game_s_next_state(folder: Path, world: str) -> None:
    data = things_data(folder, world)
    rows = np.flatnonzero((data.since > HISTORY) & data.has_next)
    now, then, targets = data.state(rows), data.state(rows + 1), data.targets(rows)
    action = torch.from_numpy(data.columns["action"][rows]).float()
    after = moved_on(now, targets.displaced, targets.motion, action)
    assert torch.allclose(after.actions, then.actions)
    assert torch.allclose(after.motion, then.motion, atol=1e-3)
    compared = 0
    for lane in range(len(rows)):
        for slot in torch.nonzero(targets.alive[lane] & ~targets.turned[lane])[:, 0].tolist():
            gap = (then.place[lane] - after.place[lane, slot]).abs().sum(-1)
            same = (then.kind[lane] == after.kind[lane, slot]) & (gap < 0.05)
            if not same.any():
                continue  # it has no slot any more
            other = int(torch.nonzero(same)[0, 0])
            assert torch.allclose(then.moved[lane, other], after.moved[lane, slot], atol=0.05)
            compared += 1
    assert compared > len(rows)


def test_fireballs_come_from_those_who_shot_them(folder: Path) -> None:
    data = things_data(folder)
    targets = data.targets(np.arange(data.n))
    row, rank = torch.nonzero(targets.shot_source > 0, as_tuple=True)
    assert len(row) > 5
    now = data.state(np.arange(data.n))
    shooter = now.kind[row, targets.shot_source[row, rank] - 1]
    assert {data.kinds.names[int(kind)] for kind in shooter} == {"DoomImp"}
    assert {data.kinds.names[int(kind)] for kind in targets.shot_kind[row, rank]} == {"DoomImpBall"}
    assert targets.shot_values[row, rank, :3].norm(dim=-1).max() < 100


def test_the_mirror_of_a_mirror_is_the_step_itself(folder: Path) -> None:
    data = things_data(folder)
    rows = np.arange(40)
    before = data.state(rows), data.targets(rows), torch.from_numpy(data.columns["action"][rows]).float()
    twice = mirrored(*mirrored(*before))
    for one, other in zip(before[:2], twice[:2], strict=True):
        for field in dataclasses.fields(one):
            if field.name != "located":
                assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert torch.equal(before[2], twice[2])


def test_a_death_without_a_frame_is_laid_to_the_fireball_that_was_near(folder: Path) -> None:
    data = things_data(folder)
    row = np.flatnonzero(data.columns["term"])[:1]
    targets = data.targets(row)
    assert targets.died.all() and not targets.next.any()
    state = things([[300.0, 0.0, 32.0], [50.0, 4.0, 32.0], [40.0, 0.0, 0.0]], [BALL, BALL, IMP])
    model = ThingsDynamics(CONFIG)
    out = model.thing(model.trunk(state, torch.zeros(1, len(BUTTONS)))[1])
    assert what_killed(model, state, torch.zeros_like(out), targets).tolist() == [[False, True, False]]


# ---- dreams ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def learned(folder: Path) -> tuple[ThingsDynamics, ThingsData]:
    """Dynamics that have seen a little of one world."""
    data = things_data(folder)
    torch.manual_seed(0)
    config = ThingsTrainingConfig(width=32, depth=1, batch=64)
    model = ThingsDynamics(stage.things_config(data, config))
    sampler = stage.StepSampler(data, config)
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3)
    for step in range(150):
        batch = sampler(np.random.default_rng(step))
        loss, _ = things_loss(model, batch.things, batch.action, batch.targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
    return model, data


def test_a_dream_answers_its_keys(learned: tuple[ThingsDynamics, ThingsData]) -> None:
    model, data = learned
    state = data.state(np.flatnonzero(data.since == 3))
    walked: list[Tensor] = []
    for button in ("MOVE_LEFT", "MOVE_RIGHT"):
        action = torch.from_numpy(press(button)).float().expand(len(state), -1)
        now = state
        for _ in range(4):
            now, _, _ = model.step(now, action, drawn=False)
        walked.append(now.pose[:, :2] - state.pose[:, :2])
    left = torch.stack([-state.pose[:, 2].sin(), state.pose[:, 2].cos()], -1)
    gap = ((walked[0] - walked[1]) * left).sum(-1)
    assert gap.min() > 5  # map units; whoever ignores the keys stays below 0.01


def test_what_comes_into_sight_takes_the_slot_that_matters_least() -> None:
    full = things([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0], [40.0, 0.0, 0.0]], [IMP, BALL, 4])
    mask, kind = torch.tensor([True]), torch.tensor([BALL])
    after = place_new(full, [(mask, kind, torch.tensor([[30.0, 0.0, 0.0]]), None)], torch.tensor(CONFIG.groups))
    assert after.kind.tolist() == [[IMP, BALL, BALL]]
    assert after.place[0, 2].tolist() == [30.0, 0.0, 0.0]


def test_equal_generators_give_equal_dreams(learned: tuple[ThingsDynamics, ThingsData]) -> None:
    model, data = learned
    state = data.state(np.arange(20))
    action = torch.zeros(20, len(BUTTONS))
    results = [model.step(state, action, torch.Generator().manual_seed(seed))[0].place for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_an_agent_sees_the_nearest_first_and_where_a_fireball_will_pass() -> None:
    state = things([[400.0, 0.0, 0.0], [90.0, 0.0, 0.0], [200.0, 60.0, 0.0], [0.0, 0.0, 0.0]], [IMP, 4, BALL, EMPTY])
    state.moved[0, 2, 0] = torch.tensor([-40.0, -8.0, 0.0])
    state.known[0, 2] = 1
    groups, scales = torch.tensor(CONFIG.groups), torch.ones(4)
    assert nearest(state, groups)[0, :3].tolist() == [2, 0, 1]  # fireball, imp, and only then the medikit
    seen = features(state, groups, scales)
    assert seen.shape == (1, WIDTH)
    first, last = seen[0, PLAYER : PLAYER + PER_THING], seen[0, PLAYER + 3 * PER_THING :]
    assert first[14] == pytest.approx(0.51, abs=0.01)  # tens of steps until it is closest
    assert first[16] == pytest.approx(19.2 / 48, abs=0.01)  # it passes 19 map units to the left
    assert not last.any()


# ---- frames ----------------------------------------------------------------------------------------------------------
def seen(places: list[tuple[float, float]]) -> Seen:
    """What a perfect eye says of fireballs at places forward and left."""
    heat = torch.full((1, ROWS, COLUMNS), -9.0)
    kind = torch.zeros(1, len(CONFIG.kinds), ROWS, COLUMNS)
    column, height = torch.zeros(1, ROWS, COLUMNS), torch.ones(1, ROWS, COLUMNS)
    depth = torch.full((1, 2, ROWS, COLUMNS), -3.0)
    for forward, left in places:
        x = (80.0 - FOCAL * left / forward) / 5
        cell = int(x)
        heat[0, 12, cell] = 5.0
        kind[0, BALL, 12, cell] = 9.0
        column[0, 12, cell] = x - cell - 0.5
        depth[0, 0, 12, cell] = math.log(forward)
    pose = torch.zeros(1, POSE)
    return Seen(heat, kind, column, depth, height, torch.full((1, WALLS), 40.0), pose, torch.full((1,), 2.0))


def test_the_peaks_of_the_heat_are_placed_where_they_are() -> None:
    found = detections(seen([(200.0, 30.0), (100.0, -40.0)]), most=4)
    assert (found.chance > 0.5).sum() == 2
    places = sorted(found.place[0, :2, :2].round().tolist())
    assert places == [[100.0, -40.0], [200.0, 30.0]]


def test_a_tracked_fireball_gets_its_velocity_and_fades_when_it_is_gone() -> None:
    torch.manual_seed(0)
    model = ThingsDynamics(CONFIG)
    with torch.no_grad():  # things go on as they went, and live
        for parameter in model.thing[-1].parameters():
            parameter.zero_()
        model.thing[-1].bias[-4:] = torch.tensor([9.0, -9.0, 9.0, -9.0])
        for parameter in model.player[-1].parameters():
            parameter.zero_()
    tracker = Tracker(model, slots=4)
    variables, action = torch.tensor([[100.0, 0.0, 0.0, 0.0]]), torch.zeros(1, len(BUTTONS))
    state = tracker.begin(seen([(400.0, 60.0)]), variables, torch.zeros(1, dtype=torch.long), torch.zeros(1))
    for step in range(1, 9):
        state = tracker.advance(state, action, seen([(400.0 - 30.0 * step, 60.0 - 12.0 * step)]), variables)
    assert (state.kind != EMPTY).sum() == 1
    slot = int((state.kind[0] != EMPTY).nonzero()[0, 0])
    assert state.place[0, slot, :2] == pytest.approx([160.0, -36.0], abs=12)
    assert state.moved[0, slot, 0, :2] == pytest.approx([-30.0, -12.0], abs=5)
    for _ in range(4):
        state = tracker.advance(state, action, seen([]), variables)
    assert (state.kind == EMPTY).all()


def test_an_eye_learns_from_pictures_of_any_scenario() -> None:
    eye = Eye(len(CONFIG.kinds), len(SCENARIOS), widths=(8, 8, 8))
    frames = torch.randint(0, 255, (2, 120, 160, 3), dtype=torch.uint8)
    looked = eye(frames, torch.tensor([0, 9]))
    assert looked.heat.shape == (2, ROWS, COLUMNS)
    assert looked.walls.shape == (2, WALLS)


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of frames with their things beside them."""
    out = tmp_path_factory.mktemp("framed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "STEPS_PER_SHARD", 60)
        collect.collect(
            CollectConfig(out=out, scenarios=(WORLD,), steps=60, mix={"random": 1.0}, workers=1, things=True)
        )
    return out


def test_what_the_eye_is_to_see_stands_in_its_box(framed: Path) -> None:
    frames = Dataset(framed, (WORLD,), "train")
    data = ThingsData(map(read_shard, frames.files), Kinds(), [WORLD], [True])
    sampler = eye_stage.LookSampler(frames, data, len(data.kinds.names), EyeConfig(batch=8))
    rows = np.arange(len(frames))
    targets = sampler.targets(rows)
    row, rank = torch.nonzero((targets.kind > 0) & (targets.place[..., 0] > 60), as_tuple=True)
    assert len(row) > len(rows)
    place, box = targets.place[row, rank], targets.box[row, rank]
    axis = 79.5 - FOCAL * place[:, 1] / place[:, 0]
    whole = (box[:, 0] > 0) & (box[:, 0] + box[:, 2] < 160)
    assert ((axis - (box[:, 0] + box[:, 2] / 2)).abs() < 4 + box[:, 2] / 2)[whole].all()
    picture, other = mirrored_frames(torch.from_numpy(frames.frames(rows)), targets)
    assert torch.equal(mirrored_frames(picture, other)[1].box, targets.box)


def test_the_eye_is_trained_after_the_dynamics_and_names_their_kinds(
    framed: Path, folder: Path, tmp_path: Path
) -> None:
    config = EyeConfig(data=framed, out=tmp_path, scenarios=(WORLD,), steps=2, batch=4, threads=1)
    with pytest.raises(FileNotFoundError, match="python -m training things"):
        eye_stage.train(config)
    stage.train(
        ThingsTrainingConfig(data=folder, out=tmp_path, scenarios=(WORLD,), steps=1, batch=8, width=32, depth=1)
    )
    eye_stage.train(config)
    kinds = scores.load_dynamics(tmp_path / "things.safetensors").config.kinds
    module = Averaged(Eye(len(kinds), 1), config.ema_decay)
    step, about = load_checkpoint(tmp_path / "eye.safetensors", module)
    assert step == 2
    assert tuple(about["kinds"]) == kinds


# ---- runs ------------------------------------------------------------------------------------------------------------
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.fit.CHECKPOINT_EVERY", 2)
    settings = {"data": folder, "scenarios": (WORLD,), "batch": 16, "width": 32, "depth": 1, "steps": 4, "threads": 1}
    whole = ThingsTrainingConfig(out=tmp_path / "whole", **settings)
    stage.train(whole)
    cut = ThingsTrainingConfig(out=tmp_path / "cut", **settings)
    with monkeypatch.context() as patch:
        losses = iter([stage.step_loss] * 2)
        patch.setattr(stage, "step_loss", lambda *arguments: next(losses)(*arguments))
        with pytest.raises(StopIteration):
            stage.train(cut)
    stage.train(cut)
    modules = []
    for config in (whole, cut):
        data = things_data(folder)
        module = Averaged(ThingsDynamics(stage.things_config(data, config)), config.ema_decay)
        load_checkpoint(config.out / "things.safetensors", module)
        modules.append(module.state_dict())
    different = [name for name, value in modules[0].items() if not torch.equal(value, modules[1][name])]
    assert not different


def test_missing_and_damaged_shards_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="collect .*--things --no-frames makes them"):
        shards_of(tmp_path, [WORLD], "train")
    path = tmp_path / "things-train-00000.parquet"
    path.write_bytes(shards_of(folder, [WORLD], "train")[0].read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"things-train-00000\.parquet is damaged"):
        read_shard(path)


# ---- agents ----------------------------------------------------------------------------------------------------------
def test_a_running_game_is_told_as_its_shard_would_be(folder: Path, learned: tuple[ThingsDynamics, ThingsData]) -> None:
    model, data = learned
    rows = np.arange(12)
    game = Game(get_scenario(WORLD), privileged=True)
    try:
        collect.settle(game, 0)
        game.reset(int(data.columns["episode"][0]))
        told = things_agents.ToldThings(game, model)
        states = [told.begin()]
        for row in rows[:-1]:
            now, _ = told.step(data.columns["action"][row])
            assert now is not None
            states.append(now)
    finally:
        game.close()
    recorded = data.state(rows)
    for field in dataclasses.fields(Things):
        both = torch.cat([getattr(state, field.name) for state in states]), getattr(recorded, field.name)
        assert torch.allclose(both[0].float(), both[1].float(), atol=1e-3), field.name


def test_agents_learn_in_dreams_and_play_the_game(
    folder: Path, framed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"out": tmp_path, "scenarios": (WORLD,), "threads": 1}
    stage.train(ThingsTrainingConfig(data=folder, steps=2, batch=8, width=32, depth=1, **settings))
    eye_stage.train(EyeConfig(data=framed, steps=1, batch=4, **settings))
    monkeypatch.setattr(things_agents, "ROLLOUT", 4)
    for eye in (None, tmp_path / "eye.safetensors"):
        config = ThingsAgentsConfig(
            weights=tmp_path / "things.safetensors", eye=eye, data=folder, steps=256, episodes=1
        )
        things_agents.run(config)
        assert "take_cover, seed 0: return" in capsys.readouterr().out


# ---- scores ----------------------------------------------------------------------------------------------------------
def test_a_dream_that_loses_its_fireballs_scores_worse(
    folder: Path, learned: tuple[ThingsDynamics, ThingsData], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = learned
    data = ThingsData(
        map(read_shard, shards_of(folder, [WORLD], "train")),
        Kinds(list(model.config.kinds), list(model.config.groups)),
        [WORLD],
        [True],
    )
    monkeypatch.setattr(scores, "HORIZONS", (1, 4))
    sizes = scores.sizes_of_kinds(data, status_bar=False)
    keeps = scores.found_scores(model, data, sizes, WORLD, 40)
    step = ThingsDynamics.step

    def forgets(self: ThingsDynamics, *arguments: Any, **options: Any) -> tuple[Things, Tensor, Tensor]:
        after, reward, ended = step(self, *arguments, **options)
        projectile = self.groups[after.kind] == 0
        return dataclasses.replace(after, kind=after.kind.masked_fill(projectile, EMPTY)), reward, ended

    monkeypatch.setattr(ThingsDynamics, "step", forgets)
    loses = scores.found_scores(model, data, sizes, WORLD, 40)
    assert keeps["projectile_found_1"] > 0.5 > loses["projectile_found_1"]
    assert keeps["monster_found_1"] > 0.9


def test_outcomes_are_counted_up_to_the_real_end(folder: Path, learned: tuple[ThingsDynamics, ThingsData]) -> None:
    model, data = learned
    one = scores.outcome_scores(model, data, 60)
    assert one["reward_game"] == pytest.approx(4.0, abs=0.1)
    assert one["ends_game"] > 0
    assert "| take_cover |" in scores.table({WORLD: one | {"projectile_found_1": 0.5, "projectile_cells_1": 1.0}})
