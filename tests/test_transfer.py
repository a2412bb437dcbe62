"""Promises of the reports on agents: all are scored on the real game, alike, beside who sees nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, make_agent
from PIL import Image
from stable_baselines3 import PPO
from test_action_policy import make_policy

from doom_dream_env.agents import Agent, AgentCard, quality
from doom_dream_env.agents.agent import make_network
from doom_dream_env.agents.planning import Planner
from doom_dream_env.envs import DreamBatch, DreamDoomVecEnv, RealBatch
from doom_dream_env.evaluation import EpisodeStatistics
from doom_dream_env.policies import AlternatingPolicy, Policy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.seeds import BLIND_SEARCH
from doom_dream_env.world_model import WorldModel
from training.config import RankingConfig, TransferConfig
from training.evaluation import blind_search, efficiency, ranking, transfer
from training.metrics import mmrv


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short search for the best blind policy."""
    monkeypatch.setattr(blind_search, "CANDIDATES", 13)
    monkeypatch.setattr(blind_search, "ROUNDS", ((2, 2), (3, 1)))


@pytest.fixture
def stubborn(weights: Path, tmp_path: Path) -> Path:
    """An agent of take_cover that always presses action 1."""
    make_agent(WorldModel.from_pretrained(weights), widths=(), bias=[0.0, 50.0, 0.0]).save(tmp_path / "agent")
    return tmp_path / "agent"


def test_the_report_scores_all_on_the_real_game(
    stubborn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    transfer.run(TransferConfig(agents=(str(stubborn),), episodes=5, first_seed=90_000, out=out))
    about = json.loads((out / "take_cover" / "transfer.json").read_text())
    assert list(about["scores"]) == ["agent", "agent in the dream", "random", "best blind", "teacher"]
    scenario = get_scenario("take_cover")
    always = AlternatingPolicy.of_indices(scenario, ((1, 1),))
    same = transfer.play_games(scenario, always, 5, 90_000, "always the same")
    assert about["scores"]["agent"]["mean"] == pytest.approx(same.mean), (
        "the agent's games are not those of its actions and the seeds"
    )
    assert about["scores"]["teacher"]["mean"] > about["scores"]["random"]["mean"]
    lead = about["scores"]["agent"]["mean"] - about["scores"]["best blind"]["mean"]
    assert about["agent_minus_blind"]["mean"] == pytest.approx(lead) and about["gap"] >= 0
    assert "World Models" in capsys.readouterr().out
    for picture in ("returns.png", "survival.png"):
        assert Image.open(out / "take_cover" / picture).width > 300


def test_finished_reports_are_read_and_scenarios_are_put_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: WorldModel
) -> None:
    played: list[str] = []

    def score_agent(
        policy: Policy, scenario: Scenario, model: WorldModel, config: TransferConfig
    ) -> tuple[dict[str, EpisodeStatistics], str]:
        played.append(scenario.name)
        names = ("agent", "agent in the dream", "random", "best blind", "teacher")
        return {
            name: EpisodeStatistics(np.arange(5.0) + 10 * i, np.arange(5)) for i, name in enumerate(names)
        }, "action 1"

    monkeypatch.setattr(transfer, "score_agent", score_agent)
    scenarios = ("take_cover", "basic")
    agents = tuple(str(tmp_path / name) for name in scenarios)
    for name, folder in zip(scenarios, agents, strict=True):
        make_agent(model, name).save(Path(folder))
    for episodes, seed, expected in ((5, 1, scenarios), (5, 1, ()), (5, 2, scenarios), (6, 2, scenarios)):
        played.clear()
        transfer.run(TransferConfig(agents=agents, episodes=episodes, first_seed=seed, out=tmp_path / "out"))
        assert played == list(expected)
    assert "| basic | 2.00 ± 1.39 | 22.00" in (tmp_path / "out" / "transfer.md").read_text()
    assert Image.open(tmp_path / "out" / "transfer.png").width > 300


