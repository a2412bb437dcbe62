"""Promises of the transfer report: every policy is scored on the real game, blind ones are chosen on other seeds, the gap is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scoring import Score
from doom_dream_env.world_model import WorldModel
from training import transfer
from training.survival import by_plan, play_games


@pytest.fixture
def stubborn(weights: Path, tmp_path: Path) -> Path:
    """An agent of take_cover that always presses action 1."""
    model = WorldModel.from_pretrained(weights)
    layer = torch.zeros(3, model.config.feature_width), torch.tensor([0.0, 50.0, 0.0])
    folder = tmp_path / "agent"
    Agent(AgentCard("take_cover", model.fingerprint, str(weights), "Tanh"), [layer]).save(folder)
    return folder


def test_the_report_scores_all_on_the_real_game(
    stubborn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"CANDIDATES": 13, "FIRST_LOOK": 2, "FINALISTS": 2, "SECOND_LOOK": 3}.items():
        monkeypatch.setattr(transfer, name, value)
    monkeypatch.setattr(sys, "argv", ["transfer", "--agents", str(stubborn), "--episodes", "5", "--out", str(tmp_path / "report")])
    transfer.main()
    about = json.loads((tmp_path / "report" / "take_cover" / "transfer.json").read_text())
    assert list(about["scores"]) == ["agent", "agent in the dream", "random", "best blind", "teacher"]
    scenario = get_scenario("take_cover")
    same = play_games(scenario, {"one": by_plan(lambda at, dice: scenario.action_table()[[1]])}, 5)["one"]
    assert about["scores"]["agent"]["mean"] == pytest.approx(same.mean), "the agent's games are not those of its actions and the seeds"
    assert about["scores"]["teacher"]["mean"] > about["scores"]["random"]["mean"]
    lead = about["scores"]["agent"]["mean"] - about["scores"]["best blind"]["mean"]
    assert about["agent_minus_blind"]["mean"] == pytest.approx(lead) and about["gap"] >= 0
    assert "World Models" in capsys.readouterr().out
    for picture in ("returns.png", "survival.png"):
        assert Image.open(tmp_path / "report" / "take_cover" / picture).width > 300


def test_finished_reports_are_read_and_worlds_are_put_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: WorldModel
) -> None:
    played: list[str] = []

    def report(policy: object, scenario: Scenario, model: WorldModel, episodes: int) -> tuple[dict[str, Score], str]:
        played.append(scenario.name)
        names = ("agent", "agent in the dream", "random", "best blind", "teacher")
        return {name: Score(np.arange(5.0) + 10 * i, np.arange(5)) for i, name in enumerate(names)}, "action 1"

    monkeypatch.setattr(transfer, "report", report)
    for name in ("take_cover", "basic"):
        layer = torch.zeros(3, model.config.feature_width), torch.zeros(3)
        Agent(AgentCard(name, model.fingerprint, model.source, "Tanh"), [layer]).save(tmp_path / name)
    agents = [str(tmp_path / name) for name in ("take_cover", "basic")]
    for episodes, worlds in (("5", ["take_cover", "basic"]), ("5", []), ("6", ["take_cover", "basic"])):
        played.clear()
        monkeypatch.setattr(sys, "argv", ["transfer", "--agents", *agents, "--episodes", episodes, "--out", str(tmp_path / "out")])
        transfer.main()
        assert played == worlds
    assert "| basic | 2.00 ± 1.39 | 22.00" in (tmp_path / "out" / "transfer.md").read_text()
    assert Image.open(tmp_path / "out" / "transfer.png").width > 300


def test_the_best_blind_policy_is_chosen_by_score_on_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: set[int] = set()

    def judged(scenario: object, players: dict[str, object], episodes: int, first_seed: int) -> dict[str, Score]:
        seeds.add(first_seed)
        wins = {name: float("action 1 for 15, action 2 for 15" == name) for name in players}
        return {name: Score(np.full(episodes, wins[name]), np.ones(episodes, int)) for name in players}

    monkeypatch.setattr(transfer, "play_games", judged)
    scenario = get_scenario("take_cover")
    name, plan = transfer.best_blind(scenario)
    assert name == "action 1 for 15, action 2 for 15" and seeds == {transfer.SEARCH_SEED}
    pressed = plan(np.array([0, 14, 15, 29, 30]), np.random.default_rng(0))
    np.testing.assert_array_equal(pressed, scenario.action_table()[[1, 1, 2, 2, 1]])


def test_what_cannot_be_reported_is_refused(stubborn: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was trained for take_cover, not for basic"):
        transfer.load_policy(str(stubborn), "basic", None)
    with pytest.raises(FileNotFoundError, match="no agent's folder and no"):
        transfer.load_policy(str(tmp_path / "nothing"), None, None)
    (tmp_path / "ppo.zip").write_bytes(b"")
    with pytest.raises(ValueError, match="give --scenario"):
        transfer.load_policy(str(tmp_path / "ppo.zip"), None, None)
