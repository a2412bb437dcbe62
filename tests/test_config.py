"""Promises of settings and command line: every option has help, mistakes are one line, runs are written down."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from toy_world import toy_config

from doom_dream_env.scenarios import SCENARIOS
from training import pipeline
from training.__main__ import main
from training.config import (
    CollectConfig,
    DynamicsConfig,
    PipelineConfig,
    RankingConfig,
    RepresentationConfig,
    ScorecardConfig,
    TransferConfig,
    record_config,
)
from training.config.checks import check_settings
from training.engine.launch import STAGES, run_stage, stage_of


def parsed(monkeypatch: pytest.MonkeyPatch, line: str) -> object:
    """The settings that a command line makes."""
    found: list[object] = []
    monkeypatch.setattr("training.__main__.launch", found.append)
    main(line.split())
    return found[0]


def test_help_lists_every_stage_and_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in STAGES:
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in lines), name


@pytest.mark.parametrize("name", STAGES)
def test_every_setting_of_a_stage_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def check(config: type) -> None:
        documented = (config.__doc__ or "") + "".join(base.__doc__ or "" for base in config.__mro__[1:-1])
        for field in dataclasses.fields(config):
            assert f"\n        {field.name}: " in documented, f"{config.__name__}.{field.name} is not described"
            if dataclasses.is_dataclass(field.default):
                check(type(field.default))

    check(STAGES[name].config)
    check_settings(STAGES[name].config())  # the defaults are in range
    assert callable(getattr(importlib.import_module(STAGES[name].module), STAGES[name].function))
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(STAGES[name].config):
        assert field.name.replace("_", "-") in shown


def test_a_command_line_becomes_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "collect --out d --scenarios take_cover basic --mix random 0.5 runs/agent 0.5 --maps MAP01 MAP02 --tics"
    expected = CollectConfig(
        out=Path("d"),
        scenarios=("take_cover", "basic"),
        mix={"random": 0.5, "runs/agent": 0.5},
        maps=("MAP01", "MAP02"),
        tics=True,
    )
    assert parsed(monkeypatch, line) == expected
    line = "dynamics --scenario-weights take_cover 3 health_gathering 2 --seen-shards basic 7 --rollout 4"
    assert parsed(monkeypatch, line) == DynamicsConfig(
        scenario_weights={"take_cover": 3.0, "health_gathering": 2.0},
        seen_shards={"basic": 7},
        rollout=4,
    )
    twice = "transfer --agents b a b --episodes 5"
    assert parsed(monkeypatch, twice) == TransferConfig(agents=("b", "a"), episodes=5), "what is named twice is one"
    assert parsed(monkeypatch, "scorecard --scenarios basic --limit None") == ScorecardConfig(
        scenarios=("basic",), limit=None
    )
    assert parsed(monkeypatch, "transfer --agents a b") == TransferConfig(agents=("a", "b"))
    assert parsed(monkeypatch, "ranking --minds noop planner") == RankingConfig(minds=("noop", "planner"))
    assert parsed(monkeypatch, "representation --preset tiny --compile") == RepresentationConfig(
        preset="tiny", compile=True
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("dynamics --rolout 3", "--rolout"),
        ("dynamics --steps many", "--steps"),
        ("representation --preset huge", "--preset"),
        ("world_model", "training: stage 'world_model' is unknown; choose from collect, film, label"),
    ],
)
def test_what_is_mistyped_is_named(line: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2 and named in capsys.readouterr().err


def test_without_the_extra_the_command_that_installs_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    with pytest.raises(SystemExit) as end:
        main(["collect"])
    assert end.value.code == 2 and f'pip install -e "{ROOT}[train]"' in capsys.readouterr().err


def test_a_mistake_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "training", "dynamics", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    done = subprocess.run([*line, "--scenarios", "basic"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (message,) = done.stderr.strip().splitlines()
    assert message.startswith(f"training dynamics: no train data of basic in {tmp_path}; run: python -m training")


def test_every_scenario_has_players_whose_shares_sum_to_one() -> None:
    config = CollectConfig()
    for name in SCENARIOS:
        assert sum(config.mix_of(name).values()) == pytest.approx(1)
    assert config.mix_of("freedoom") != config.mix_of("take_cover")
    assert CollectConfig(mix={"random": 1}).mix_of("freedoom") == {"random": 1}


def test_settings_are_written_down_and_differences_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run" / "dynamics.config.json"
    record_config(DynamicsConfig(out=tmp_path), path)
    settings = json.loads(path.read_text())
    assert settings["out"] == str(tmp_path) and settings["rollout"] == 22
    record_config(DynamicsConfig(out=tmp_path), path)
    assert capsys.readouterr().out == ""
    record_config(DynamicsConfig(out=tmp_path, lr=1e-4), path)
    assert capsys.readouterr().out == "dynamics.config.json: lr was 0.001, is 0.0001 now\n"
    assert json.loads(path.read_text())["lr"] == 1e-4 and list(path.parent.iterdir()) == [path]


def test_the_pipeline_runs_every_stage_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(pipeline, "run_stage", started.append)
    pipeline.run(PipelineConfig(preset="base", out=tmp_path, scenarios=("basic",), dynamics_steps=7, seed=3))
    assert [stage_of(config) for config in started] == [
        "collect", "collect", "collect", "representation", "dynamics", "tokenizer", "decoder", "scorecard",
    ]  # fmt: skip
    train, val, _, representation, dynamics, *_, scorecard = started
    assert train == CollectConfig(out=tmp_path / "data", scenarios=("basic",), steps=315_000)
    assert val == dataclasses.replace(train, split="val", steps=10_000)
    common = {"data": tmp_path / "data", "out": tmp_path, "scenarios": ("basic",), "seed": 3}
    assert representation == RepresentationConfig(**common, preset="base", steps=20_000, batch=128)
    assert dynamics == DynamicsConfig(**common, steps=7, batch=256)
    assert scorecard == ScorecardConfig(data=tmp_path / "data", weights=str(tmp_path / "weights"), scenarios=("basic",))
    assert json.loads((tmp_path / "pipeline.config.json").read_text())["dynamics_steps"] == 7


def test_a_stage_runs_in_a_process_of_its_own_and_says_when_it_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = toy_config("dynamics", tmp_path, tmp_path / "run", 2)
    with pytest.raises(ChildProcessError, match="stage dynamics failed with exit status 2"):
        run_stage(config)
    assert "training dynamics: no train data of take_cover" in capfd.readouterr().err
    assert json.loads((tmp_path / "run" / "dynamics.config.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    "line",
    [
        "representation --steps 0",
        "representation --batch -1",
        "representation --lr nan",
        "representation --threads 0",
        "dynamics --seed -1",
        "dynamics --lr inf",
        "dynamics --rollout 0",
        "dynamics --scenario-weights basic nan",
        "decoder --steps 0",
        "collect --workers 0",
        "collect --mix random -0.5",
        "transfer --episodes 0",
        "scorecard --limit 0",
    ],
)
def test_a_setting_out_of_range_is_named_before_anything_is_written(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"training {line.split()[0]}: {line.split()[1]} must be") and error.count("\n") == 1
    assert not list(Path().iterdir())
