"""Train the agents that ship: several of each scenario in the dream, of which the one that plays best for real is kept.

    python -m training agents --weights nano --scenarios take_cover basic --seeds 3 --out doom_dream_env/agents
    python -m training agents --learner ppo dreamer --prior runs/clone/policy --scenarios take_cover

Nothing is learned in the real game; it only chooses among the seeds, in games of its own, so that reports on other
games are not flattered. What is finished is kept below `work`, with its learning curve: a killed run goes on when the
same command is given again.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from doom_dream_env.agents import Agent
from doom_dream_env.commands.demo import film, write_clip
from doom_dream_env.errors import UserError
from doom_dream_env.processes import end_with_parent, usable_cores
from doom_dream_env.progress import print_lines, progress
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import find_weights
from training.config import AgentsConfig, record_config
from training.evaluation.agent_scores import trained_agent


def train(config: AgentsConfig) -> None:
    """Train all agents, several at a time, and keep the best of each scenario.

    Raises:
        ValueError: if there is a prior for a learner that takes none.
    """
    if config.prior is not None and "dreamer" not in config.learner:
        raise UserError("only --learner dreamer is kept near a --prior; leave it out, or choose that learner")
    model = WorldModel.from_pretrained(config.weights)
    weights = find_weights(config.weights)
    names = config.scenarios or tuple(name for name in model.config.scenarios if get_scenario(name).discrete)
    work = config.work / model.fingerprint
    record_config(config, work / "agents.config.json")
    kinds = {"ppo": "seed", "dreamer": "dreamer" if config.prior is None else "dreamer-prior"}
    priors = {"ppo": None, "dreamer": config.prior}
    context = multiprocessing.get_context("spawn")
    workers = config.workers or usable_cores()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker) as pool:
        futures = {}
        for name, learner, seed in itertools.product(names, config.learner, range(config.seeds)):
            folder = work / name / f"{kinds[learner]}-{seed}"
            settings = (config.steps, seed, config.episodes, learner, priors[learner], config.first_seed)
            futures[folder] = pool.submit(trained_agent, weights, name, folder, *settings)
        shown = progress(futures.items(), desc="agents", unit="agent")
        scores = {folder: future.result() for folder, future in shown}
    for name in names:
        played = {folder: found for folder, found in scores.items() if folder.parent.name == name}
        agent = keep_best(name, played, config.out or work / "best", model.fingerprint)
        if config.film:
            print(*write_clip(film(model, name, agent), (config.out or work / "best") / name))


def begin_worker() -> None:
    """One of many processes: it ends with the stage, and uses one thread, as small networks gain nothing from more.

    What it is at, it says in a line a minute.
    """
    end_with_parent()
    print_lines(sys.stdout)
    torch.set_num_threads(1)


def keep_best(scenario: str, played: dict[Path, dict[str, Any]], out: Path, fingerprint: str) -> Agent:
    """Copy the agent of one scenario that plays the real game best, and return it.

    Args:
        scenario: its name.
        played: folders of agents, and their scores.
        out: it goes into a folder of the scenario's name below.
        fingerprint: of the weights that all of them were trained in.
    """
    folder, best = max(played.items(), key=lambda pair: pair[1]["real"])
    agent = Agent.load(folder, fingerprint)
    agent.save(out / scenario)
    everyone = ", ".join(f"{folder.name} {found['real']:.4g}" for folder, found in played.items())
    print(
        f"{scenario}: {folder.name} plays best, real {best['real']:.4g} ± {best['real_margin_95']:.2g}, "
        f"dream {best['dream']:.4g} (all: {everyone})",
        flush=True,
    )
    return agent
