"""Promises of survival figures: every fixed policy plays in dream and game, and an endless dream reports its worst."""

from __future__ import annotations

import pytest

from doom_dream_env.world_model import WorldModel
from training.evaluation.survival import long_dream, survival_scores

SCENARIOS = ("take_cover", "health_gathering")


def test_fixed_policies_play_as_many_episodes_in_dream_and_game(model: WorldModel) -> None:
    scores, played = survival_scores(model, "take_cover", 3)
    assert list(played) == ["noop", "random", "routine"] and scores["episodes"] == 3
    for policy, both in played.items():
        for kind in ("dream", "real"):
            assert len(both[kind].lengths) == 3
            assert scores[f"{policy}_length_{kind}"] == pytest.approx(both[kind].lengths.mean())
            assert scores[f"{policy}_return_{kind}"] == pytest.approx(both[kind].returns.mean())
        assert 0 <= scores[f"{policy}_ks"] <= 1
    ratio = played["noop"]["dream"].lengths.mean() / played["noop"]["real"].lengths.mean()
    assert scores["noop_length_ratio"] == pytest.approx(ratio)


def test_a_long_dream_reports_its_worst_drift(model: WorldModel) -> None:
    scores = long_dream(model, SCENARIOS, dreams=4, total=40)
    for name in SCENARIOS:
        assert scores[name]["long_steps"] == 10 and scores[name]["long_finite"] is True
        assert -1 <= scores[name]["drift_long_mean"] <= scores[name]["drift_long_max"]
