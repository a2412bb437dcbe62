"""The planners' report: what they are worth in the real game at equal computing time.

    python -m training planning                     # three scenarios; two hours of one idle core
    python -m training planning --scenarios take_cover --minds planner:switch planner:cem --episodes 100
    python -m training planning --minds random blind agent clone runs/mine      # any minds, a planner among them or not

Plays real ViZDoom on seeds from 60,000 up, on one thread. Writes a file of returns for each scenario and mind below
--out, to which a run that is given again only adds what is missing, and planning.json, planning.md and planning.png
with all of them.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from doom_dream_env.agents import shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.planning import Planner, make_planner
from doom_dream_env.envs.base import EnvBatch, shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.evaluation import EpisodeStatistics, evaluate_policy
from doom_dream_env.policies import Policy
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.threads import at_most
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training.config import PlanningConfig, record_config
from training.evaluation.figures import panels, save_figure
from training.evaluation.tables import markdown_table, mean_and_margin

CALIBRATION_STEPS = 2  # decisions that are timed, after one that warms up


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


def planner_of(mind: str, scenario: str, model: WorldModel, config: PlanningConfig) -> Planner:
    """The planner of a name; of one round, if the settings do not say how many."""
    settings: dict[str, Any] = {"rounds": 1} | config.settings
    return make_planner(model, scenario, mind.partition(":")[2] or None, **settings)


def play(mind: str, scenario: str, model: WorldModel, config: PlanningConfig) -> dict[str, Any]:
    """Play the episodes of one mind that are not in its file yet, batch by batch, and return what the file holds."""
    path = config.out / scenario / f"{mind.replace(':', '-').replace('/', '-')}.json"
    planner = planner_of(mind, scenario, model, config) if mind.partition(":")[0] == "planner" else None
    settings = {} if planner is None else json.loads(json.dumps(asdict(planner.config)))
    same = {"weights": model.fingerprint, "settings": settings, "milliseconds": config.milliseconds}
    found: dict[str, Any] = same | {"returns": []}
    if path.exists() and same.items() <= (before := read_json(path)).items():
        found = before
    if len(found["returns"]) >= config.episodes:
        return found
    if planner is not None and "rounds" not in config.settings and "rounds" not in found:
        found["rounds"] = rounds_within(planner, config.milliseconds, config.games)
    if planner is not None:
        rounds = found.setdefault("rounds", planner.config.rounds)
        planner = planner_of(mind, scenario, model, replace(config, settings=config.settings | {"rounds": rounds}))
    policy = TimedPolicy(planner or load_mind(mind, scenario, model, seed=0))
    real = RealBatch(config.games, scenario, weights=model)
    try:
        while len(found["returns"]) < config.episodes:
            begun = len(found["returns"])
            count = min(config.games, config.episodes - begun)
            played = evaluate_policy(real, policy, count, EVALUATION + begun, f"{scenario}, {mind}")
            found["returns"] += played.returns.tolist()
            found["took"] = 1000 * policy.seconds / policy.decisions
            write_atomically(path, (json.dumps(found) + "\n").encode())
    finally:
        real.close()
    return found


def planning_table(about: dict[str, dict[str, Any]]) -> str:
    """All scenarios in one Markdown table."""
    rows = []
    for scenario, minds in about.items():
        for mind, row in minds.items():
            score = mean_and_margin(row["mean"], row["margin_95"])
            rows.append((scenario, mind, score, str(row["episodes"]), str(row["rounds"]), f"{row['milliseconds']:.1f}"))
    header = ("scenario", "who plays", "real return ± 95 %", "episodes", "rounds", "ms of processor time a decision")
    return markdown_table(header, rows)


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
    """Play all of it and write the report."""
    model = shared_world_model(config.weights)
    record_config(config, config.out / "planning.config.json")
    about: dict[str, dict[str, Any]] = {}
    with at_most(1):
        for scenario in config.scenarios:
            about[scenario] = {}
            for mind in config.minds:
                if mind == "agent" and scenario not in shipped_agents(model.fingerprint):
                    continue
                found = play(mind, scenario, model, config)
                returns = np.array(found["returns"])
                played = EpisodeStatistics(returns, np.zeros(len(returns), np.int64))
                about[scenario][mind] = {
                    "mean": played.mean,
                    "sd": played.sd,
                    "margin_95": played.margin,
                    "episodes": len(returns),
                    "rounds": found.get("rounds", ""),
                    "milliseconds": found["took"],
                }
                print(f"{scenario}, {mind}: {played}", flush=True)
    write_atomically(config.out / "planning.json", (json.dumps(about, indent=2) + "\n").encode())
    write_atomically(config.out / "planning.md", planning_table(about).encode())
    plot_minds(about, config.out / "planning.png")
    print(planning_table(about))
    return about
