"""Promises of the probes: they find what is linear, nothing in noise, and are fitted only to what varies."""

from __future__ import annotations

import numpy as np
import torch

from training.data.dataset import Dataset
from training.evaluation import probes
from training.metrics import auc, r2


def test_only_targets_that_vary_are_probed(held_out: Dataset) -> None:
    rows = np.flatnonzero(held_out.scenario == 0)
    chosen = {name for name, values in probes.probe_targets(held_out, rows).items() if probes.varies(name, values)}
    assert chosen == {"position_y_r2", "crosshair_auc"}  # x, angle stand still; no projectile, no item


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


def test_every_map_has_its_own_coordinates() -> None:
    """Two maps that lie 5000 units apart and mirror each other: one probe for both would read neither."""
    rng = np.random.default_rng(0)
    places = np.repeat(["freedoom:MAP01", "freedoom:MAP02"], 400)
    x = torch.from_numpy(rng.normal(size=(800, 6))).float()
    first_map = (places == "freedoom:MAP01")[:, None]
    sign = np.where(first_map, 1, -1)
    origin = np.where(first_map, 0, 5000)
    targets = {
        "position_x_r2": origin + 200 * sign * x[:, :1].numpy(),
        "position_y_r2": rng.normal(0, 200, (800, 1)),
    }
    even = {name: values[::2] for name, values in targets.items()}
    odd = {name: values[1::2] for name, values in targets.items()}
    fitted = probes.fit_probes(x[::2], even, places[::2])
    scores = probes.score_probes(fitted, x[1::2], odd, places[1::2])
    assert scores["position_x_r2"] > 0.99 and scores["position_y_r2"] < 0.2
    on_first = {name: values[:200] for name, values in odd.items()}
    alone = probes.score_probes(fitted, x[1:400:2], on_first, places[1:400:2])
    assert alone["position_x_r2"] > 0.99
