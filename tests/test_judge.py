"""Promises of the judgement: ranks and violations are those of their definitions, every kind of policy plays in dream and game."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from doom_dream_env.agents import Agent
from doom_dream_env.envs import RealBatch
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.scoring import Score
from doom_dream_env.world_model import WorldModel
from training import judge


def test_violations_are_weighed_by_what_they_cost() -> None:
    real = [0.0, 10.0, 20.0, 100.0]
    assert judge.mmrv([1, 2, 3, 4], real) == 0
    # the dream swaps the two in the middle: each of them is wrong by 10 of a range of 100, the others by nothing
    assert judge.mmrv([1, 3, 2, 4], real) == pytest.approx((0.1 + 0.1) / 4)
    assert judge.mmrv([4, 3, 2, 1], real) == pytest.approx((1.0 + 0.9 + 0.8 + 1.0) / 4)


def test_ranks_share_ties() -> None:
    np.testing.assert_array_equal(judge.ranks([5.0, 1.0, 5.0, 9.0]), [1.5, 0.0, 1.5, 3.0])
    scores = {str(i): {w: Score(np.full(2, v), np.ones(2, int)) for w in ("dream", "real")} for i, v in enumerate((3.0, 1.0, 2.0))}
    about = judge.summary("take_cover", dict.fromkeys(scores, "kind"), scores)
    assert about["spearman"] == pytest.approx(1.0) and about["mmrv"] == 0.0


def test_held_actions_last_and_lanes_begin_anew() -> None:
    policy, steps = judge.holding(100, 5, seed=0), torch.arange(20).repeat(3, 1).T
    played = torch.stack([policy(torch.zeros(3, 1), row) for row in steps])
    assert all(len(played[i : i + 5, lane].unique()) == 1 for i in range(0, 20, 5) for lane in range(3))
    assert len(played.unique()) > 6


def test_noise_replaces_its_share_of_the_actions() -> None:
    mixed = judge.noisy(lambda features, steps: torch.zeros(len(steps), dtype=torch.long), 1000, 0.3, seed=0)
    actions = mixed(torch.zeros(5000, 1), torch.zeros(5000))
    assert 0.27 < float((actions != 0).float().mean()) < 0.33


def test_a_clone_presses_what_the_teacher_presses(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = get_scenario("take_cover")
    table = scenario.action_table()
    monkeypatch.setitem(judge.TEACHERS, "take_cover", lambda scenario, dice: lambda game: table[2])
    agent = judge.clone_teacher(model, scenario, 60, lanes=2, epochs=200)
    real = RealBatch(4, "take_cover", weights=model)
    features = real.reset(seed=1)
    real.close()
    assert agent.logits(features).softmax(-1)[:, 2].min() > 0.9


def test_all_kinds_are_judged(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"AGES": (2048,), "CLONE_STEPS": 80, "NETWORKS": 2, "SWEEPS": ((3, 3), (6, 2)), "HOLDS": (3,)}.items():
        monkeypatch.setattr(judge, name, value)
    monkeypatch.setattr(sys, "argv", ["judge", "--weights", str(weights), "--episodes", "3", "--out", str(tmp_path)])
    judge.main()
    about = json.loads((tmp_path / "judge.json").read_text())
    kinds = {row["kind"] for row in about["policies"].values()}
    assert kinds == {"random", "blind", "clone of the teacher", "PPO in the dream", "random network"}
    assert all(row["real"] >= 4 and row["dream"] >= 0 for row in about["policies"].values())
    assert -1 <= about["spearman"] <= 1 and "MMRV" in capsys.readouterr().out
    assert Image.open(tmp_path / "judge.png").width > 300
    assert Agent.load(tmp_path / "ppo-2048").card.hyper_parameters["steps"] == 2048
