"""The transfer report: what agents that learned in the dream are worth in the real game.

    python -m training transfer                                        # all agents that ship
    python -m training transfer --agents dream-doom-demo/agent --episodes 1000
    python -m training transfer --agents ppo.zip --scenario take_cover --weights nano --trust
    python -m training transfer --agents planner --scenario take_cover --episodes 50
    python -m training transfer --agents take_cover --efficiency-seeds 3

Plays each agent in real ViZDoom through the same encoder, on seeds from 60,000 up, and beside it random play, the best
policy that sees nothing (searched for on seeds from 40,000 up), the scripted teacher, and the agent in the dream.
Writes transfer.json, a table (transfer.md) and plots (returns.png, survival.png) into a folder of each scenario under
--out, and there one table and one plot of all scenarios. Reports that are there already, of as many episodes or more,
are read, not made again. transfer.json under --out holds the scores of all scenarios, as they ship with the agents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.envs.base import EnvBatch, shared_world_model
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.errors import UserError
from doom_dream_env.evaluation import (
    REAL_ENVS,
    EpisodeStatistics,
    compare_dream_and_game,
    evaluate_policy,
    relative_gap,
)
from doom_dream_env.options import MINDS
from doom_dream_env.policies import Policy, RandomPolicy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically, write_json
from training.config import TransferConfig, record_config
from training.evaluation.blind_search import best_blind
from training.evaluation.efficiency import dream_efficiency
from training.evaluation.figures import draw_survival, panels, save_figure
from training.evaluation.tables import markdown_table, mean_and_margin
from training.players.base import PlayerPolicy
from training.players.roster import TEACHERS

BINS = 30  # of the histogram of returns
TEACHER_SHARE = 0.2  # of the episodes: the scripted teacher is slow and hardly varies

# Means others report for the real game; they differ in frame skip, observation and training.
PUBLISHED = {
    "take_cover": "1092 ± 556 (World Models, dream-trained, arXiv 1803.10122)",
    "basic": "77 (Sample Factory)",
    "defend_the_center": "24.7 (Sample Factory)",
    "defend_the_line": "34.7 to 43.5 (Sample Factory)",
    "deadly_corridor": "about 1670 (Sample Factory)",
    "my_way_home": "0.98 (Sample Factory)",
}

Report = dict[str, Any]  # as in transfer.json


# ---- playing ---------------------------------------------------------------------------------------------------------


def load_policy(
    agent: str, scenario: str | None, weights: str | None, trust: bool = False
) -> tuple[Policy, Scenario, WorldModel]:
    """An agent as a policy, with its scenario and the weights that it sees through.

    Args:
        agent: a shipped agent's name, an agent's folder, a Stable-Baselines3 archive, or one of
            `doom_dream_env.options.MINDS`.
        scenario: of an archive or a mind; an agent says it.
        weights: None: those the agent names, else the best that ship.
        trust: load an archive, which can run any code.

    Raises:
        ValueError: if an archive is not trusted or damaged, if it or a mind comes without a scenario, or if an agent
            belongs to another scenario or other weights.
        FileNotFoundError: if there is neither.
    """
    path = Path(agent)
    if path.is_dir() or agent in shipped_agents():
        card = Agent.load(agent).card
        if scenario not in (None, card.scenario):
            raise UserError(f"agent {agent} was trained for {card.scenario}, not for {scenario}")
        model = shared_world_model(weights or card.weights)
        return Agent.load(agent, model.fingerprint), get_scenario(card.scenario), model
    if agent not in MINDS and not path.is_file():
        raise FileNotFoundError(f"{agent} is no agent's name, no agent's folder and no Stable-Baselines3 archive")
    if scenario is None:
        raise UserError(f"{agent} does not say which scenario it plays: give --scenario")
    if agent in MINDS:
        model = shared_world_model(weights)
        return load_mind(agent, scenario, model, seed=0), get_scenario(scenario), model
    if not trust:
        raise UserError(
            f"{agent} is an archive of Stable-Baselines3: it holds pickled Python objects, and loading it can run any "
            "code. If you know who made it, give --trust; better, save its agent with Agent.from_sb3(...).save(...)"
        )
    from stable_baselines3 import PPO

    try:
        network = PPO.load(path, device="cpu")
    except Exception as error:  # a damaged archive raises whatever its reader stumbles over
        raise UserError(f"{agent} could not be read as a PPO of Stable-Baselines3: {error}") from error

    def policy(batch: EnvBatch) -> Tensor:
        return torch.as_tensor(network.predict(batch.features.cpu().numpy())[0])

    return policy, get_scenario(scenario), shared_world_model(weights)


def play_games(
    scenario: Scenario, policy: Policy, episodes: int, first_seed: int, label: str, privileged: bool = False
) -> EpisodeStatistics:
    """Whole real episodes of a policy that looks at no features."""
    games = GameBatch(min(episodes, REAL_ENVS), scenario.name, privileged=privileged)
    try:
        return evaluate_policy(games, policy, episodes, first_seed, f"{scenario.name}, {label}")
    finally:
        games.close()


def score_agent(
    policy: Policy, scenario: Scenario, model: WorldModel, config: TransferConfig
) -> tuple[dict[str, EpisodeStatistics], str]:
    """Episodes of the agent, dreamed and real, and of those it is compared with; and what the best blind policy does.

    Raises:
        ValueError: if the scenario has no action table.
    """
    if not scenario.discrete:
        raise UserError(f"the report needs a scenario with an action table, {scenario.name} takes nine buttons")
    episodes = config.episodes
    first = config.first_seed
    both = compare_dream_and_game(model, scenario.name, {"agent": policy}, episodes, first)["agent"]
    played = {"agent": both["real"]}
    if "dream" in both:
        played["agent in the dream"] = both["dream"]
    blind_name, blind = best_blind(scenario)
    played["random"] = play_games(scenario, RandomPolicy(), episodes, first, "random")
    played["best blind"] = play_games(scenario, blind, episodes, first, "best blind")
    if scenario.name in TEACHERS:
        make = TEACHERS[scenario.name]
        teacher = PlayerPolicy(lambda rng: make(scenario, rng))
        count = max(1, int(TEACHER_SHARE * episodes))
        played["teacher"] = play_games(scenario, teacher, count, first, "teacher", privileged=True)
    return played, blind_name


# ---- one agent's report ----------------------------------------------------------------------------------------------


def summary(played: dict[str, EpisodeStatistics], scenario: str, blind: str) -> Report:
    """Plain numbers of a report."""
    agent = played["agent"]
    best = played["best blind"]
    about: Report = {
        "scenario": scenario,
        "blind": blind,
        "scores": {
            name: {
                "mean": statistics.mean,
                "sd": statistics.sd,
                "margin_95": statistics.margin,
                "episodes": len(statistics.returns),
            }
            for name, statistics in played.items()
        },
        "agent_minus_blind": {
            "mean": agent.mean - best.mean,
            "margin_95": float(np.hypot(agent.margin, best.margin)),
        },
    }
    if "agent in the dream" in played:
        about["gap"] = relative_gap({"dream": played["agent in the dream"], "real": agent})
    return about


def report_table(about: Report) -> str:
    """One agent's report in Markdown."""
    rows = []
    for name, row in about["scores"].items():
        label = f"{name} ({about['blind']})" if name == "best blind" else name
        rows.append((label, mean_and_margin(row["mean"], row["margin_95"]), f"{row['sd']:.2f}", str(row["episodes"])))
    lead = about["agent_minus_blind"]
    rows.append(("agent − best blind", mean_and_margin(lead["mean"], lead["margin_95"]), "", ""))
    if "gap" in about:
        rows.append(("dream against real, share of real", f"{about['gap']:.1%}", "", ""))
    if "efficiency" in about:
        rows.append(("dream efficiency", efficiency_cell(about), "", ""))
    if about["scenario"] in PUBLISHED:
        rows.append(("published", PUBLISHED[about["scenario"]], "", ""))
    return markdown_table((about["scenario"], "mean ± 95 %", "SD", "episodes"), rows)


