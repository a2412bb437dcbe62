"""Promises of the figures about terminations: groups share the risk equally, and calibration is told from its lack."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.terminations import risk_calibration


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


def test_one_certain_step_can_hold_several_tenths() -> None:
    risk = np.array([0.0, 1.0, 1.0, 0.0])
    ended = np.array([False, True, True, False])
    predicted, observed = risk_calibration(risk, ended)
    assert predicted.tolist() == observed.tolist() and observed.sum() == 2
    assert risk_calibration(np.zeros(5), np.zeros(5, bool))[0].tolist() == [0]
