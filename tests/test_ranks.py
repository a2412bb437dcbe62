"""Promises of training on several ranks: the same run as on one, whoever goes on with it, and a clean end.

As a script it is one of the ranks: `python tests/test_ranks.py '[[stage, data, out, steps, settings], ...]'`.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from toy_world import TOY_SCENARIOS, killed_after, run

from training.engine.checkpoint import finished_steps
from training.ranks import Share
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT, TOKENIZER_CHECKPOINT

Run = tuple[str, Path, Path, int, dict[str, Any]]
"""Stage, dataset, folder of the run, steps, and settings other than the toy's."""

TESTS = Path(__file__).resolve().parent
PATIENCE = 1200  # seconds


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def start_ranks(ranks: int, command: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start a command as each of some ranks, with the variables that torchrun sets."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    shared["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]


def run_on_ranks(ranks: int, runs: Sequence[Run]) -> None:
    """Run stages one after the other on some ranks."""
    plan = json.dumps([[stage, str(data), str(out), steps, settings] for stage, data, out, steps, settings in runs])
    processes = start_ranks(ranks, [sys.executable, str(Path(__file__).resolve()), plan])
    try:
        said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, process in enumerate(processes):
        assert process.returncode == 0, f"rank {rank} of {ranks}: {said[rank][-3000:]}"


@contextmanager
def exact_and_logged(stage: str) -> Iterator[None]:
    """Compute in float32, and log every step."""
    from training.engine import compute

    module = importlib.import_module(f"training.stages.{stage}")
    with (
        mock.patch.object(compute, "bfloat16_pays", lambda: False),
        mock.patch.object(module, "fit", functools.partial(module.fit, log_every=1)),
    ):
        yield


def run_exactly(stage: str, data: Path, out: Path, steps: int, settings: dict[str, Any]) -> None:
    """Run a stage at toy size as all ranks do, in this process."""
    with exact_and_logged(stage):
        run(stage, data, out, steps, **settings)


def losses_of(out: Path, stage: str) -> list[dict[str, float]]:
    """What each step logged."""
    lines = (out / stage / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "loss" in line]


STEPS = 3
SETTINGS: dict[str, dict[str, Any]] = {
    "representation": {},
    "dynamics": {"constants": {"training.stages.dynamics.POSTERIOR_SHARE": 0.5}},
    # Patches of one frame of each scenario: the painter has something to learn.
    "tokenizer": {
        "palette_frames": 1,
        "constants": {
            "training.stages.tokenizer.PERCEPTUAL_FROM": 0.0,
            "training.stages.tokenizer.PERCEPTUAL_BATCH": 4,
        },
    },
    "decoder": {"constants": {"training.data.pictures.DREAMS": 8}},
}
# What is no mean over the samples of a step: the mean over ranks is near, no more.
NOT_COMPARED = {"step", "effective_rank", "psnr"}


