"""The transfer report: what agents that learned in the dream are worth in the real game.

    python -m training.transfer                                        # all agents that ship
    python -m training.transfer --agents dream-doom-demo/agent --episodes 1000
    python -m training.transfer --agents ppo.zip --scenario take_cover --weights nano

Plays each agent in real ViZDoom through the same encoder, on seeds from 60,000 up, and beside it random play, the best policy that sees
nothing (searched for on seeds from 40,000 up), the scripted teacher, and the agent in the dream. Writes transfer.json, a table
(transfer.md) and plots (returns.png, survival.png) into a folder of each world under --out, and there one table and one plot of all
worlds. Reports that are there already, of as many episodes or more, are read, not made again.
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

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.envs.batch import shared_world_model
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scoring import BLIND, Policy, Score, gap, play_both
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training.evaluate import save_figure
from training.players import TEACHERS, BlindSweep
from training.survival import FIRST_SEED, Plan, alternate, blind_plans, by_plan, play_games

SEARCH_SEED = 40_000  # blind policies are chosen here and scored elsewhere
CANDIDATES, FIRST_LOOK, FINALISTS, SECOND_LOOK = 48, 8, 6, 40
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


def load_policy(agent: str, scenario: str | None, weights: str | None) -> tuple[Policy, Scenario, WorldModel]:
    """A shipped agent's name, an agent's folder or a Stable-Baselines3 archive as a policy, its world and the weights it sees through.

    Raises:
        ValueError: if an archive comes without a world, or an agent belongs to another world or other weights.
        FileNotFoundError: if there is neither.
    """
    path = Path(agent)
    if path.is_dir() or agent in shipped_agents():
        card = Agent.load(agent).card
        if scenario not in (None, card.scenario):
            raise ValueError(f"agent {agent} was trained for {card.scenario}, not for {scenario}")
        model = shared_world_model(weights or card.weights)
        return Agent.load(agent, model.fingerprint), get_scenario(card.scenario), model
    if not path.is_file():
        raise FileNotFoundError(f"{agent} is no agent's name, no agent's folder and no Stable-Baselines3 archive")
    if scenario is None:
        raise ValueError(f"{agent} does not say which world it plays: give --scenario")
    from stable_baselines3 import PPO

    network = PPO.load(path, device="cpu")

    def policy(features: Tensor, steps: Tensor) -> Tensor:
        return torch.as_tensor(network.predict(features.cpu().numpy())[0])

    return policy, get_scenario(scenario), shared_world_model(weights)


def best_blind(scenario: Scenario) -> tuple[str, Plan]:
    """The best of many policies that alternate two actions without looking, in two rounds on seeds from `SEARCH_SEED` up; and its name.

    Pairs and durations are random (2 to 60 steps), but for equal alternations of the first two actions with periods of 40 to 200 tics
    and for `scoring.BLIND`.
    """
    dice, table = np.random.default_rng(0), scenario.action_table()
    plans: dict[str, Plan] = {}

    def add(actions: list[np.ndarray], steps: list[int]) -> None:
        indices = [int((table == action).all(1).argmax()) for action in actions]
        plans[", ".join(f"action {i} for {n}" for i, n in zip(indices, steps, strict=True))] = alternate(actions, steps)

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
    both = play_both(model, scenario.name, {"agent": policy}, episodes, FIRST_SEED)["agent"]
    scores = {"agent": both["real"]} | ({"agent in the dream": both["dream"]} if "dream" in both else {})
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
        about["gap"] = gap({"dream": scores["agent in the dream"], "real": agent})
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


def overview(reports: list[dict[str, Any]]) -> str:
    """All worlds in one Markdown table."""
    columns = ("agent", "random", "best blind", "teacher", "agent in the dream")
    lines = [f"| world | {' | '.join(columns)} | gap | published |", "|---" * (len(columns) + 3) + "|"]
    for about in reports:
        rows = [about["scores"].get(name) for name in columns]
        cells = [f"{row['mean']:.2f} ± {row['margin_95']:.2f}" if row else "" for row in rows]
        gap_of = f"{about['gap']:.0%}" if "gap" in about else ""
        lines.append(f"| {about['scenario']} | {' | '.join(cells)} | {gap_of} | {PUBLISHED.get(about['scenario'], '')} |")
    return "\n".join(lines) + "\n"


def figure_of(width: float, height: float = 4.0) -> tuple[Any, Any]:
    """A figure of so many inches and its axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def plot_overview(reports: list[dict[str, Any]], path: Path) -> None:
    """Every world's scores between random play (0) and the teacher (1)."""
    figure, axis = figure_of(9)
    for number, name in enumerate(("best blind", "agent", "agent in the dream")):
        at, heights, margins = [], [], []
        for place, about in enumerate(reports):
            scores = about["scores"]
            low, row = scores["random"]["mean"], scores.get(name)
            if "teacher" not in scores or row is None:
                continue
            span = scores["teacher"]["mean"] - low
            at.append(place + 0.27 * (number - 1))
            heights.append((row["mean"] - low) / span)
            margins.append(row["margin_95"] / span)
        axis.bar(at, heights, 0.25, yerr=margins, capsize=2, label=name, color=("silver", "C3", "C0")[number])
    axis.axhline(0, color="black", lw=0.8)
    axis.axhline(1, color="grey", ls=":", lw=0.8)
    axis.set_xticks(range(len(reports)), [about["scenario"].replace("_", "\n") for about in reports], fontsize=8)
    axis.set(ylabel="0: random play, 1: scripted teacher")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def plot(scores: dict[str, Score], draw: Callable[[Any, int, str, Score], object], x: str, y: str, path: Path) -> None:
    """One picture of all scores; `draw` puts one of them on an axis."""
    figure, axis = figure_of(6.5)
    for number, (name, score) in enumerate(scores.items()):
        draw(axis, number, name, score)
    axis.set(xlabel=x, ylabel=y)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def full_report(agent: str, scenario: str | None, weights: str | None, episodes: int, out: Path) -> dict[str, Any]:
    """Report one agent into a folder of its world under `out`, or read the report of the same agent that is there."""
    policy, world, model = load_policy(agent, scenario, weights)
    folder, same = out / world.name, {"agent": agent, "weights": model.fingerprint}
    if (folder / "transfer.json").exists():
        found = read_json(folder / "transfer.json")
        if same.items() <= found.items() and found["asked"] >= episodes:
            return found
    scores, blind = report(policy, world, model, episodes)
    about = summary(scores, world.name, blind) | same | {"asked": episodes}
    edges = np.histogram_bin_edges(np.concatenate([score.returns for score in scores.values()]), 30)

    def histogram(axis: Any, number: int, name: str, score: Score) -> object:
        return axis.hist(score.returns, edges, histtype="step", density=True, color=f"C{number}", label=name)

    def survival(axis: Any, number: int, name: str, score: Score) -> object:
        at = np.r_[0, np.sort(score.lengths)]
        return axis.step(at, 1 - np.arange(len(at)) / len(score.lengths), where="post", color=f"C{number}", label=name)

    folder.mkdir(parents=True, exist_ok=True)
    plot(scores, histogram, f"return in {world.name}", "density", folder / "returns.png")
    plot(scores, survival, "step", "share still alive", folder / "survival.png")
    write_atomically(folder / "transfer.md", table(about).encode())
    write_atomically(folder / "transfer.json", (json.dumps(about, indent=2) + "\n").encode())
    print(table(about), flush=True)
    return about


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--agents", nargs="+", default=None, help="names of shipped agents, agents' folders, or SB3 PPO archives (default: all that ship)"
    )
    parser.add_argument("--scenario", default=None, help="the world of an archive (an agent says it)")
    parser.add_argument("--weights", default=None, help="what they see through (default: what the agent names, else the best shipped)")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of the agent and of each policy it is compared with")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="folder of the reports")
    args = parser.parse_args()
    reports = [full_report(agent, args.scenario, args.weights, args.episodes, args.out) for agent in args.agents or shipped_agents()]
    if len(reports) > 1:
        write_atomically(args.out / "transfer.md", overview(reports).encode())
        plot_overview(reports, args.out / "transfer.png")
        print(overview(reports))


if __name__ == "__main__":
    main()
