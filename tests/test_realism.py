"""Promises of the figures about realism: dreams on their own pictures go on from what the encoder sees in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_model
from torch import Tensor, nn

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import get_scenario
from training.evaluation import realism
from training.metrics import frechet

N = 4


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 3)) * (1.0, 2.0, 3.0)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + (2.0, 0.0, 1.0)) == pytest.approx(5.0, rel=1e-6)
    wider = 2 * (one - one.mean(0)) + one.mean(0)
    assert frechet(one, wider) == pytest.approx(one.var(0, ddof=1).sum(), rel=1e-6)


def test_a_dream_on_its_own_pictures_goes_on_from_what_the_encoder_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realism, "DREAMS", N)
    model = make_model()
    scenario = get_scenario("my_way_home")
    plain = realism.random_walks(model, scenario, (1, 3))
    fed = realism.random_walks(model, scenario, (1, 3), fed=True)
    picture, state = fed[1]
    torch.testing.assert_close(state.z, model.encode(picture[:, None])[:, 0])
    assert not torch.allclose(fed[3][1].z, plain[3][1].z)


def test_pictures_of_dreams_are_compared_with_as_many_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, ...]] = []

    def maps(network: object, pictures: Tensor) -> list[Tensor]:
        compared.append(tuple(pictures.shape))
        return [nn.functional.avg_pool2d(pictures, 30)]

    for name, value in {"DREAMS": N, "PICTURES": 3, "EARLY": 2, "LATE": 5}.items():
        monkeypatch.setattr(realism, name, value)
    monkeypatch.setattr(realism, "feature_maps", maps)
    scenario = get_scenario("my_way_home")
    game = Game(scenario)
    scores = realism.lasting_scores(make_model(), scenario, game, nn.Identity())
    game.close()
    assert set(scores) == {"frechet_2s", "frechet_30s", "frechet_ratio"}
    assert compared == [(3, 3, 120, 160)] * 4
    assert scores["frechet_ratio"] == pytest.approx(scores["frechet_30s"] / scores["frechet_2s"])
