"""The main job: train inside the dream, test in the real game, film both side by side."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.envs.batch import DreamBatch, shared_world_model
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.play.film import STEPS_PER_SECOND, Film
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.scoring import BLIND, Policy, Score, blind_policy, play_both, random_policy
from doom_dream_env.world_model import WorldModel

REAL_SEED, DREAM_SEED, CLIP_SEED = 60_000, 1, 70_000
CLIP_STEPS = 120


def rivals(world_model: WorldModel, scenario: str) -> dict[str, Policy]:
    """Whom the new agent is compared with: random and blind play, and the agent that ships with these weights."""
    policies: dict[str, Policy] = {"random": random_policy(len(get_scenario(scenario).action_table()))}
    if scenario in BLIND:
        policies["blind"] = blind_policy(BLIND[scenario])
    if scenario in shipped_agents(world_model.fingerprint):
        policies["shipped agent"] = Agent.load(scenario, world_model.fingerprint)
    return policies


@torch.inference_mode()
def film(world_model: WorldModel, scenario: str, agent: Agent, steps: int = CLIP_STEPS) -> npt.NDArray[np.uint8]:
    """The agent plays the real game; the dream starts from the same first frame and gets the same actions, never another frame.

    Returns:
        uint8 (T, 120, 328, 3): the dream left, the real game right.
    """
    real, dream = RealBatch(1, scenario, weights=world_model), DreamBatch(1, scenario, temperature=0.5, weights=world_model)
    frames = []
    try:
        real.reset(seed=[CLIP_SEED])
        clip = {"frames": real.frames(), "variables": real.variables.numpy()}
        dream.reset(seed=DREAM_SEED, options=clip)
        for _ in range(steps):
            pair = (dream.pixels()[0].numpy(), np.zeros((120, 8, 3), np.uint8), real.frames()[0])
            frames.append(np.concatenate(pair, 1))
            action = agent.act(real.features)
            _, _, terminated, truncated = real.step(action)
            dream.done[:] = False  # the dream goes on under the same keys, whatever it thinks of its health
            dream.step(action)
            if bool(terminated[0] | truncated[0]):
                break
    finally:
        real.close()
    return np.stack(frames)


def write_clip(frames: npt.NDArray[np.uint8], folder: Path) -> list[Path]:
    """Write dream_and_real.mp4 and .gif, twice enlarged, at the game's own speed."""
    paths = [folder / "dream_and_real.mp4", folder / "dream_and_real.gif"]
    for path in paths:
        with Film(path, STEPS_PER_SECOND, scale=2) as clip:
            for frame in frames:
                clip.add(frame)
    return paths


def plot(scores: dict[str, dict[str, Score]], curve: list[tuple[int, float]], scenario: str, path: Path) -> None:
    """Learning curve in the dream, and scores with 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    if curve:
        left.plot(*zip(*curve, strict=True))
    left.set(xlabel="steps in the dream", ylabel="mean dreamed return", title=f"PPO inside the dream: {scenario}")
    at = np.arange(len(scores))
    for shift, world in ((-0.2, "dream"), (0.2, "real")):
        means = [score[world].mean for score in scores.values()]
        right.bar(at + shift, means, 0.38, yerr=[score[world].margin for score in scores.values()], capsize=4, label=world)
    right.set_xticks(at, list(scores))
    right.set(ylabel="return (95 % interval)", title="the same policies, dream and real game")
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def run(
    scenario: str, steps: int, episodes: int, temperature: float | None, seed: int, weights: str | None, out: Path
) -> dict[str, dict[str, Score]]:
    """Do all of it and print where the results are."""
    from rich.console import Console
    from rich.table import Table

    if not get_scenario(scenario).discrete:
        raise ValueError(f"the demo's agent presses one button at a time, {scenario} takes nine: choose another scenario")
    console, started = Console(), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    world_model = shared_world_model(weights)
    console.print(f"Dreaming {scenario} with weights {world_model.config.name} ({world_model.fingerprint}); no game is running.")
    agent, curve = train_in_dream(world_model, scenario, steps, temperature, seed)
    agent.save(out / "agent")
    console.print(
        f"Trained {steps:,} dreamed steps in {agent.card.hyper_parameters['seconds']} s. Now the same policies in dream and real game:"
    )
    scores = play_both(world_model, scenario, rivals(world_model, scenario) | {"dream-trained": agent}, episodes, REAL_SEED)
    table = Table("policy", "in the dream", "in real DOOM", title=f"{scenario}: mean return ± 95 % interval, {episodes} episodes")
    for name, score in scores.items():
        table.add_row(name, str(score["dream"]), str(score["real"]))
    console.print(table)
    clips = write_clip(film(world_model, scenario, agent), out)
    plot(scores, curve, scenario, out / "scores.png")
    console.print(f"Done in {time.perf_counter() - started:.0f} s. Look at:")
    for path in (*clips, out / "scores.png", out / "agent"):
        console.print(f"  {path.resolve()}", soft_wrap=True)
    return scores
