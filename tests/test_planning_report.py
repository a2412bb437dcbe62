"""Promises of the planners' report: finished games are not played again, and time is counted for decisions alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.envs import DreamBatch
from doom_dream_env.policies import NoopPolicy
from doom_dream_env.world_model import WorldModel
from training.config import PlanningConfig
from training.evaluation import planning

QUICK: dict[str, Any] = {"horizon": 2, "dreams": 1, "rounds": 1}


def test_a_report_is_finished_where_it_was_killed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real games; they last 19 steps each, for predict_position is over soon after its only rocket."""
    seeds: list[int] = []
    evaluate = planning.evaluate_policy

    def counted(batch: Any, policy: Any, episodes: int, first_seed: int, label: str) -> Any:
        seeds.extend(range(first_seed, first_seed + episodes))
        return evaluate(batch, policy, episodes, first_seed, label)

    monkeypatch.setattr(planning, "evaluate_policy", counted)

    def report(episodes: int) -> dict[str, Any]:
        config = PlanningConfig(
            weights=str(weights),
            scenarios=("predict_position",),
            minds=("noop", "agent", "planner"),
            episodes=episodes,
            first_seed=90_000,
            games=2,
            out=tmp_path,
            settings=QUICK,
        )
        return planning.run(config)["predict_position"]

    first = report(2)
    assert list(first) == ["noop", "planner"], "no agent ships for these weights"
    again = report(3)
    assert sorted(seeds) == sorted(2 * [90_000, 90_001, 90_002])
    assert again["planner"]["episodes"] == 3 and again["planner"]["rounds"] == 1
    assert again["planner"]["milliseconds"] > again["noop"]["milliseconds"]
    assert json.loads((tmp_path / "planning.json").read_text())["predict_position"] == again
    assert "| predict_position | planner |" in (tmp_path / "planning.md").read_text()


def test_free_play_counts_kills_and_squares_on_every_map(weights: Path, tmp_path: Path) -> None:
    def report(scenario: str, *maps: str) -> dict[str, Any]:
        return planning.run(
            PlanningConfig(
                weights=str(weights),
                scenarios=(scenario,),
                maps=maps,
                minds=("noop", "random"),
                episodes=2,
                games=2,
                out=tmp_path,
            )
        )

    # On both of these a player who does nothing is dead within seconds.
    found = report("freedoom", "E1M5", "MAP11")
    assert list(found) == ["freedoom E1M5", "freedoom MAP11"]
    for minds in found.values():
        assert minds["noop"]["squares"] == 1 < minds["random"]["squares"] and minds["noop"]["kills"] == 0
    assert report("freedoom", "E1M5", "MAP11") == found, "finished games are not played again"
    assert "squares walked over" in (tmp_path / "planning.md").read_text()
    with pytest.raises(ValueError, match="maps are for free play"):
        report("take_cover", "MAP07")


def test_time_is_counted_for_what_has_not_ended(mortal: WorldModel) -> None:
    batch = DreamBatch(3, weights=mortal)
    batch.reset(seed=0)
    timed = planning.TimedPolicy(NoopPolicy())
    batch.step(timed(batch))
    timed(batch)
    assert timed.decisions == 3 and timed.seconds > 0


def test_rounds_fill_the_time_that_there_is(immortal: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))  # each decision of both games takes a second
    monkeypatch.setattr(planning.time, "process_time", lambda: next(clock))
    planner = planning.make_planner(immortal, "take_cover", **QUICK)
    assert planning.rounds_within(planner, 1600, games=2) == 3
    assert planning.rounds_within(planner, 1, games=2) == 1, "one round is always finished"
    assert torch.is_tensor(planner.newest.choices)