@pytest.fixture(scope="module")
def alone(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all stages on one rank; and below it one that was killed, to go on with."""
    out = tmp_path_factory.mktemp("alone")
    for stage, settings in SETTINGS.items():
        run_exactly(stage, toy, out, STEPS, settings)

    with killed_after(2):
        run_exactly("representation", toy, out / "killed", STEPS, {})
    assert finished_steps(out / "killed" / REPRESENTATION_CHECKPOINT) == 2
    return out


def copied(alone: Path, folder: Path, checkpoints: tuple[str, ...]) -> Path:
    """A folder with some of the files of the run on one rank."""
    folder.mkdir(parents=True)
    for name in checkpoints:
        shutil.copy(alone / name, folder / name)
    return folder


def runs_like(alone: Path, toy: Path, out: Path) -> dict[str, Run]:
    """Every stage, each on what the run on one rank left it, and one run that goes on where one rank stopped."""
    before = {
        "representation": (),
        "dynamics": (REPRESENTATION_CHECKPOINT,),
        "tokenizer": (),
        "decoder": (DYNAMICS_CHECKPOINT, TOKENIZER_CHECKPOINT),
    }
    runs = {
        stage: (stage, toy, copied(alone, out / stage, files), STEPS, SETTINGS[stage])
        for stage, files in before.items()
    }
    shutil.copytree(alone / "killed", out / "killed")
    return runs | {"resumed": ("representation", toy, out / "killed", STEPS, {})}


def compare(alone: Path, runs: dict[str, Run]) -> None:
    for name, (stage, _, out, *_) in runs.items():
        expected = losses_of(alone, stage)
        found = losses_of(out, stage)
        assert [line["step"] for line in found] == list(range(STEPS)), name
        for step, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
            assert mine.keys() == theirs.keys()
            for key in mine.keys() - NOT_COMPARED:
                assert mine[key] == pytest.approx(theirs[key], rel=2e-3, abs=1e-4), (name, step, key)
        assert expected[0]["loss"] != pytest.approx(expected[-1]["loss"], rel=2e-3), "nothing was learned"


def test_two_ranks_and_one_are_the_same_run(alone: Path, toy: Path, tmp_path: Path) -> None:
    runs = runs_like(alone, toy, tmp_path)
    run_on_ranks(2, list(runs.values()))
    compare(alone, runs)
    run_exactly("representation", toy, tmp_path / "representation", STEPS + 1, {})  # on one rank again
    assert finished_steps(tmp_path / "representation" / REPRESENTATION_CHECKPOINT) == STEPS + 1


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_with_a_message_and_the_checkpoint_is_good(toy: Path, tmp_path: Path) -> None:
    options = f"--data {toy} --out {tmp_path} --scenarios {' '.join(TOY_SCENARIOS)} --preset tiny --batch 8 --threads 1"
    often = "from training.engine import fit; fit.CHECKPOINT_EVERY = 2; from training.__main__ import main; main()"
    command = [sys.executable, "-c", often, "representation", *options.split()]
    processes = start_ranks(2, [*command, "--steps", "100000"])
    checkpoint = tmp_path / REPRESENTATION_CHECKPOINT
    try:
        waited_until = time.monotonic() + PATIENCE
        while not checkpoint.exists():
            assert time.monotonic() < waited_until and all(process.poll() is None for process in processes)
            time.sleep(0.2)
        processes[1].send_signal(signal.SIGKILL)
        said, _ = processes[0].communicate(timeout=PATIENCE)
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 2
    last = said.strip().splitlines()[-1]
    assert last.startswith("training representation, rank 0 of 2: another rank has ended"), said[-2000:]
    assert finished_steps(checkpoint) >= 2


@pytest.mark.parametrize(("stage", "settings"), [("collect", "CollectConfig"), ("idm", "IDMTrainingConfig")])
def test_a_stage_that_ranks_do_not_share_refuses_torchrun(
    stage: str, settings: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from training import config
    from training.engine.launch import launch

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        launch(getattr(config, settings)(out=tmp_path))
    assert f"{stage} has no use for torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(("whole", "ranks"), [(8, 1), (8, 2), (8, 3), (5, 5)])
def test_every_sample_of_a_step_is_computed_by_one_rank(whole: int, ranks: int) -> None:
    shares = [Share.of(whole, rank, ranks) for rank in range(ranks)]
    assert [sample for share in shares for sample in range(share.first, share.stop)] == list(range(whole))
    assert sum(share.weight for share in shares) == pytest.approx(ranks)
    few = [share.evenly(min(5, whole)) for share in shares]
    assert sum(len(here) for here, _ in few) == 5
    chosen = [share.first + sample for share, (here, _) in zip(shares, few, strict=True) for sample in here]
    assert chosen == [Share.of(whole, 0, 1).evenly(5)[0][number] for number in range(5)]


def test_more_ranks_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="3 samples a step cannot be shared by 4 ranks: give a larger --batch"):
        Share.of(3, 0, 4)


if __name__ == "__main__":
    for stage, data, out, steps, settings in json.loads(sys.argv[1]):
        run_exactly(stage, Path(data), Path(out), steps, settings)
