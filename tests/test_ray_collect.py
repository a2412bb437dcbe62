"""Promises of collecting on a Ray cluster: the same bytes as here, also when a node is lost. Real ViZDoom and Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training.config import CollectConfig
from training.data import collect
from training.data.collect import plan_jobs

NODES = 3
SHARDS = 6


def config(out: Path, **settings: Any) -> CollectConfig:
    steps = SHARDS * collect.STEPS_PER_SHARD
    return CollectConfig(out=out, scenarios=("basic",), mix={"random": 1.0}, steps=steps, **settings)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that computes nothing, and some nodes of one core."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "600")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        made.add_node(num_cpus=1, wait=True)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_makes_the_same_shards_though_a_node_is_lost(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[int] = []
    made = collect.finished_shards

    def losing_a_node(*arguments: Any) -> Iterator[int]:
        for steps in made(*arguments):
            finished.append(steps)
            if len(finished) == 1:
                cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
            yield steps

    monkeypatch.setattr(collect, "finished_shards", losing_a_node)
    on_ray = config(tmp_path / "ray", ray=cluster.address)
    steps = collect.collect(on_ray)
    assert len(finished) == SHARDS and steps == sum(finished) >= SHARDS * collect.STEPS_PER_SHARD
    monkeypatch.setattr(collect, "finished_shards", made)
    collect.collect(config(tmp_path / "here"))
    for here, there in zip(plan_jobs(config(tmp_path / "here"), "basic"), plan_jobs(on_ray, "basic"), strict=True):
        assert here.path.read_bytes() == there.path.read_bytes(), here.path.name
    left = {path.name for path in (tmp_path / "ray" / "basic").iterdir()}
    assert left == {job.path.name for job in plan_jobs(on_ray, "basic")}
    assert collect.collect(on_ray) == 0, "finished shards were made again"


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConnectionError, match="there is no Ray cluster at '127.0.0.1:9'.*ray start --head"):
        collect.collect(config(tmp_path, ray="127.0.0.1:9"))


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"--ray needs the extra 'ray': pip install .*\[ray\]"):
        collect.collect(config(tmp_path, ray="auto"))
