"""Policy ranking: does the dream rank policies as the real game does?

    python -m training ranking --scenario take_cover --episodes 100

Plays more than thirty policies in dream and game: random ones that hold their actions, alternating ones, clones of the
scripted teachers with more or less noise, PPO agents that learned for longer or shorter, agents of other scenarios, and
networks of random weights, of which no data were ever made. Writes ranking.json, ranking.md and a scatter plot
(ranking.png) into --out; the agents that it trains stay there, so a killed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.agents.minds import load_mind, shipped_clone
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.envs.base import EnvBatch, shared_world_model
from doom_dream_env.errors import UserError
from doom_dream_env.evaluation import EpisodeStatistics, compare_dream_and_game, relative_gap
from doom_dream_env.policies import AlternatingPolicy, HeldRandomPolicy, PerturbedPolicy, Policy, RandomPolicy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically, write_json
from training.config import RankingConfig, record_config
from training.evaluation.figures import panels, save_figure
from training.evaluation.tables import markdown_table, mean_and_margin
from training.metrics import mmrv, spearman

# Steps of action 1 and of action 2, one blind player for each pair. Those of equal steps are the cheapest test of a
# dream: it was never shown most of them, and they need nothing to be learned.
ALTERNATIONS = (
    *((steps, steps) for steps in (2, 3, 4, 6, 9, 12, 18, 25, 40, 60)),
    (20, 5),
    (8, 24),
    (1, 0),
)
AGENT_STEPS = (8_000, 16_000, 32_000, 64_000, 128_000, 256_000)  # dreamed steps of training, one agent for each
HOLDS = (3, 10, 30)  # steps for which random players hold an action, one player for each
CLONE_NOISE = (0.0, 0.15, 0.3, 0.6)  # shares of random actions of clones, one for each
RANDOM_NETWORKS = 6
HIDDEN = 64  # units of a random network

Statistics = dict[str, dict[str, EpisodeStatistics]]  # policy → "dream", "real"


# ---- policies --------------------------------------------------------------------------------------------------------


def alternation_name(one: int, two: int) -> str:
    """Name of the blind player that holds action 1 for `one` steps, then action 2 for `two`."""
    return f"blind {one}, {two}"


def held_random(scenario: Scenario, steps: int) -> Policy:
    """Uniform actions, each held for `steps` steps."""
    policies: dict[int, HeldRandomPolicy] = {}  # number of environments → policy: dream and game have different ones

    def policy(batch: EnvBatch) -> Tensor:
        count = batch.num_envs
        if count not in policies:
            policies[count] = HeldRandomPolicy(scenario, np.random.default_rng(steps), steps, steps, count)
        return policies[count](batch)

    return policy


def random_network(model: WorldModel, actions: int, seed: int) -> Policy:
    """The most likely action of a network of random weights."""
    generator = torch.Generator().manual_seed(seed)
    width = model.config.feature_width
    one = torch.randn(HIDDEN, width, generator=generator) / width**0.5
    two = torch.randn(actions, HIDDEN, generator=generator)
    return lambda batch: (torch.tanh(batch.features.cpu() @ one.T) @ two.T).argmax(-1)


def borrowed(agent: Agent, actions: int) -> Policy:
    """An agent of another scenario; actions that this one lacks wrap around."""
    return lambda batch: agent(batch) % actions


def kept(folder: Path, model: WorldModel, make: Callable[[], Agent]) -> Agent:
    """The agent in a folder, made and saved there if there is none."""
    if not (folder / "agent.json").exists():
        make().save(folder)
    return Agent.load(folder, model.fingerprint)


def train_ppo(model: WorldModel, scenario: str, steps: int) -> Agent:
    """An agent that learned for so many steps in the dream."""
    agent, _ = train_in_dream(model, scenario, steps, seed=steps)
    return agent


def ranked_policies(
    model: WorldModel, scenario: Scenario, out: Path, config: RankingConfig
) -> dict[str, tuple[str, Policy]]:
    """Name → kind and policy. Trains agents where `out` has none."""
    name = scenario.name
    actions = len(scenario.action_table())
    found: dict[str, tuple[str, Policy]] = {"random": ("random", RandomPolicy())}
    for steps in HOLDS:
        found[f"random, held {steps}"] = ("random", held_random(scenario, steps))
    for one, two in ALTERNATIONS:
        policy = AlternatingPolicy.of_indices(scenario, ((1, one), (2 % actions, two)))
        found[alternation_name(one, two)] = ("blind", policy)
    folder = config.clone or shipped_clone(model.fingerprint)
    if folder is not None:
        for share in CLONE_NOISE:
            clone = PerturbedPolicy(load_mind(folder, scenario, model, seed=0), share, seed=1)
            found[f"clone, noise {share}"] = ("clone of the teacher", clone)
    for steps in AGENT_STEPS:
        agent = kept(out / f"ppo-{steps}", model, partial(train_ppo, model, name, steps))
        found[f"PPO, {steps:,} steps"] = ("PPO in the dream", agent)
    for other in shipped_agents(model.fingerprint):
        agent = Agent.load(other, model.fingerprint)
        if other == name:
            found[f"agent of {other}"] = ("PPO in the dream", agent)
        else:
            found[f"agent of {other}"] = ("agent of another scenario", borrowed(agent, actions))
    for seed in range(RANDOM_NETWORKS):
        found[f"random network {seed}"] = ("random network", random_network(model, actions, seed))
    for mind in config.minds:
        found[mind] = ("by name", load_mind(mind, scenario, model, seed=0))
    return found


# ---- the report ------------------------------------------------------------------------------------------------------


def alternation_gaps(scores: Statistics, alternations: Iterable[tuple[int, int]]) -> dict[int, float]:
    """Gap between dream and game of the blind players that hold both actions for equally many steps: steps → gap."""
    return {one: relative_gap(scores[alternation_name(one, two)]) for one, two in alternations if one == two}


def summary(scenario: str, kinds: dict[str, str], scores: Statistics) -> dict[str, Any]:
    """Means of every policy, and how well dream and game agree on their order."""
    dream = np.array([both["dream"].mean for both in scores.values()])
    real = np.array([both["real"].mean for both in scores.values()])
    policies: dict[str, dict[str, Any]] = {}
    for name, both in scores.items():
        policies[name] = {"kind": kinds[name]}
        for where, statistics in both.items():
            policies[name][where] = statistics.mean
            policies[name][f"{where}_margin_95"] = statistics.margin
    return {
        "scenario": scenario,
        "episodes": len(next(iter(scores.values()))["real"].returns),
        "spearman": spearman(dream, real),
        "pearson": float(np.corrcoef(dream, real)[0, 1]),
        "mmrv": mmrv(dream, real),
        "policies": policies,
    }


def ranking_table(about: dict[str, Any]) -> str:
    """The ranking in Markdown, best real policies first."""
    policies = about["policies"]
    gaps = ", ".join(f"{gap:.0%} at {steps} steps" for steps, gap in about["alternation_gaps"].items())
    head = (
        f"{about['scenario']}: {len(policies)} policies, {about['episodes']} episodes of each in dream and game; "
        f"Spearman {about['spearman']:.3f}, Pearson {about['pearson']:.3f}, "
        f"MMRV {about['mmrv']:.3f} of the range of real means.\n\n"
        f"Gap of blind alternations: {gaps}.\n\n"
    )
    rows = []
    for name, row in sorted(policies.items(), key=lambda item: -item[1]["real"]):
        means = [mean_and_margin(row[kind], row[f"{kind}_margin_95"], digits=1) for kind in ("real", "dream")]
        rows.append((name, row["kind"], *means))
    return head + markdown_table(("policy", "kind", "real ± 95 %", "dream ± 95 %"), rows)


def plot_ranking(about: dict[str, Any], path: Path) -> None:
    """Real means over dreamed ones."""
    figure, (axis,) = panels(size=(6.0, 5.0))
    rows = list(about["policies"].values())
    for kind in dict.fromkeys(row["kind"] for row in rows):
        same = [row for row in rows if row["kind"] == kind]
        axis.errorbar(
            [row["dream"] for row in same],
            [row["real"] for row in same],
            xerr=[row["dream_margin_95"] for row in same],
            yerr=[row["real_margin_95"] for row in same],
            fmt="o",
            ms=4,
            lw=0.8,
            label=kind,
        )
    means = [row[kind] for row in rows for kind in ("dream", "real")]
    edges = [min(means), max(means)]
    axis.plot(edges, edges, ":", color="grey", lw=1)
    axis.set(xlabel="mean return in the dream", ylabel="mean return in the real game")
    axis.set_title(f"{about['scenario']}: Spearman {about['spearman']:.2f}, MMRV {about['mmrv']:.3f}", fontsize=10)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def run(config: RankingConfig) -> dict[str, Any]:
    """Play all policies and write the report.

    Raises:
        ValueError: if the scenario has no action table, or the weights do not know it.
    """
    scenario = get_scenario(config.scenario)
    model = shared_world_model(config.weights)
    if not scenario.discrete or scenario.name not in model.config.scenarios:
        raise UserError(f"ranking needs a scenario with an action table that the weights know, {scenario.name} is none")
    out = config.out or Path("runs") / "ranking" / scenario.name
    record_config(config, out / "ranking.config.json")
    found = ranked_policies(model, scenario, out, config)
    policies = {name: policy for name, (_, policy) in found.items()}
    kinds = {name: kind for name, (kind, _) in found.items()}
    scores = compare_dream_and_game(model, scenario.name, policies, config.episodes, config.first_seed)
    gaps = alternation_gaps(scores, ALTERNATIONS)
    about = summary(scenario.name, kinds, scores) | {"alternation_gaps": gaps}
    about |= {"weights": model.fingerprint, "first_seed": config.first_seed}
    write_json(out / "ranking.json", about)
    write_atomically(out / "ranking.md", ranking_table(about).encode())
    plot_ranking(about, out / "ranking.png")
    print(ranking_table(about))
    return about
