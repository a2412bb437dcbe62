"""Promises of metrics, tables and measures: what they say of samples whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.evaluation import probes
from training.evaluation.terminations import risk_calibration
from training.metrics import auc, correlation, event_f1, ks, r2, skill, spearman

D = 16


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


def test_skill_is_one_when_right_and_zero_when_nothing_changes() -> None:
    last_real = torch.zeros(3, D)
    real = torch.ones(3, D)
    assert skill(real, real, last_real) == 1
    assert skill(last_real, real, last_real) == 0
    assert skill(real / 2, real, last_real) == pytest.approx(0.75)


def test_correlations_of_known_samples() -> None:
    x = np.arange(10.0)
    assert correlation(x, 3 - 2 * x) == pytest.approx(-1)
    assert math.isnan(correlation(x, np.ones(10)))
    assert spearman(x, np.exp(x)) == pytest.approx(1) and correlation(x, np.exp(x)) < 0.9
    assert spearman([5.0, 1.0, 5.0, 9.0], [1.5, 0.0, 1.5, 3.0]) == pytest.approx(1), "equal values share a rank"


def test_events_are_hit_once_and_near() -> None:
    happened = {10: 1, 20: 2, 30: 1}
    assert event_f1({9: 1, 20: 2, 31: 1}, happened) == 1.0
    assert event_f1({9: 1, 10: 1, 11: 1}, happened) == pytest.approx(2 * 1 / 6)  # one hit, however often it is said
    assert event_f1({10: 2, 22: 2}, happened) == 0.0  # the wrong one, and one too late
    assert math.isnan(event_f1({}, {})) and event_f1({}, happened) == 0.0


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
