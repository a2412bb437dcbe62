"""Promises of the policy ranking: violations are those of their definition, every kind of policy plays twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_action_policy import make_policy

from doom_dream_env.agents import Agent
from doom_dream_env.evaluation import EpisodeStatistics
from doom_dream_env.world_model import WorldModel
from training.config import RankingConfig
from training.evaluation import ranking
from training.metrics import mmrv


def test_violations_are_weighed_by_what_they_cost() -> None:
    real = [0.0, 10.0, 20.0, 100.0]
    assert mmrv([1, 2, 3, 4], real) == 0
    # The dream swaps the two in the middle: each of them is wrong by 10 of a range of 100, the others by nothing.
    assert mmrv([1, 3, 2, 4], real) == pytest.approx((0.1 + 0.1) / 4)
    assert mmrv([4, 3, 2, 1], real) == pytest.approx((1.0 + 0.9 + 0.8 + 1.0) / 4)


def test_gaps_are_those_of_alternations_of_equal_steps() -> None:
    def both(dream: float, real: float) -> dict[str, EpisodeStatistics]:
        return {
            kind: EpisodeStatistics(np.full(2, value), np.ones(2, int))
            for kind, value in (("dream", dream), ("real", real))
        }

    scores = {"blind 3, 3": both(15, 10), "blind 12, 12": both(9, 10), "blind 6, 2": both(99, 1), "random": both(99, 1)}
    found = ranking.alternation_gaps(scores, ((3, 3), (12, 12), (6, 2)))
    assert found == {3: pytest.approx(0.5), 12: pytest.approx(0.1)}


def test_all_kinds_are_ranked(
    model: WorldModel, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_policy(model).save(tmp_path / "clone")
    ranking.run(
        RankingConfig(
            weights=str(weights),
            episodes=3,
            out=tmp_path,
            holds=(3,),
            alternations=((3, 3), (6, 2)),
            clone=tmp_path / "clone",
            agent_steps=(2048,),
            random_networks=2,
            minds=("noop",),
        )
    )
    about = json.loads((tmp_path / "ranking.json").read_text())
    kinds = {row["kind"] for row in about["policies"].values()}
    assert kinds == {"random", "blind", "clone of the teacher", "PPO in the dream", "random network", "by name"}
    assert all(row["real"] >= 4 and row["dream"] >= 0 for row in about["policies"].values())
    assert list(about["alternation_gaps"]) == ["3"]
    assert -1 <= about["spearman"] <= 1 and "MMRV" in capsys.readouterr().out
    assert Image.open(tmp_path / "ranking.png").width > 300
    assert Agent.load(tmp_path / "ppo-2048").card.hyper_parameters["steps"] == 2048


def test_what_cannot_be_ranked_is_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="ranking needs a scenario with an action table"):
        ranking.run(RankingConfig(scenario="freedoom", weights=str(weights)))
