"""The dream as a judge of policies: does it rank them as the real game does?

    python -m training.judge --scenario take_cover --episodes 100

Plays more than thirty policies in dream and game: random ones that hold their actions, blind sweeps, clones of the scripted teacher with
more or less noise, PPO agents of different ages, agents of other worlds, and networks of random weights, of which no data were ever made.
Writes judge.json, judge.md and a scatter plot (judge.png) into --out; the agents that it trains stay there, so a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.agents import Agent, AgentCard, shipped_agents
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.envs.batch import shared_world_model
from doom_dream_env.envs.game import Game
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scoring import Policy, Score, blind_policy, play_both, random_policy
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically
from training.evaluate import save_figure
from training.players import TEACHERS
from training.transfer import figure_of

FIRST_SEED, CLONE_SEED = 70_000, 45_000
HOLDS = (3, 10, 30)  # steps that random play keeps an action
SWEEPS = ((3, 3), (6, 6), (12, 12), (25, 25), (40, 40), (20, 5), (8, 24), (1, 0))  # steps of action 1, of action 2
CLONE_STEPS, CLONE_NOISE = 8_000, (0.0, 0.15, 0.3, 0.6)
AGES = (8_000, 16_000, 32_000, 64_000, 128_000, 256_000)  # dreamed steps
NETWORKS = 6


def holding(actions: int, hold: int, seed: int) -> Policy:
    """Uniform actions, each kept for `hold` steps."""
    generator, kept = torch.Generator().manual_seed(seed), torch.zeros(0, dtype=torch.long)

    def policy(features: Tensor, steps: Tensor) -> Tensor:
        nonlocal kept
        fresh = torch.randint(actions, (len(steps),), generator=generator)
        kept = torch.where(steps.cpu() % hold == 0, fresh, kept) if len(kept) == len(steps) else fresh
        return kept

    return policy


def noisy(policy: Policy, actions: int, share: float, seed: int) -> Policy:
    """A policy whose actions are replaced by uniform ones in a share of the steps."""
    generator = torch.Generator().manual_seed(seed)

    def mixed(features: Tensor, steps: Tensor) -> Tensor:
        dice = torch.rand(len(steps), generator=generator)
        return torch.where(dice < share, torch.randint(actions, (len(steps),), generator=generator), policy(features, steps).cpu())

    return mixed


def untrained(model: WorldModel, actions: int, seed: int) -> Policy:
    """The most likely action of a network of random weights."""
    generator = torch.Generator().manual_seed(seed)
    one = torch.randn(64, model.config.feature_width, generator=generator) / model.config.feature_width**0.5
    two = torch.randn(actions, 64, generator=generator)
    return lambda features, steps: (torch.tanh(features.cpu() @ one.T) @ two.T).argmax(-1)


def borrowed(agent: Agent, actions: int) -> Policy:
    """An agent of another world; actions that this world lacks wrap around."""
    return lambda features, steps: agent.act(features) % actions


def clone_teacher(model: WorldModel, scenario: Scenario, steps: int, lanes: int = 8, epochs: int = 30) -> Agent:
    """Behaviour cloning: what the scripted teacher, which sees the game's own objects, would press given the features."""
    real, table, at = RealBatch(lanes, scenario.name, weights=model), torch.from_numpy(scenario.action_table()), 0
    for game in real.games:
        game.close()
    real.games = [Game(scenario, privileged=True) for _ in range(lanes)]
    make, seen, pressed = TEACHERS[scenario.name], [], []
    try:
        real.reset(seed=CLONE_SEED)
        players = [make(scenario, np.random.default_rng(i)) for i in range(lanes)]
        for at in tqdm(range(steps // lanes), desc="teacher", unit="step", leave=False):
            buttons = np.stack([player(game) for player, game in zip(players, real.games, strict=True)])
            index = (torch.from_numpy(buttons)[:, None] == table).all(-1).int().argmax(-1)
            seen.append(real.features.clone())
            pressed.append(index)
            real.step(index)
            for lane in real.done.nonzero()[:, 0].tolist():
                players[lane] = make(scenario, np.random.default_rng((at, lane)))
            if bool(real.done.any()):
                real.reset(real.done)
    finally:
        real.close()
    x, y = torch.cat(seen).clone(), torch.cat(pressed)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(n, m, generator=generator) / m**0.5 for n, m in ((128, x.shape[1]), (len(table), 128))]
    layers = [(w.requires_grad_(), torch.zeros(len(w), requires_grad=True)) for w in weights]
    agent = Agent(AgentCard(scenario.name, model.fingerprint, model.source, "Tanh", {"algorithm": "behaviour cloning"}), layers)
    optimiser = torch.optim.AdamW([part for layer in layers for part in layer], 1e-3, weight_decay=0.05)
    for _ in tqdm(range(epochs), desc="clone", leave=False):
        for part in torch.randperm(len(x), generator=generator).split(256):
            optimiser.zero_grad()
            F.cross_entropy(agent.logits(x[part]), y[part]).backward()
            optimiser.step()
    return Agent(agent.card, [(w.detach(), b.detach()) for w, b in layers])


def kept(folder: Path, model: WorldModel, make: Callable[[], Agent]) -> Agent:
    """The agent in a folder, made and saved there if there is none."""
    if not (folder / "agent.json").exists():
        make().save(folder)
    return Agent.load(folder, model.fingerprint)


def policies(model: WorldModel, scenario: Scenario, out: Path) -> dict[str, tuple[str, Policy]]:
    """Name → kind and policy. Trains agents where `out` has none."""
    n, name = len(scenario.action_table()), scenario.name
    found: dict[str, tuple[str, Policy]] = {"random": ("random", random_policy(n))}
    found |= {f"random, held {hold}": ("random", holding(n, hold, hold)) for hold in HOLDS}
    for one, two in SWEEPS:
        found[f"blind {one}, {two}"] = ("blind", blind_policy(((1, one), (2 % n, two))))
    if name in TEACHERS:
        clone = kept(out / "clone", model, lambda: clone_teacher(model, scenario, CLONE_STEPS))
        for share in CLONE_NOISE:
            found[f"clone, noise {share}"] = ("clone of the teacher", noisy(clone, n, share, 1))
    for age in AGES:
        agent = kept(out / f"ppo-{age}", model, lambda age=age: train_in_dream(model, name, age, seed=age)[0])  # type: ignore[misc]
        found[f"PPO, {age:,} steps"] = ("PPO in the dream", agent)
    for other in shipped_agents(model.fingerprint):
        agent = Agent.load(other, model.fingerprint)
        found[f"agent of {other}"] = ("PPO in the dream", agent) if other == name else ("agent of another world", borrowed(agent, n))
    for seed in range(NETWORKS):
        found[f"random network {seed}"] = ("random network", untrained(model, n, seed))
    return found


def ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of theirs."""
    x = np.asarray(values)
    return np.array([((x < v).sum() + (x <= v).sum() - 1) / 2 for v in x])


def mmrv(dream: npt.ArrayLike, real: npt.ArrayLike) -> float:
    """Mean maximum rank violation (SIMPLER, arXiv 2405.05941), as a share of the range of real means.

    Mean over policies i of the largest |real_i − real_j| among policies j whose order with i the dream has wrong.
    """
    d, r = np.asarray(dream), np.asarray(real)
    wrong = (d[:, None] < d) != (r[:, None] < r)
    return float((np.abs(r[:, None] - r) * wrong).max(1).mean() / max(np.ptp(r), 1e-9))


def summary(scenario: str, kinds: dict[str, str], scores: dict[str, dict[str, Score]]) -> dict[str, Any]:
    """Means of every policy and how well they agree."""
    dream, real = (np.array([both[world].mean for both in scores.values()]) for world in ("dream", "real"))
    rows = {
        name: {"kind": kinds[name]}
        | {f"{world}{part}": getattr(both[world], part_of) for world in both for part, part_of in (("", "mean"), ("_margin_95", "margin"))}
        for name, both in scores.items()
    }
    return {
        "scenario": scenario,
        "episodes": len(next(iter(scores.values()))["real"].returns),
        "spearman": float(np.corrcoef(ranks(dream), ranks(real))[0, 1]),
        "pearson": float(np.corrcoef(dream, real)[0, 1]),
        "mmrv": mmrv(dream, real),
        "policies": rows,
    }


def table(about: dict[str, Any]) -> str:
    """The judgement in Markdown, best real policies first."""
    head = f"{about['scenario']}: {len(about['policies'])} policies, {about['episodes']} episodes of each in dream and game; "
    head += f"Spearman {about['spearman']:.3f}, Pearson {about['pearson']:.3f}, MMRV {about['mmrv']:.3f} of the range of real means.\n\n"
    lines = ["| policy | kind | real ± 95 % | dream ± 95 % |", "|---|---|---|---|"]
    for name, row in sorted(about["policies"].items(), key=lambda item: -item[1]["real"]):
        cells = [f"{row[world]:.1f} ± {row[f'{world}_margin_95']:.1f}" for world in ("real", "dream")]
        lines.append(f"| {name} | {row['kind']} | {' | '.join(cells)} |")
    return head + "\n".join(lines) + "\n"


def plot(about: dict[str, Any], path: Path) -> None:
    """Real means over dreamed ones."""
    (figure, axis), rows = figure_of(6, 5), list(about["policies"].values())
    for kind in dict.fromkeys(row["kind"] for row in rows):
        x, y, dx, dy = zip(
            *((r["dream"], r["real"], r["dream_margin_95"], r["real_margin_95"]) for r in rows if r["kind"] == kind), strict=True
        )
        axis.errorbar(x, y, dy, dx, fmt="o", ms=4, lw=0.8, label=kind)
    edges = [f([row[world] for row in rows for world in ("dream", "real")]) for f in (min, max)]
    axis.plot(edges, edges, ":", color="grey", lw=1)
    axis.set(xlabel="mean return in the dream", ylabel="mean return in the real game")
    axis.set_title(f"{about['scenario']}: Spearman {about['spearman']:.2f}, MMRV {about['mmrv']:.3f}", fontsize=10)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="take_cover", help="the world, one with an action table")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
    parser.add_argument("--episodes", type=int, default=100, help="of each policy in the dream, and as many in the real game")
    parser.add_argument("--out", type=Path, default=None, help="folder of agents and results (default: runs/judge/<scenario>)")
    args = parser.parse_args()
    scenario, model = get_scenario(args.scenario), shared_world_model(args.weights)
    if not scenario.discrete or scenario.name not in model.config.scenarios:
        raise ValueError(f"judging needs a world with an action table that the weights know, {scenario.name} is none")
    out = args.out or Path("runs") / "judge" / scenario.name
    found = policies(model, scenario, out)
    scores = play_both(model, scenario.name, {name: policy for name, (_, policy) in found.items()}, args.episodes, FIRST_SEED)
    about = summary(scenario.name, {name: kind for name, (kind, _) in found.items()}, scores) | {"weights": model.fingerprint}
    write_atomically(out / "judge.json", (json.dumps(about, indent=2) + "\n").encode())
    write_atomically(out / "judge.md", table(about).encode())
    plot(about, out / "judge.png")
    print(table(about))


if __name__ == "__main__":
    main()
