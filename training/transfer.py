"""The transfer report: what an agent that learned in the dream is worth in the real game.

    python -m training.transfer --agent dream-doom-demo/agent --episodes 1000
    python -m training.transfer --agent ppo.zip --scenario take_cover --weights nano

Plays the agent in real ViZDoom through the same encoder, on seeds from 60,000 up, and beside it random play, the best policy that sees
nothing (searched for on seeds from 40,000 up), the scripted teacher, and the agent in the dream. Writes transfer.json, a table
(transfer.md) and plots (returns.png, survival.png) into --out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents import Agent
from doom_dream_env.envs.batch import DreamBatch, shared_world_model
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scoring import BLIND, Policy, Score, play_episodes
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically
from training.evaluate import save_figure
from training.players import TEACHERS, BlindSweep
from training.survival import FIRST_SEED, Plan, blind_plans, by_plan, play_games

SEARCH_SEED = 40_000  # blind policies are chosen here and scored elsewhere
CANDIDATES, FIRST_LOOK, FINALISTS, SECOND_LOOK = 48, 8, 6, 40
REAL_LANES, DREAM_LANES = 12, 128
EPISODES = 200

# Means others report for the real game; they differ in frame skip, observation and training.
PUBLISHED = {
    "take_cover": "1092 ± 556 (World Models, dream-trained, arXiv 1803.10122)",
    "basic": "77 (Sample Factory)",
    "defend_the_center": "24.7 (Sample Factory)",
    "defend_the_line": "34.7 to 43.5 (Sample Factory)",
    "deadly_corridor": "about 1670 (Sample Factory)",
    "my_way_home": "0.98 (Sample Factory)",
}


def load_policy(path: Path, scenario: str | None, weights: str | None) -> tuple[Policy, Scenario, WorldModel]:
    """An agent's folder or a Stable-Baselines3 archive as a policy, its world and the weights it sees through.

    Raises:
        ValueError: if an archive comes without a world, or an agent belongs to another world or other weights.
        FileNotFoundError: if there is neither.
    """
    if path.is_dir():
        agent = Agent.load(path)
        if scenario not in (None, agent.card.scenario):
            raise ValueError(f"agent {path} was trained for {agent.card.scenario}, not for {scenario}")
        model = shared_world_model(weights or agent.card.weights)
        return Agent.load(path, model.fingerprint), get_scenario(agent.card.scenario), model
    if not path.is_file():
        raise FileNotFoundError(f"{path} is neither an agent's folder nor a Stable-Baselines3 archive")
    if scenario is None:
        raise ValueError(f"{path} does not say which world it plays: give --scenario")
    from stable_baselines3 import PPO

    network = PPO.load(path, device="cpu")

    def policy(features: Tensor, steps: Tensor) -> Tensor:
        return torch.as_tensor(network.predict(features.cpu().numpy())[0])

    return policy, get_scenario(scenario), shared_world_model(weights)


def plan_of(actions: list[np.ndarray], steps: list[int]) -> Plan:
    """A blind plan that presses actions (9,) in turn, each for so many steps."""
    order = np.concatenate([np.repeat(action[None], held, 0) for action, held in zip(actions, steps, strict=True)])
    return lambda at, dice: order[at % len(order)]


def best_blind(scenario: Scenario) -> tuple[str, Plan]:
    """The best of many policies that alternate two actions without looking, in two rounds on seeds from `SEARCH_SEED` up; and its name.

    Pairs and durations are random (2 to 60 steps), but for equal alternations of the first two actions with periods of 40 to 200 tics
    and for `scoring.BLIND`.
    """
    dice, table = np.random.default_rng(0), scenario.action_table()
    plans: dict[str, Plan] = {}

    def add(actions: list[np.ndarray], steps: list[int]) -> None:
        indices = [int((table == action).all(1).argmax()) for action in actions]
        plans[", ".join(f"action {i} for {n}" for i, n in zip(indices, steps, strict=True))] = plan_of(actions, steps)

    for held in range(5, 26, 2):
        add([table[1], table[2]], [held, held])
    if scenario.name in BLIND:
        add([table[action] for action, _ in BLIND[scenario.name]], [held for _, held in BLIND[scenario.name]])
    while len(plans) < CANDIDATES:
        sweep = BlindSweep.random(scenario, dice)
        add(list(sweep.actions), list(sweep.steps))
    for episodes, keep in ((FIRST_LOOK, FINALISTS), (SECOND_LOOK, 1)):
        players = {name: by_plan(plan) for name, plan in plans.items()}
        scores = play_games(scenario, players, episodes, SEARCH_SEED)
        plans = {name: plans[name] for name in sorted(scores, key=lambda name: -scores[name].mean)[:keep]}
    return next(iter(plans.items()))


def report(policy: Policy, scenario: Scenario, model: WorldModel, episodes: int) -> tuple[dict[str, Score], str]:
    """Scores of the agent, dreamed and real, and of those it is compared with; and what the best blind policy does."""
    if not scenario.discrete:
        raise ValueError(f"the report needs a world with an action table, {scenario.name} takes nine buttons")
    scores: dict[str, Score] = {}
    real = RealBatch(min(episodes, REAL_LANES), scenario.name, weights=model)
    try:
        scores["agent"] = play_episodes(real, policy, episodes, FIRST_SEED, "agent, real game")
    finally:
        real.close()
    if scenario.name in model.config.scenarios:
        dream = DreamBatch(min(episodes, DREAM_LANES), scenario.name, weights=model)
        scores["agent in the dream"] = play_episodes(dream, policy, episodes, FIRST_SEED, "agent, dream")
    name, plan = best_blind(scenario)
    scores |= play_games(scenario, {"random": by_plan(blind_plans(scenario)["random"]), "best blind": by_plan(plan)}, episodes)
    if scenario.name in TEACHERS:
        make = TEACHERS[scenario.name]
        scores |= play_games(scenario, {"teacher": lambda dice: make(scenario, dice)}, max(1, episodes // 5), privileged=True)
    return scores, name


def summary(scores: dict[str, Score], scenario: str, blind: str) -> dict[str, Any]:
    """Plain numbers of a report."""
    agent, best, out = scores["agent"], scores["best blind"], {}
    for name, score in scores.items():
        out[name] = {"mean": score.mean, "sd": score.sd, "margin_95": score.margin, "episodes": len(score.returns)}
    lead: dict[str, Any] = {"mean": agent.mean - best.mean, "margin_95": float(np.hypot(agent.margin, best.margin))}
    about: dict[str, Any] = {"scenario": scenario, "blind": blind, "scores": out, "agent_minus_blind": lead}
    if "agent in the dream" in scores:
        about["gap"] = abs(scores["agent in the dream"].mean - agent.mean) / max(abs(agent.mean), 1e-9)
    return about


def table(about: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = [f"| {about['scenario']} | mean ± 95 % | SD | episodes |", "|---|---|---|---|"]
    for name, row in about["scores"].items():
        label = f"{name} ({about['blind']})" if name == "best blind" else name
        lines.append(f"| {label} | {row['mean']:.2f} ± {row['margin_95']:.2f} | {row['sd']:.2f} | {row['episodes']} |")
    lead = about["agent_minus_blind"]
    lines.append(f"| agent − best blind | {lead['mean']:.2f} ± {lead['margin_95']:.2f} | | |")
    if "gap" in about:
        lines.append(f"| dream against real, share of real | {about['gap']:.1%} | | |")
    if about["scenario"] in PUBLISHED:
        lines.append(f"| published | {PUBLISHED[about['scenario']]} | | |")
    return "\n".join(lines) + "\n"


def plot(scores: dict[str, Score], draw: Callable[[Any, int, str, Score], object], x: str, y: str, path: Path) -> None:
    """One picture of all scores; `draw` puts one of them on an axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    for number, (name, score) in enumerate(scores.items()):
        draw(axis, number, name, score)
    axis.set(xlabel=x, ylabel=y)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=Path, required=True, help="an agent's folder, or a Stable-Baselines3 PPO archive")
    parser.add_argument("--scenario", default=None, help="its world (an agent's folder says it)")
    parser.add_argument("--weights", default=None, help="what it sees through (default: what the agent names, else the best shipped)")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of the agent and of each policy it is compared with")
    parser.add_argument("--out", type=Path, default=None, help="folder of the report (default: beside the agent)")
    args = parser.parse_args()
    policy, scenario, model = load_policy(args.agent, args.scenario, args.weights)
    out = args.out or (args.agent if args.agent.is_dir() else args.agent.parent)
    out.mkdir(parents=True, exist_ok=True)
    scores, blind = report(policy, scenario, model, args.episodes)
    about = summary(scores, scenario.name, blind) | {"weights": model.fingerprint, "agent": str(args.agent)}
    write_atomically(out / "transfer.json", (json.dumps(about, indent=2) + "\n").encode())
    write_atomically(out / "transfer.md", table(about).encode())
    edges = np.histogram_bin_edges(np.concatenate([score.returns for score in scores.values()]), 30)

    def histogram(axis: Any, number: int, name: str, score: Score) -> object:
        return axis.hist(score.returns, edges, histtype="step", density=True, color=f"C{number}", label=name)

    def survival(axis: Any, number: int, name: str, score: Score) -> object:
        at = np.r_[0, np.sort(score.lengths)]
        return axis.step(at, 1 - np.arange(len(at)) / len(score.lengths), where="post", color=f"C{number}", label=name)

    plot(scores, histogram, f"return in {scenario.name}", "density", out / "returns.png")
    plot(scores, survival, "step", "share still alive", out / "survival.png")
    print(table(about))


if __name__ == "__main__":
    main()
