"""Every example runs at toy size and shows what it promises."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run an example as a script, in a folder of its own; return what it printed."""
    monkeypatch.chdir(tmp_path)

    def run_example(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_quickstart_saves_a_picture_of_the_dream(run, weights, tmp_path):
    out = run("quickstart.py", "--weights", weights, "--steps", 16, "--picture", "seen.png")
    assert "16 steps" in out
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (640, 480)
        assert len(picture.getcolors(maxcolors=2**19)) > 1


def test_train_sb3_trains_in_the_dream_and_scores_in_reality(run, weights):
    out = run("train_sb3.py", "--weights", weights, "--steps", 64, "--envs", 4, "--rollout", 16, "--episodes", 1)
    assert re.search(r"total_timesteps\s*\|\s*64", out)
    score = re.search(r"real basic: mean return (\S+), SD \S+, 1 episodes", out)
    assert score and -700 <= float(score[1]) <= 101  # 75 steps of which each is a shot; the monster at once


def test_dreamer_learns_in_the_dream_and_plays_the_game(run, weights, tmp_path):
    arguments = ("--weights", weights, "--steps", 64, "--envs", 4, "--unroll", 8, "--episodes", 1)
    out = run("dreamer.py", *arguments, "--objective", "pmpo", "--out", tmp_path / "agent")
    score = re.search(r"real take_cover: mean return (\S+) ± ", out)
    assert score and 4 < float(score[1]) <= 2100 and "64 imagined steps" in out
    assert (tmp_path / "agent" / "agent.json").is_file()


def test_vectorised_reports_both_interfaces(run, weights):
    out = run("vectorised.py", "--weights", weights, "--steps", 8, "--envs", 3)
    speeds = dict(re.findall(r"(gym\.make_vec|DreamBatch)\s+([\d,]+) steps/s in 3 dreams", out))
    assert set(speeds) == {"gym.make_vec", "DreamBatch"}
    assert all(int(speed.replace(",", "")) > 0 for speed in speeds.values())


def test_branch_compares_every_action(run, weights):
    arguments = ("--weights", weights, "--scenario", "defend_the_center", "--warmup", 3, "--repeats", 3, "--steps", 5)
    out = run("branch.py", *arguments)
    lived = {name: float(steps) for name, steps in re.findall(r"^(\w+)\s+lives\s+(\S+) of 5", out, re.MULTILINE)}
    assert list(lived) == ["nothing", "ATTACK", "TURN_RIGHT", "TURN_LEFT"]
    assert all(1 <= steps <= 5 for steps in lived.values())
    best = re.search(r"best: (\w+)", out)
    assert best and lived[best[1]] == max(lived.values())
    assert run("branch.py", *arguments) == out  # futures are imagined with the same random numbers again


def test_plan_to_goal_measures_how_near_it_comes(run, weights):
    out = run("plan_to_goal.py", "--weights", weights, "--horizon", 2, "--rounds", 1, "--walk", 3, "--steps", 3)
    distances = [float(distance) for distance in re.findall(r"distance (\S+)", out)]
    assert len(distances) == 3 and f"nearest {min(distances):.3f}" in out


def test_tree_search_plays_its_best_branch_again(run, weights):
    out = run("tree_search.py", "--weights", weights, "--depth", 3, "--beam", 2, "--hold", 2)
    first, again = re.findall(r"return (-?[\d.]+)", out)
    assert first == again, "the same luck brings the same return"
    pressed = out.splitlines()[1].split()
    assert 1 <= len(pressed) <= 3 and set(pressed) <= {"nothing", "ATTACK", "TURN_LEFT", "TURN_RIGHT"}


def test_onnx_dream_repeats_a_seed_and_saves_a_picture(run, exported, tmp_path):
    arguments = ("--folder", exported[0], "--steps", 12, "--picture", tmp_path / "onnx.png")
    out = run("onnx_dream.py", *arguments)
    assert re.match(r"\d+ steps, return -?[\d.]+, HEALTH", out)
    assert run("onnx_dream.py", *arguments) == out
    with Image.open(tmp_path / "onnx.png") as picture:
        assert picture.size == (640, 480)
        assert len(picture.getcolors(maxcolors=2**19)) > 1


@pytest.mark.slow
def test_rllib_ppo_trains_on_a_cluster_and_scores_in_reality(run, weights, monkeypatch):
    pytest.importorskip("ray.rllib")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "600")
    small = ("--runners", 1, "--envs", 4, "--steps", 64, "--batch", 64, "--episodes", 1)
    out = run("rllib_ppo.py", "--weights", weights, *small)
    score = re.search(r"real basic: mean return (\S+), SD 0.0, 1 episodes", out)
    assert score and -400 < float(score[1]) < 100


@pytest.mark.slow
def test_torchrl_ppo_trains_in_the_dream_and_scores_in_reality(run, weights):
    pytest.importorskip("torchrl")
    out = run("torchrl_ppo.py", "--weights", weights, "--steps", 64, "--envs", 4, "--rollout", 8, "--episodes", 1)
    score = re.search(r"real basic: mean return (\S+), SD 0.0, 1 episodes", out)
    assert score and -400 < float(score[1]) < 100


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short_and_tested(path):
    assert len(path.read_text("utf-8").splitlines()) < 80
    assert f'run("{path.name}"' in Path(__file__).read_text("utf-8")


def test_the_notebook_runs_from_top_to_bottom(weights, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib import pyplot as plt

    toy = {"WEIGHTS": weights, "STEPS": 64, "ENVS": 4, "EPISODES": 2, "PLANNED": 1}
    names = {"__name__": "notebook"}
    cells = json.loads((EXAMPLES / "minds.ipynb").read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "pictures of older weights would stay in the file"
            exec(compile("".join(cell["source"]), "minds.ipynb", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                assert set(toy) <= set(names)
                names |= toy
    assert len(plt.get_fignums()) == 3
    plt.close("all")
    for played in names["scores"]["game"].values():
        assert -400 <= played.mean <= 101  # what basic pays
    assert names["curve"]