def test_the_best_blind_policy_is_chosen_by_score_on_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: set[int] = set()
    scenario = get_scenario("take_cover")

    def scored(
        games: object, policy: AlternatingPolicy, episodes: int, first_seed: int, label: str
    ) -> EpisodeStatistics:
        seeds.add(first_seed)
        wins = blind_search.description(scenario, policy) == "action 1 for 15, action 2 for 15"
        return EpisodeStatistics(np.full(episodes, float(wins)), np.ones(episodes, int))

    monkeypatch.setattr(blind_search, "evaluate_policy", scored)
    name, policy = blind_search.best_blind(scenario)
    assert name == "action 1 for 15, action 2 for 15" and seeds == {BLIND_SEARCH}
    pressed = policy.buttons_at(np.array([0, 14, 15, 29, 30]))
    np.testing.assert_array_equal(pressed, scenario.action_table()[[1, 1, 2, 2, 1]])


def test_what_cannot_be_reported_is_refused(stubborn: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was trained for take_cover, not for basic"):
        transfer.load_policy(str(stubborn), "basic", None)
    with pytest.raises(ValueError, match="planner does not say which scenario it plays: give --scenario"):
        transfer.load_policy("planner", None, None)
    with pytest.raises(FileNotFoundError, match="no agent's folder and no"):
        transfer.load_policy(str(tmp_path / "nothing"), None, None)
    (tmp_path / "ppo.zip").write_bytes(b"")
    with pytest.raises(ValueError, match="give --scenario"):
        transfer.load_policy(str(tmp_path / "ppo.zip"), None, None)


def test_a_planner_is_reported_beside_the_agent(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, scenario, model = transfer.load_policy("planner", "basic", str(weights))
    assert isinstance(policy, Planner) and scenario.name == "basic" and policy.model is model
    score = EpisodeStatistics(np.arange(2.0), np.arange(2))
    monkeypatch.setattr(transfer, "score_agent", lambda *more: ({"agent": score, "best blind": score}, "action 1"))
    config = TransferConfig(scenario="basic", weights=str(weights), episodes=2, out=tmp_path)
    assert transfer.report_agent("planner:cem", config)["agent"] == "planner:cem"
    assert (tmp_path / "basic-planner-cem" / "transfer.md").is_file()


def test_an_archive_that_can_run_code_is_loaded_only_if_it_is_trusted(tmp_path: Path, weights: Path) -> None:
    archive = tmp_path / "ppo.zip"
    dream = DreamDoomVecEnv(2, "take_cover", weights=str(weights))
    PPO("MlpPolicy", dream, n_steps=8, batch_size=8, device="cpu").save(archive)
    with pytest.raises(ValueError, match="can run any code.*--trust"):
        transfer.load_policy(str(archive), "take_cover", str(weights))
    policy, scenario, _ = transfer.load_policy(str(archive), "take_cover", str(weights), trust=True)
    dream.batch.reset(seed=0)
    assert scenario.name == "take_cover" and policy(dream.batch).shape == (2,)
    archive.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(ValueError, match="could not be read as a PPO"):
        transfer.load_policy(str(archive), "take_cover", str(weights), trust=True)


def test_nothing_but_a_trusted_archive_is_unpickled() -> None:
    words = ("pickle.load", "torch.load(", "PPO.load", "np.load(", "allow_pickle", "joblib")
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("doom_dream_env", "training")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    handed_to_a_child = "doom_dream_env/game/rehearsal.py"  # through a pipe, by the process that started it
    assert readers - {handed_to_a_child} == {"training/evaluation/transfer.py"}


def test_the_scores_that_ship_have_the_form_that_transfer_writes() -> None:
    score = {"mean": 1.0, "margin_95": 0.25, "sd": 1.0, "episodes": 5}
    names = ("agent", "agent in the dream", "random", "best blind", "teacher")
    reports = [{"scenario": "basic", "weights": "f", "scores": dict.fromkeys(names, score)}]
    written = json.loads(json.dumps(transfer.shipped_scores(reports)))
    assert written == {
        "fingerprint": "f",
        "worlds": {"basic": dict.fromkeys(("random", "blind", "agent", "dream"), [1.0, 0.25])},
    }
    shipped = json.loads(quality.SHIPPED.read_text())
    assert shipped.keys() == written.keys()
    assert all(values.keys() == written["worlds"]["basic"].keys() for values in shipped["worlds"].values())


def test_violations_are_weighed_by_what_they_cost() -> None:
    real = [0.0, 10.0, 20.0, 100.0]
    assert mmrv([1, 2, 3, 4], real) == 0
    # The dream swaps the two in the middle: each of them is wrong by 10 of a range of 100, the others by nothing.
    assert mmrv([1, 3, 2, 4], real) == pytest.approx((0.1 + 0.1) / 4)
    assert mmrv([4, 3, 2, 1], real) == pytest.approx((1.0 + 0.9 + 0.8 + 1.0) / 4)


def test_all_kinds_are_ranked(
    model: WorldModel,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_policy(model).save(tmp_path / "clone")
    monkeypatch.setattr(ranking, "RANDOM_NETWORKS", 2)
    compare = ranking.compare_dream_and_game

    def fresh(*arguments: Any) -> Any:
        assert arguments[-1] == 90_000, "other games than were asked for"
        return compare(*arguments)

    monkeypatch.setattr(ranking, "compare_dream_and_game", fresh)
    monkeypatch.setattr(ranking, "ALTERNATIONS", ((3, 3), (6, 2)))
    monkeypatch.setattr(ranking, "AGENT_STEPS", (2048,))
    ranking.run(
        RankingConfig(
            weights=str(weights),
            episodes=3,
            first_seed=90_000,
            out=tmp_path,
            clone=tmp_path / "clone",
            minds=("noop",),
        )
    )
    about = json.loads((tmp_path / "ranking.json").read_text())
    assert about["first_seed"] == 90_000
    kinds = {row["kind"] for row in about["policies"].values()}
    assert kinds == {"random", "blind", "clone of the teacher", "PPO in the dream", "random network", "by name"}
    assert all(row["real"] >= 4 and row["dream"] >= 0 for row in about["policies"].values())
    assert list(about["alternation_gaps"]) == ["3"]
    assert -1 <= about["spearman"] <= 1 and "MMRV" in capsys.readouterr().out
    assert Image.open(tmp_path / "ranking.png").width > 300
    assert Agent.load(tmp_path / "ppo-2048").card.hyper_parameters["steps"] == 2048


def test_agents_of_dream_and_game_are_trained_alike_and_once(
    model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Any, ...]] = []

    def train(batch: Any, steps: int, *, seed: int) -> tuple[Agent, list[Any]]:
        trained.append((type(batch), batch.num_envs, steps, seed))
        network = make_network([batch.model.config.feature_width, len(batch.action_table)], "Tanh")
        return Agent(AgentCard("basic", batch.model.fingerprint, "", "Tanh"), network), []

    monkeypatch.setattr(efficiency, "train_ppo", train)
    monkeypatch.setattr(efficiency, "ENVS", 2)
    config = TransferConfig(efficiency_seeds=1, efficiency_steps=9, episodes=2)
    found = efficiency.dream_efficiency(model, "basic", config, -500.0, tmp_path)
    assert trained == [(DreamBatch, 2, 9, 0), (RealBatch, 2, 9, 0)]
    assert found["efficiency"] == pytest.approx((found["dream"] + 500) / (found["game"] + 500))
    assert efficiency.dream_efficiency(model, "basic", config, -500.0, tmp_path) == found and len(trained) == 2
    played: list[int] = []

    def evaluate(batch: Any, policy: Policy, episodes: int, first_seed: int) -> EpisodeStatistics:
        played.append(first_seed)
        return EpisodeStatistics(np.full(episodes, 5.0), np.ones(episodes, int))

    monkeypatch.setattr(efficiency, "evaluate_policy", evaluate)
    other = replace(config, first_seed=90_000)
    for _ in range(2):
        assert efficiency.dream_efficiency(model, "basic", other, -500.0, tmp_path)["game"] == 5.0
    assert played == [90_000] * 2 and len(trained) == 2, "the same agents play other games"