def efficiency_cell(about: Report) -> str:
    """What PPO gets from the dream, as a share of what it gets from the game, with its 95 % interval."""
    found = about.get("efficiency")
    return f"{found['efficiency']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else ""


def plot_returns(played: dict[str, EpisodeStatistics], scenario: str, path: Path) -> None:
    """Histograms of all returns."""
    figure, (axis,) = panels(size=(6.5, 4.0))
    returns = np.concatenate([statistics.returns for statistics in played.values()])
    edges = np.histogram_bin_edges(returns, BINS).tolist()
    for number, (name, statistics) in enumerate(played.items()):
        axis.hist(statistics.returns, edges, histtype="step", density=True, color=f"C{number}", label=name)
    axis.set(xlabel=f"return in {scenario}", ylabel="density")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def plot_survival(played: dict[str, EpisodeStatistics], path: Path) -> None:
    """Share of episodes that are still running, by step."""
    figure, (axis,) = panels(size=(6.5, 4.0))
    for number, (name, statistics) in enumerate(played.items()):
        draw_survival(axis, statistics.lengths, color=f"C{number}", label=name)
    axis.set(xlabel="step", ylabel="share still alive")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def report_agent(agent: str, config: TransferConfig) -> Report:
    """Report one agent into a folder of its scenario, or read the report of the same agent that is there."""
    policy, scenario, model = load_policy(agent, config.scenario, config.weights, config.trust)
    # A mind without a folder of its own is reported beside the scenario's agent.
    folder = config.out / (f"{scenario.name}-{agent.replace(':', '-')}" if agent in MINDS else scenario.name)
    same = {"agent": agent, "weights": model.fingerprint, "first_seed": config.first_seed}
    if (folder / "transfer.json").exists():
        found = {"first_seed": EVALUATION} | read_json(folder / "transfer.json")
        measured = "efficiency" in found or not config.efficiency_seeds
        if same.items() <= found.items() and found["asked"] >= config.episodes and measured:
            return found
    played, blind = score_agent(policy, scenario, model, config)
    about = summary(played, scenario.name, blind) | same | {"asked": config.episodes}
    if config.efficiency_seeds:
        about["efficiency"] = dream_efficiency(model, scenario.name, config, played["random"].mean, folder / "learners")
    folder.mkdir(parents=True, exist_ok=True)
    plot_returns(played, scenario.name, folder / "returns.png")
    plot_survival(played, folder / "survival.png")
    write_atomically(folder / "transfer.md", report_table(about).encode())
    write_json(folder / "transfer.json", about)
    print(report_table(about), flush=True)
    return about


