"""Promises of the scorecard: its statistics are right on samples whose answer is known, and the command writes what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_frames
from PIL import Image
from toy_world import square_at

from doom_dream_env.scenarios import BUTTONS, VARIABLES, get_scenario
from doom_dream_env.shards import ShardWriter, compress_frame
from doom_dream_env.world_model import WorldModel
from training import evaluate, measure, perceptual, probes, survival
from training.dataset import Dataset

WORLDS = ("take_cover", "health_gathering")
EPISODES, LENGTH = 5, 46


def write_data(root: Path, split: str, seed: int, length: int = LENGTH) -> None:
    """One shard per world: a bright square that wanders, which is where the player is; −10 health each third step, +1 a step."""
    rng = np.random.default_rng(seed)
    for name in WORLDS:
        table, shard = get_scenario(name).action_table(), ShardWriter()
        for episode in range(EPISODES):
            health = 100.0
            for t in range(length):
                x, before = int(rng.integers(0, 130)), health
                health -= 10.0 * (t % 3 == 2)
                frame, square = square_at(x)
                values = np.zeros((2, len(VARIABLES)), np.float32)
                values[:, 0] = before, health
                shard.add(
                    [square], frame=compress_frame(frame), action=table[rng.integers(len(table))], reward=np.float32(1 + (t % 3 == 2)),
                    terminated=t == length - 1, truncated=False, variables=values[0], next_variables=values[1],
                    pose=np.array([7.0, 5.0 * x, 0.0, 0.0], np.float32), episode=1000 * seed + episode, behaviour="random",
                )  # fmt: skip
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    write_data(root, "val", 1)
    write_data(root, "test", 2)
    return root


@pytest.fixture(scope="module")
def held_out(recorded: Path, model: WorldModel) -> Dataset:
    return measure.load_split(model, recorded, WORLDS, "test", None)


# ---- statistics ----------------------------------------------------------------------------------------------------------


def test_ks_statistic_of_known_samples() -> None:
    assert survival.ks_statistic([1, 2, 3], [1, 2, 3]) == 0
    assert survival.ks_statistic([1, 2], [3, 4, 5]) == 1
    assert survival.ks_statistic([1, 2, 3, 4], [3, 4, 5, 6]) == pytest.approx(0.5)
    assert survival.ks_statistic([5, 5, 5, 9], [5, 9]) == pytest.approx(0.25)  # ties
    rng = np.random.default_rng(0)
    assert survival.ks_statistic(rng.uniform(size=20_000), rng.uniform(size=20_000) ** 2) == pytest.approx(0.25, abs=0.02)  # max √x − x


def test_a_calibrated_risk_has_ratios_near_one_in_every_tenth() -> None:
    rng = np.random.default_rng(0)
    risk = 0.2 * rng.random(200_000) ** 8
    ended = rng.random(len(risk)) < risk
    predicted, observed = measure.risk_calibration(risk, ended)
    assert len(predicted) == 10 and predicted.sum() == pytest.approx(risk.sum()) and observed.sum() == ended.sum()
    np.testing.assert_allclose(predicted, risk.sum() / 10, rtol=0.01)
    np.testing.assert_allclose(predicted / observed, 1, atol=0.15)
    doubled, same = measure.risk_calibration(2 * risk, ended)
    np.testing.assert_allclose(doubled / same, 2, atol=0.3)


def test_one_certain_step_can_hold_several_tenths() -> None:
    risk, ended = np.array([0.0, 1.0, 1.0, 0.0]), np.array([False, True, True, False])
    predicted, observed = measure.risk_calibration(risk, ended)
    assert predicted.tolist() == observed.tolist() and observed.sum() == 2
    assert measure.risk_calibration(np.zeros(5), np.zeros(5, bool))[0].tolist() == [0]


def test_only_targets_that_vary_are_probed(held_out: Dataset) -> None:
    rows = np.flatnonzero(held_out.scenario == 0)
    chosen = {name for name, values in measure.probe_targets(held_out, rows).items() if measure.varies(name, values)}
    assert chosen == {"position_y_r2", "crosshair_auc"}  # x, angle stand still; no projectile, no item
    labels = np.zeros((10_000, 1))
    labels[:99] = 1
    assert not measure.varies("item_ahead_auc", labels) and measure.varies("item_ahead_auc", labels[:2000])
    assert not measure.varies("item_ahead_auc", labels[:99]) and not measure.varies("item_ahead_auc", labels[70:120])
    offset = np.full((1000, 1), np.nan)
    offset[:29] = np.linspace(-1, 1, 29)[:, None]
    assert not measure.varies("projectile_offset_r2", offset)
    offset[:40] = np.linspace(-1, 1, 40)[:, None]
    assert measure.varies("projectile_offset_r2", offset) and not measure.varies("projectile_offset_r2", 0.01 * offset)


def test_probes_find_what_is_linear_and_nothing_in_noise() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1200, 40), torch.randn(40, 2)
    y = 3 + x @ weight + 0.1 * torch.randn(1200, 2)
    assert probes.r2(probes.fit_ridge(x[:800], y[:800])(x[800:]), y[800:].double()) > 0.99
    noise = torch.randn(1200, 1)
    assert probes.r2(probes.fit_ridge(x[:60], noise[:60])(x[800:]), noise[800:].double()) > -0.5, "few rows ask for a strong ridge"
    label = (y[:, :1] > 3).double()
    assert probes.auc(probes.fit_logistic(x[:800], label[:800])(x[800:])[:, 0], label[800:, 0]) > 0.97


# ---- open loop -----------------------------------------------------------------------------------------------------------


def test_open_loop_rows_have_context_and_future(held_out: Dataset) -> None:
    rows = measure.open_loop_rows(held_out, 0, 16, 10_000, np.random.default_rng(0))
    assert len(rows) == EPISODES * (LENGTH - measure.CONTEXT - 16) == len(set(rows))
    assert (rows - measure.CONTEXT >= held_out.first[rows]).all() and (rows + 16 <= held_out.last[rows]).all()


def test_worlds_of_short_episodes_get_the_horizons_they_have(model: WorldModel, tmp_path: Path) -> None:
    write_data(tmp_path, "test", 3, length=18)
    data, rng = measure.load_split(model, tmp_path, WORLDS, "test", None), np.random.default_rng(0)
    z = torch.randn(len(data), model.config.state_width)
    assert set(measure.skill_scores(model, data, z, 0, rng)) == {f"skill_{h}{s}" for h in (1, 4) for s in ("", "_shuffled")}
    write_data(tmp_path, "test", 3, length=10)
    data = measure.load_split(model, tmp_path, WORLDS, "test", None)
    z = z[: len(data)]
    assert measure.skill_scores(model, data, z, 0, rng) == {} == measure.outcome_scores(model, data, z, 0, rng)
    assert "psnr" in measure.picture_scores(model, data, z, 0, None, rng)[0]


def test_a_dream_that_knows_the_future_has_skill_one(model: WorldModel, held_out: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(len(held_out), model.config.state_width)

    def oracle(_: Any, data: Any, states: torch.Tensor, rows: np.ndarray, ahead: int, order: Any = None) -> Any:
        for step in range(1, ahead + 1):
            later = rows + step if order is None else rows[order] + step
            yield step, SimpleNamespace(z=states[later]), None

    monkeypatch.setattr(measure, "open_loop", oracle)
    scores = measure.skill_scores(model, held_out, z, 0, np.random.default_rng(0))
    for step in measure.HORIZONS:
        assert scores[f"skill_{step}"] == 1 and abs(scores[f"skill_{step}_shuffled"]) < 0.2  # noise is as far from noise as ever


def test_every_map_has_its_own_coordinates() -> None:
    """Two maps that lie 5000 units apart and mirror each other: one probe for both would read neither."""
    rng = np.random.default_rng(0)
    places = np.repeat(["freedoom:MAP01", "freedoom:MAP02"], 400)
    x = torch.from_numpy(rng.normal(size=(800, 6))).float()
    sign, origin = np.where(places == "freedoom:MAP01", 1, -1)[:, None], np.where(places == "freedoom:MAP01", 0, 5000)[:, None]
    targets = {"position_x_r2": origin + 200 * sign * x[:, :1].numpy(), "position_y_r2": rng.normal(0, 200, (800, 1))}
    fitted = measure.fit_probes(x[::2], {name: values[::2] for name, values in targets.items()}, places[::2])
    scores = measure.score_probes(fitted, x[1::2], {name: values[1::2] for name, values in targets.items()}, places[1::2])
    assert scores["position_x_r2"] > 0.99 and scores["position_y_r2"] < 0.2
    alone = measure.score_probes(fitted, x[1:400:2], {name: values[1:400:2] for name, values in targets.items()}, places[1:400:2])
    assert alone["position_x_r2"] > 0.99


def test_worlds_are_counted_as_the_weights_count_them(model: WorldModel, recorded: Path) -> None:
    data = measure.load_split(model, recorded, WORLDS[::-1], "test", None)
    for name, index in zip(WORLDS[::-1], (data.scenario[0], data.scenario[-1]), strict=True):
        assert model.config.scenarios[index] == name


def test_the_perceptual_distance_says_its_trunk_and_is_left_out_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was ever downloaded
    name, distance = perceptual.perceptual_distance() or ("", None)
    assert "stlpips" in name and distance is not None
    real = torch.from_numpy(random_frames(2)).float().div(4).add(96).byte()
    near, far = (real.float() + 2).byte(), real.flip(2)
    assert distance(real, real) == pytest.approx(0, abs=1e-6) and 0 < distance(real, near) < distance(real, far)
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    assert perceptual.perceptual_distance() is None and "left out" in capsys.readouterr().out


# ---- policies ------------------------------------------------------------------------------------------------------------


def test_blind_plans_press_the_scenarios_buttons() -> None:
    dice, steps = np.random.default_rng(0), np.arange(400)
    plans = survival.blind_plans(get_scenario("take_cover"))
    table = get_scenario("take_cover").action_table()
    assert list(plans) == ["noop", "random", "blind"] and not plans["noop"](steps, dice).any()
    drawn = plans["random"](steps, dice)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in table}
    np.testing.assert_array_equal(plans["blind"](np.array([0, 24, 25, 49, 50]), dice), table[[2, 2, 1, 1, 2]])


def test_worlds_without_an_action_table_are_walked_forward() -> None:
    free = SimpleNamespace(name="free", discrete=False, action_table=get_scenario("take_cover").action_table)
    plans, dice = survival.blind_plans(free), np.random.default_rng(0)  # type: ignore[arg-type]
    assert plans["random"](np.arange(50), dice).shape == (50, len(BUTTONS)) and plans["random"](np.arange(50), dice).any(0).all()
    forward = plans["blind"](np.arange(3), dice)
    assert forward[:, BUTTONS.index("MOVE_FORWARD")].all() and forward.sum() == 3


def test_real_episodes_are_those_of_the_seeds() -> None:
    scenario = get_scenario("take_cover")
    plan = {"noop": survival.blind_plans(scenario)["noop"]}
    first, again = (survival.play_real(scenario, plan, 3)["noop"] for _ in range(2))
    assert first.lengths.tolist() == again.lengths.tolist() and first.returns.tolist() == again.returns.tolist()
    assert (first.lengths > 10).all() and (first.returns <= 4 * first.lengths).all() and (first.returns > 3 * first.lengths).all()


def test_a_long_dream_reports_its_worst_drift(model: WorldModel) -> None:
    scores = survival.long_dream(model, WORLDS, lanes=4, total=40)
    for name in WORLDS:
        assert scores[name]["long_steps"] == 10 and scores[name]["long_finite"] is True
        assert -1 <= scores[name]["drift_long_mean"] <= scores[name]["drift_long_max"]


# ---- the command -----------------------------------------------------------------------------------------------------------


def test_the_command_writes_scorecard_card_and_pictures(
    weights: Path, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(survival, "LONG_STEPS", 60)
    monkeypatch.setattr(survival, "SPEED_SECONDS", 0.02)
    monkeypatch.setattr(measure, "PICTURES", 8)
    monkeypatch.setattr(evaluate, "perceptual_distance", lambda: ("pixels", lambda a, b: float((a.float() - b.float()).abs().mean())))
    words = ["--weights", str(weights), "--data", str(recorded), "--scenarios", *WORLDS, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words, "--limit", "200", "--episodes", "2", "--lanes", "4"])
    evaluate.main()
    card = json.loads((tmp_path / "scorecard.json").read_text())
    assert list(card["worlds"]) == list(WORLDS) and card["perceptual_distance"] == "pixels" and card["stepping_differs_by"] < 1e-3
    keys = {key for _, rows in evaluate.groups(("HEALTH", "AMMO2")).items() for _, part in rows for key in part.split()}
    for name, scores in card["worlds"].items():
        lists = {"risk_predicted", "risk_observed", "risk_ratios"}
        assert set(scores) - lists <= keys, "the card leaves out a figure"
        for key in ("skill_16", "psnr_26_still", "lpips_8", "position_y_r2", "crosshair_auc_after_8", "health_accuracy_16", "reward_mae_1",
                    "death_recall", "risk_ratio_max", "noop_length_real", "blind_ks", "drift_long_max", "real_steps_per_s"):  # fmt: skip
            assert key in scores, (name, key)
        assert scores["deaths"] == EPISODES and scores["episodes"] == 2 and scores["health_change_16_true"] < -40
    text = (tmp_path / "README.md").read_text()
    assert "| | take_cover | health_gathering |" in text and "nan" not in text and "None" not in text
    for picture in ("survival", "calibration", "skill", *(f"decoded_{name}" for name in WORLDS)):
        path = tmp_path / f"{picture}.png"
        assert path.stat().st_size < 150_000 and Image.open(path).width > 200
        assert picture.startswith("decoded") or f"({path.name})" in text
    assert json.loads(capsys.readouterr().out) == card


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (True, "yes"), (12793.8, "12,800"), (102, "102"), (0.41723, "0.42"), (25.823, "25.8"), (-2e-5, "0")]
)
def test_numbers_in_the_card_are_short(value: Any, text: str) -> None:
    assert evaluate.short(value) == text
