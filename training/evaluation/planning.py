"""The planners' report: what they are worth in the real game at equal computing time.

    python -m training planning                     # three scenarios; two hours of one idle core
    python -m training planning --scenarios take_cover --minds planner:cem planner:gradient --episodes 100
    python -m training planning --minds random routine agent clone runs/mine    # any minds, a planner among them or not
    python -m training planning --scenarios freedoom --maps MAP07 E1M5 --minds random clone     # free play

Plays real ViZDoom on seeds from 60,000 up, on one thread. Writes a file of returns for each scenario and mind below
--out, to which a run that is given again only adds what is missing, and planning.json, planning.md and planning.png
with all of them. In free play it also counts kills, and the squares of the map that were walked over.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from doom_dream_env.agents import shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.planning import Planner, make_planner
from doom_dream_env.envs.base import EnvBatch, shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.errors import UserError
from doom_dream_env.evaluation import EpisodeStatistics, evaluate_policy
from doom_dream_env.policies import Policy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically, write_json
from doom_dream_env.world_model.threads import at_most
from training.config import PlanningConfig, record_config
from training.evaluation.figures import panels, save_figure
from training.evaluation.tables import markdown_table, mean_and_margin

CALIBRATION_STEPS = 2  # decisions that are timed, after one that warms up
SQUARE = 64  # units; side of the squares of a map that are counted


class TimedPolicy:
    """A policy whose processor time is counted.

    Attributes:
        seconds: spent so far.
        decisions: made so far, of environments that had not ended.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.seconds = 0.0
        self.decisions = 0

    def __call__(self, batch: EnvBatch) -> Tensor:
        """What the policy answers."""
        started = time.process_time()
        actions = self.policy(batch)
        self.seconds += time.process_time() - started
        self.decisions += int((~batch.done).sum())
        return actions


class SurveyedPolicy:
    """A policy whose ways through real games are noted, by the seeds of the episodes, up to its last decision in each.

    Attributes:
        kills: monsters that it killed.
        squares: of the map, `SQUARE` wide, that it has been on.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.kills: dict[int, int] = {}
        self.squares: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)

    def __call__(self, batch: EnvBatch) -> Tensor:
        """What the policy answers.

        Raises:
            TypeError: if the batch holds no games.
        """
        if not isinstance(batch, GameBatch | RealBatch):
            raise TypeError(f"only real games have a map to walk over, not a {type(batch).__name__}")
        for game, seed, done in zip(batch.games, batch.seeds, batch.done.tolist(), strict=True):
            if not done and seed is not None:
                x, y = game.pose()[:2]
                self.squares[seed].add((int(x // SQUARE), int(y // SQUARE)))
                self.kills[seed] = game.kills()
        return self.policy(batch)


def rounds_within(planner: Planner, milliseconds: float, games: int) -> int:
    """How many rounds of a search take about so much processor time for each of several games; 1 at least."""
    dream = DreamBatch(games, planner.scenario.name, weights=planner.model)
    dream.reset(seed=0)
    timed = TimedPolicy(planner)
    timed(dream)
    dream.step(planner.groups.buttons(planner.newest.choices[:, 0]), allow_ended=True)
    timed = TimedPolicy(planner)
    for _ in range(CALIBRATION_STEPS):
        timed(dream)
    each = 1000 * timed.seconds / (games * CALIBRATION_STEPS)
    return max(1, round(milliseconds / each))


def planner_of(mind: str, scenario: Scenario, model: WorldModel, rounds: int = 1) -> Planner:
    """The planner of a name."""
    return make_planner(model, scenario, mind.partition(":")[2] or None, rounds=rounds)


def title(scenario: Scenario) -> str:
    """Its name, in free play with that of the map."""
    return scenario.name if scenario.map is None else f"{scenario.name} {scenario.map}"


def play(mind: str, scenario: Scenario, model: WorldModel, config: PlanningConfig) -> dict[str, Any]:
    """Play the episodes of one mind that are not in its file yet, batch by batch, and return what the file holds."""
    name = title(scenario)
    path = config.out / name.replace(" ", "-") / f"{mind.replace(':', '-').replace('/', '-')}.json"
    planner = planner_of(mind, scenario, model) if mind.partition(":")[0] == "planner" else None
    settings = {} if planner is None else json.loads(json.dumps(asdict(planner.config)))
    same = {"weights": model.fingerprint, "settings": settings, "milliseconds": config.milliseconds}
    same |= {"first_seed": config.first_seed}
    found: dict[str, Any] = same | {"returns": [], "kills": [], "squares": []}
    if path.exists() and same.items() <= (before := {"first_seed": EVALUATION} | read_json(path)).items():
        found |= before
    if len(found["returns"]) >= config.episodes:
        return found
    if planner is not None:
        if "rounds" not in found:
            found["rounds"] = rounds_within(planner, config.milliseconds, config.games)
        planner = planner_of(mind, scenario, model, found["rounds"])
    timed = TimedPolicy(planner or load_mind(mind, scenario, model, seed=0))
    policy = timed if scenario.map is None else SurveyedPolicy(timed)
    real = RealBatch(config.games, scenario.name, weights=model, map=scenario.map)
    try:
        while len(found["returns"]) < config.episodes:
            begun = len(found["returns"])
            count = min(config.games, config.episodes - begun)
            first = config.first_seed + begun
            played = evaluate_policy(real, policy, count, first, f"{name}, {mind}")
            found["returns"] += played.returns.tolist()
            if isinstance(policy, SurveyedPolicy):
                seeds = range(first, first + count)
                found["kills"] += [policy.kills[seed] for seed in seeds]
                found["squares"] += [len(policy.squares[seed]) for seed in seeds]
            found["took"] = 1000 * timed.seconds / timed.decisions
            write_json(path, found)
    finally:
        real.close()
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Means and margins of what `play` returns."""
    nothing = np.zeros(len(found["returns"]), np.int64)
    played = EpisodeStatistics(np.array(found["returns"]), nothing)
    about = {
        "mean": played.mean,
        "sd": played.sd,
        "margin_95": played.margin,
        "episodes": len(nothing),
        "rounds": found.get("rounds", ""),
        "milliseconds": found["took"],
    }
    for what in ("kills", "squares"):
        if found[what]:
            counted = EpisodeStatistics(np.array(found[what], float), nothing)
            about |= {what: counted.mean, f"{what}_margin_95": counted.margin}
    return about