# ---- all agents side by side -----------------------------------------------------------------------------------------


def shipped_scores(reports: list[Report]) -> dict[str, Any]:
    """What `doom_dream_env.agents.quality` reads: mean returns and half of their 95 % intervals."""
    names = {"random": "random", "blind": "best blind", "agent": "agent", "dream": "agent in the dream"}
    worlds = {
        about["scenario"]: {
            short: [round(about["scores"][name][key], 4) for key in ("mean", "margin_95")]
            for short, name in names.items()
        }
        for about in reports
        if set(names.values()) <= about["scores"].keys()
    }
    return {"fingerprint": reports[0]["weights"] if reports else "", "worlds": worlds}


def overview_table(reports: list[Report]) -> str:
    """All scenarios in one Markdown table."""
    columns = ("agent", "random", "best blind", "teacher", "agent in the dream")
    rows = []
    for about in reports:
        scores = [about["scores"].get(name) for name in columns]
        cells = [mean_and_margin(score["mean"], score["margin_95"]) if score else "" for score in scores]
        gap = f"{about['gap']:.0%}" if "gap" in about else ""
        rows.append((about["scenario"], *cells, gap, efficiency_cell(about), PUBLISHED.get(about["scenario"], "")))
    return markdown_table(("scenario", *columns, "gap", "dream efficiency", "published"), rows)


def plot_overview(reports: list[Report], path: Path) -> None:
    """Every scenario's scores between random play (0) and the teacher (1)."""
    figure, (axis,) = panels(size=(9.0, 4.0))
    colours = {"best blind": "silver", "agent": "C3", "agent in the dream": "C0"}
    for number, (name, colour) in enumerate(colours.items()):
        places = []
        heights = []
        margins = []
        for place, about in enumerate(reports):
            scores = about["scores"]
            if "teacher" not in scores or name not in scores:
                continue
            low = scores["random"]["mean"]
            span = scores["teacher"]["mean"] - low
            places.append(place + 0.27 * (number - 1))
            heights.append((scores[name]["mean"] - low) / span)
            margins.append(scores[name]["margin_95"] / span)
        axis.bar(places, heights, 0.25, yerr=margins, capsize=2, label=name, color=colour)
    axis.axhline(0, color="black", lw=0.8)
    axis.axhline(1, color="grey", ls=":", lw=0.8)
    axis.set_xticks(range(len(reports)), [about["scenario"].replace("_", "\n") for about in reports], fontsize=8)
    axis.set(ylabel="0: random play, 1: scripted teacher")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def run(config: TransferConfig) -> list[Report]:
    """Report all agents of the configuration."""
    record_config(config, config.out / "transfer.config.json")
    reports = [report_agent(agent, config) for agent in config.agents or shipped_agents()]
    write_json(config.out / "transfer.json", shipped_scores(reports))
    if len(reports) > 1:
        write_atomically(config.out / "transfer.md", overview_table(reports).encode())
        plot_overview(reports, config.out / "transfer.png")
        print(overview_table(reports))
    return reports
