"""The main job: train inside the dream, test in the real game, film both side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.agents.quality import differs, qualities
from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.errors import UserError
from doom_dream_env.evaluation import EpisodeStatistics, compare_dream_and_game
from doom_dream_env.play.film import STEPS_PER_SECOND, Film
from doom_dream_env.policies import Policy
from doom_dream_env.scenarios import FRAME_SHAPE, get_scenario
from doom_dream_env.seeds import EVALUATION, FILM
from doom_dream_env.world_model import WorldModel

CLIP_STEPS = 120
CLIP_TEMPERATURE = 0.5
DREAM_SEED = 1
GAP_WIDTH = 8  # pixels between the dream and the game
NEW_AGENT = "dream-trained"

Scores = dict[str, dict[str, EpisodeStatistics]]  # policy → "dream", "real"


def rivals(world_model: WorldModel, scenario: str, beside: Sequence[str] = ()) -> dict[str, Policy]:
    """Whom the new agent is compared with: random play, the routine, the agent that ships, and others.

    Args:
        world_model: what they see through.
        scenario: what they play.
        beside: names of the others, see `doom_dream_env.agents.minds`.
    """
    names = {"random": "random", "routine": "routine"}
    if scenario in shipped_agents(world_model.fingerprint):
        names["shipped agent"] = "agent"
    names |= {name: name for name in beside}
    return {shown: load_mind(name, scenario, world_model, seed=0) for shown, name in names.items()}


def conclusions(scores: Scores) -> list[str]:
    """What the real games say of the new agent beside each of the others: is it better, worse, or is that open?"""
    agent = scores[NEW_AGENT]["real"]
    lines = []
    for name, score in scores.items():
        other = score["real"]
        if name == NEW_AGENT:
            continue
        lead = agent.mean - other.mean
        margin = float(np.hypot(agent.margin, other.margin))
        clear = differs((agent.mean, agent.margin), (other.mean, other.margin))
        verdict = ("better" if lead > 0 else "worse") if clear else "no clear difference: more --episodes would tell"
        lines.append(f"{NEW_AGENT} against {name}: {lead:+.1f} ± {margin:.1f}, {verdict}")
    return lines


def introduction(scenario: str, weights: str | Path | None) -> str:
    """How good the dream of a scenario is known to be, and where it would be better."""
    known = qualities(weights)
    text = f"This dream is {known[scenario].text}."
    better = [name for name, quality in known.items() if quality.word == "good"]
    return f"{text} Better ones: {', '.join(better)}." if better and scenario not in better else text


@torch.inference_mode()
def film(world_model: WorldModel, scenario: str, agent: Agent, steps: int = CLIP_STEPS) -> npt.NDArray[np.uint8]:
    """The agent plays the real game; the dream starts from its first frame and gets the same actions, nothing else.

    Returns:
        uint8 (T, 120, 328, 3): the dream left, the real game right.
    """
    real = RealBatch(1, scenario, weights=world_model)
    dream = DreamBatch(1, scenario, temperature=CLIP_TEMPERATURE, weights=world_model)
    gap = np.zeros((FRAME_SHAPE[0], GAP_WIDTH, 3), np.uint8)
    pictures = []
    try:
        real.reset(seed=[FILM])
        dream.reset(seed=DREAM_SEED, options={"frames": real.frames(), "variables": real.variables.numpy()})
        for _ in range(steps):
            pictures.append(np.concatenate([dream.drawn()[0].numpy(), gap, real.frames()[0]], 1))
            action = agent(real)
            real.step(action)
            dream.step(action, allow_ended=True)  # it goes on under the same keys, whatever it thinks of its health
            if bool(real.done[0]):
                break
    finally:
        real.close()
    return np.stack(pictures)


def write_clip(frames: npt.NDArray[np.uint8], folder: Path) -> list[Path]:
    """Write dream_and_real.mp4 and .gif, twice enlarged, at the game's own speed."""
    paths = [folder / "dream_and_real.mp4", folder / "dream_and_real.gif"]
    for path in paths:
        with Film(path, STEPS_PER_SECOND, scale=2) as clip:
            for frame in frames:
                clip.add(frame)
    return paths


def plot(scores: Scores, curve: list[tuple[int, float]], scenario: str, path: Path) -> None:
    """Learning curve in the dream, and scores with 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    if curve:
        left.plot(*zip(*curve, strict=True))
    left.set(xlabel="steps in the dream", ylabel="mean dreamed return", title=f"PPO inside the dream: {scenario}")
    at = np.arange(len(scores))
    for shift, kind in ((-0.2, "dream"), (0.2, "real")):
        means = [score[kind].mean for score in scores.values()]
        margins = [score[kind].margin for score in scores.values()]
        right.bar(at + shift, means, 0.38, yerr=margins, capsize=4, label=kind)
    right.set_xticks(at, list(scores))
    right.set(ylabel="return (95 % interval)", title="the same policies, dream and real game")
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def run(
    scenario: str,
    steps: int,
    episodes: int,
    temperature: float | None,
    seed: int,
    weights: str | None,
    out: Path,
    beside: Sequence[str] = (),
    first_seed: int = EVALUATION,
) -> Scores:
    """Do all of it and print where the results are.

    Args:
        scenario: its name; one with an action table.
        steps: of training in the dream.
        episodes: of each policy, in the dream and in the real game.
        temperature: of the dream that is trained in; None: the scenario's own.
        seed: of training.
        weights: as for `WorldModel.from_pretrained`.
        out: folder of the agent, the clip and the plot.
        beside: others that play the same games, as `doom_dream_env.agents.minds` names them.
        first_seed: of the games that are scored.

    Raises:
        ValueError: if the scenario is unknown or has no action table, or if one of the others cannot play it.
    """
    from rich.console import Console
    from rich.table import Table

    if not get_scenario(scenario).discrete:
        raise UserError(
            f"the demo's agent presses one button at a time, {scenario} takes nine: choose another scenario"
        )
    console = Console()
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    world_model = shared_world_model(weights)
    name = f"{world_model.config.name} ({world_model.fingerprint})"
    others = rivals(world_model, scenario, beside)  # whoever cannot play says so before the training
    console.print(introduction(scenario, weights), highlight=False)
    console.print(f"Dreaming {scenario} with weights {name}; no game is running.")
    agent, curve = train_in_dream(world_model, scenario, steps, temperature=temperature, seed=seed)
    agent.save(out / "agent")
    seconds = agent.card.hyper_parameters["seconds"]
    console.print(f"Trained {steps:,} dreamed steps in {seconds} s. Now the same policies in dream and real game:")
    policies = others | {NEW_AGENT: agent}
    scores = compare_dream_and_game(world_model, scenario, policies, episodes, first_seed)
    title = f"{scenario}: mean return ± 95 % interval, {episodes} episodes"
    table = Table("policy", "in the dream", "in real DOOM", title=title)
    for policy, score in scores.items():
        table.add_row(policy, *(f"{score[kind].mean:.1f} ± {score[kind].margin:.1f}" for kind in ("dream", "real")))
    console.print(table)
    console.print("In real DOOM, with the 95 % interval of the difference:")
    for line in conclusions(scores):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    clips = write_clip(film(world_model, scenario, agent), out)
    plot(scores, curve, scenario, out / "scores.png")
    console.print(f"Done in {time.perf_counter() - started:.0f} s. Look at:")
    for path in (*clips, out / "scores.png", out / "agent"):
        console.print(f"  {path.resolve()}", soft_wrap=True)
    return scores
