"""Promises of metrics and measures: what they say of samples whose answer is known; left is told from right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from torch import Tensor, nn

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import get_scenario
from training.evaluation import controls, probes
from training.evaluation.terminations import risk_calibration
from training.metrics import auc, correlation, frechet, ks, r2, spearman


def test_auc_by_counting_pairs() -> None:
    scores = torch.tensor([0.1, 0.4, 0.4, 0.8])
    labels = torch.tensor([0, 0, 1, 1])
    assert auc(scores, labels) == pytest.approx(3.5 / 4)
    assert auc(-scores, labels) == pytest.approx(0.5 / 4)
    assert math.isnan(auc(scores, labels * 0))


def test_ks_of_known_samples() -> None:
    assert ks([1, 2, 3], [1, 2, 3]) == 0
    assert ks([1, 2], [3, 4, 5]) == 1
    assert ks([1, 2, 3, 4], [3, 4, 5, 6]) == pytest.approx(0.5)
    assert ks([5, 5, 5, 9], [5, 9]) == pytest.approx(0.25)  # ties
    rng = np.random.default_rng(0)
    one = rng.uniform(size=20_000)
    two = rng.uniform(size=20_000) ** 2
    assert ks(one, two) == pytest.approx(0.25, abs=0.02)  # max √x − x


def test_correlations_of_known_samples() -> None:
    x = np.arange(10.0)
    assert correlation(x, 3 - 2 * x) == pytest.approx(-1)
    assert math.isnan(correlation(x, np.ones(10)))
    assert spearman(x, np.exp(x)) == pytest.approx(1) and correlation(x, np.exp(x)) < 0.9
    assert spearman([5.0, 1.0, 5.0, 9.0], [1.5, 0.0, 1.5, 3.0]) == pytest.approx(1), "equal values share a rank"


def test_a_calibrated_risk_has_ratios_near_one_in_every_tenth() -> None:
    rng = np.random.default_rng(0)
    risk = 0.2 * rng.random(200_000) ** 8
    ended = rng.random(len(risk)) < risk
    predicted, observed = risk_calibration(risk, ended)
    assert len(predicted) == 10 and predicted.sum() == pytest.approx(risk.sum()) and observed.sum() == ended.sum()
    np.testing.assert_allclose(predicted, risk.sum() / 10, rtol=0.01)
    np.testing.assert_allclose(predicted / observed, 1, atol=0.15)
    doubled, same = risk_calibration(2 * risk, ended)
    np.testing.assert_allclose(doubled / same, 2, atol=0.3)


def test_probes_find_what_is_linear_and_nothing_in_noise() -> None:
    torch.manual_seed(0)
    x = torch.randn(1200, 40)
    weight = torch.randn(40, 2)
    y = 3 + x @ weight + 0.1 * torch.randn(1200, 2)
    assert r2(probes.fit_ridge(x[:800], y[:800])(x[800:]), y[800:].double()) > 0.99
    noise = torch.randn(1200, 1)
    read = probes.fit_ridge(x[:60], noise[:60])(x[800:])
    assert r2(read, noise[800:].double()) > -0.5, "few rows ask for a strong ridge"
    label = (y[:, :1] > 3).double()
    assert auc(probes.fit_logistic(x[:800], label[:800])(x[800:])[:, 0], label[800:, 0]) > 0.97


N = 4


def scene(shift: int, seed: int = 0) -> Tensor:
    """N pictures of a rough wall that moved to the right by `shift` pixels, uint8 (N, 120, 160, 3)."""
    wide = torch.from_numpy(random_frames(N, seed=seed))[:, :, :, :1].float()
    wide = nn.functional.avg_pool2d(wide.permute(0, 3, 1, 2), 5, 1, 2)[:, 0]
    return wide.roll(shift, -1)[..., None].expand(-1, -1, -1, 3).round().byte()


@pytest.mark.parametrize("shift", [-20, -3, 0, 1, 14])
def test_the_shift_of_a_picture_is_found(shift: int) -> None:
    """To half a pixel, and exactly if nothing moved; grain that stands still on the moving picture hides nothing."""
    found = controls.sideways(scene(0), scene(shift))
    torch.testing.assert_close(found, torch.full((N,), float(shift)), atol=0.5 if shift else 0.0, rtol=0)
    grain = torch.from_numpy(random_frames(1, seed=7)).float() / 4
    grainy = [(0.7 * picture.float() + grain).round().byte() for picture in (scene(0), scene(shift))]
    assert (controls.sideways(*grainy) - shift).abs().max() < 1


@pytest.mark.parametrize(
    ("steps", "expected", "seen"),
    [((4, -4), 1.0, 0.0), ((-4, 4), 0.0, 1.0), ((0, 0), 0.0, 0.0), ((4, 4), 0.5, 0.5)],
)
def test_a_picture_that_does_not_follow_the_keys_scores_nothing(
    steps: tuple[int, int], expected: float, seen: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = steps
    film = [[scene(one * step) for step in range(4)], [scene(3 * one + other * step) for step in range(4)]]
    monkeypatch.setattr(controls, "dreamed_keys", lambda *_: film)
    monkeypatch.setattr(controls, "real_keys", lambda *_: film)
    model = make_model()
    monkeypatch.setattr(model, "encode", lambda frames: frames.flip(3))
    monkeypatch.setattr(controls, "drawn_film", lambda model, states, buttons: list(states))
    scores = controls.key_scores(model, get_scenario("take_cover"), None)  # type: ignore[arg-type]
    assert scores == {"move": expected, "move_seen": seen, "move_game": expected}


@pytest.mark.parametrize(("name", "keys"), [("defend_the_line", "turn_game"), ("basic", "move_game")])
def test_the_real_gun_flashes_and_the_real_picture_turns(name: str, keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself, on the game: what it says of a dream is worth no more than this."""
    monkeypatch.setattr(controls, "GAMES", 4)
    monkeypatch.setattr(controls, "DREAMS", N)
    game = Game(get_scenario(name))
    scores = controls.key_scores(make_model(), game.scenario, game)
    scores |= controls.flash_scores(make_model(), game.scenario, game)
    game.close()
    assert scores[keys] == scores["flash_game"] == 1.0, scores


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 3)) * (1.0, 2.0, 3.0)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + (2.0, 0.0, 1.0)) == pytest.approx(5.0, rel=1e-6)
    wider = 2 * (one - one.mean(0)) + one.mean(0)
    assert frechet(one, wider) == pytest.approx(one.var(0, ddof=1).sum(), rel=1e-6)