def planning_table(about: dict[str, dict[str, Any]]) -> str:
    """All scenarios in one Markdown table."""
    header = ["scenario", "who plays", "real return ± 95 %", "episodes", "rounds", "ms of processor time a decision"]
    free_play = any("kills" in row for minds in about.values() for row in minds.values())
    rows = []
    for scenario, minds in about.items():
        for mind, row in minds.items():
            score = mean_and_margin(row["mean"], row["margin_95"])
            cells = [scenario, mind, score, str(row["episodes"]), str(row["rounds"]), f"{row['milliseconds']:.1f}"]
            for what in ("kills", "squares") if free_play else ():
                cells.append(mean_and_margin(row[what], row[f"{what}_margin_95"], 1) if what in row else "")
            rows.append(cells)
    return markdown_table([*header, *(["kills", "squares walked over"] if free_play else [])], rows)


def plot_minds(about: dict[str, dict[str, Any]], path: Path) -> None:
    """Mean returns of all minds, a panel for each scenario."""
    names = list(dict.fromkeys(mind for minds in about.values() for mind in minds))
    height = 0.6 + 0.25 * len(names)
    figure, axes = panels(len(about), (3.0, height), x="return in the real game, 95 % interval")
    for axis, (scenario, minds) in zip(axes, about.items(), strict=True):
        for place, mind in enumerate(names):
            if mind in minds:
                row = minds[mind]
                axis.barh(-place, row["mean"], xerr=row["margin_95"], capsize=2, color=f"C{place}")
        axis.set_title(scenario, fontsize=8)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_yticks([-place for place in range(len(names))], [Path(name).name for name in names])
    save_figure(figure, path)


def run(config: PlanningConfig) -> dict[str, dict[str, Any]]:
    """Play all of it and write the report.

    Raises:
        ValueError: if maps are named and no free play.
    """
    model = shared_world_model(config.weights)
    record_config(config, config.out / "planning.config.json")
    about: dict[str, dict[str, Any]] = {}
    scenarios = [get_scenario(name) for name in config.scenarios]
    if config.maps and all(scenario.map is None for scenario in scenarios):
        raise UserError("maps are for free play: add freedoom to --scenarios, or leave --maps out")
    with at_most(1):
        for scenario in scenarios:
            on_maps = [get_scenario(scenario.name, name) for name in config.maps if scenario.map is not None]
            for played in on_maps or [scenario]:
                about[title(played)] = {}
                for mind in config.minds:
                    if mind == "agent" and played.name not in shipped_agents(model.fingerprint):
                        continue
                    row = about[title(played)][mind] = summary(play(mind, played, model, config))
                    score = mean_and_margin(row["mean"], row["margin_95"], 1)
                    print(f"{title(played)}, {mind}: {score} (n = {row['episodes']})", flush=True)
    write_json(config.out / "planning.json", about)
    write_atomically(config.out / "planning.md", planning_table(about).encode())
    plot_minds(about, config.out / "planning.png")
    print(planning_table(about))
    return about
