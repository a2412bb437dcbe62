"""What playing shows: how long fixed policies survive dreamed and for real, whether dreams drift, how fast they are."""

from __future__ import annotations

import dataclasses
import itertools
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from doom_dream_env import bench
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import BUTTONS, Scenario, get_scenario
from doom_dream_env.scoring import BLIND, Score, play_episodes
from doom_dream_env.world_model import DreamState, WorldModel
from training.players import Player

FIRST_SEED = 60_000
USUAL_LIMIT = 525  # steps; worlds with longer episodes play fewer of them
LONG_STEPS = 100_000  # dreamed without a reset
SPEED_SECONDS = 1.5

Floats = npt.NDArray[np.float64]
# A blind plan maps steps since the episode began (N,) and dice to buttons (N, 9).
Plan = Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.uint8]]


def alternate(actions: Sequence[npt.NDArray[np.uint8]], steps: Sequence[int]) -> Plan:
    """Presses actions (9,) in turn, each for so many steps, on and on."""
    order = np.concatenate([np.repeat(action[None], held, 0) for action, held in zip(actions, steps, strict=True)])
    return lambda at, dice: order[at % len(order)]


def blind_plans(scenario: Scenario) -> dict[str, Plan]:
    """Three policies that see nothing: nothing pressed, uniformly random, and a fixed routine.

    The routine is that of `scoring.BLIND`, else actions 1 and 2 in turn, ten steps each. In worlds without an action table random
    presses every button half of the time and the routine walks forward.
    """
    table = scenario.action_table()
    routine = BLIND.get(scenario.name, ((1, 10), (2, 10)))
    forward = np.array([name == "MOVE_FORWARD" for name in BUTTONS], np.uint8)
    plans: dict[str, Plan] = {"noop": lambda steps, dice: np.zeros((len(steps), len(BUTTONS)), np.uint8)}
    if scenario.discrete:
        plans["random"] = lambda steps, dice: table[dice.integers(len(table), size=len(steps))]
        plans["blind"] = alternate([table[min(action, len(table) - 1)] for action, _ in routine], [held for _, held in routine])
    else:
        plans["random"] = lambda steps, dice: dice.integers(2, size=(len(steps), len(BUTTONS)), dtype=np.uint8)
        plans["blind"] = lambda steps, dice: np.tile(forward, (len(steps), 1))
    return plans


def play_dream(model: WorldModel, scenario: Scenario, plan: Plan, episodes: int, label: str) -> Score:
    """Whole dreamed episodes of a blind plan from real beginnings, at temperature 1."""
    dice = np.random.default_rng(0)

    def policy(features: Tensor, steps: Tensor) -> Tensor:
        return torch.from_numpy(plan(steps.numpy(), dice)).float()

    dream = DreamBatch(min(episodes, 256), scenario.name, weights=model)
    return play_episodes(dream, policy, episodes, FIRST_SEED, label)


def by_plan(plan: Plan) -> Callable[[np.random.Generator], Player]:
    """What makes a player of an episode from a blind plan."""

    def make(dice: np.random.Generator) -> Player:
        steps = itertools.count()
        return lambda game: plan(np.array([next(steps)]), dice)[0]

    return make


def play_real(scenario: Scenario, plans: dict[str, Plan], episodes: int) -> dict[str, Score]:
    """Whole real episodes of blind plans, seeds `FIRST_SEED` up. No frame is encoded: a blind plan needs none."""
    return play_games(scenario, {name: by_plan(plan) for name, plan in plans.items()}, episodes)


def play_games(
    scenario: Scenario,
    players: Mapping[str, Callable[[np.random.Generator], Player]],
    episodes: int,
    first_seed: int = FIRST_SEED,
    privileged: bool = False,
) -> dict[str, Score]:
    """Whole real episodes of players, made anew for each episode, on `episodes` seeds from `first_seed` up; several games at a time.

    Args:
        scenario: the world.
        players: name → what makes a player from the dice of an episode.
        episodes: of each.
        first_seed: of games and dice.
        privileged: the players look at what ViZDoom knows.
    """
    workers = min(os.cpu_count() or 1, 8)
    free: queue.SimpleQueue[Game] = queue.SimpleQueue()
    games = [Game(scenario, privileged) for _ in range(workers)]
    for game in games:
        free.put(game)

    def episode(make: Callable[[np.random.Generator], Player], seed: int) -> tuple[float, int]:
        game, player, total, steps, done = free.get(), make(np.random.default_rng(seed)), 0.0, 0, False
        try:
            game.reset(seed)
            while not done:
                reward, terminated, truncated = game.step(player(game))
                total, steps, done = total + reward, steps + 1, terminated or truncated
        finally:
            free.put(game)
        return total, steps

    scores = {}
    try:
        with ThreadPoolExecutor(workers) as pool:
            for name, make in players.items():
                seeds = range(first_seed, first_seed + episodes)
                played = pool.map(episode, [make] * episodes, seeds)
                label = f"real {scenario.name}, {name}"
                returns, lengths = zip(*tqdm(played, total=episodes, desc=label, unit="episode", leave=False), strict=True)
                scores[name] = Score(np.array(returns), np.array(lengths))
    finally:
        for game in games:
            game.close()
    return scores


def ks_statistic(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sample Kolmogorov–Smirnov statistic: the largest gap between the distribution functions of two samples."""
    a, b = np.sort(a), np.sort(b)
    values = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, values, "right") / len(a) - np.searchsorted(b, values, "right") / len(b)).max())


def survival_scores(model: WorldModel, name: str, episodes: int) -> tuple[dict[str, float], dict[str, tuple[Score, Score]]]:
    """Lengths (steps) and returns of the blind plans, and the episodes themselves, (dream, real) per plan."""
    scenario = get_scenario(name)
    plans, count = blind_plans(scenario), max(1, min(episodes, episodes * USUAL_LIMIT // scenario.time_limit))
    real = play_real(scenario, plans, count)
    played = {key: (play_dream(model, scenario, plan, count, f"dream {name}, {key}"), real[key]) for key, plan in plans.items()}
    scores: dict[str, float] = {"episodes": count}
    for key, (dreamed, true) in played.items():
        scores[f"{key}_ks"] = ks_statistic(dreamed.lengths, true.lengths)
        scores |= {f"{key}_length_dream": float(dreamed.lengths.mean()), f"{key}_length_real": float(true.lengths.mean())}
        scores |= {f"{key}_return_dream": dreamed.mean, f"{key}_return_real": true.mean}
    scores["noop_length_ratio"] = scores["noop_length_dream"] / scores["noop_length_real"]
    return scores, played


@torch.inference_mode()
def long_dream(model: WorldModel, scenarios: Sequence[str], lanes: int, total: int) -> dict[str, dict[str, float | bool]]:
    """Drift |z|²/D − 1 over `total` steps of random play without a reset; the lanes are shared by the worlds.

    Ends are ignored: where one falls, the dream goes on with the game variables of its beginning, because no real state has less
    than no health. State and memory are never touched.

    Returns:
        per world: mean and largest drift, whether every number was finite, and the steps each lane dreamed.
    """
    each, states, plans = max(1, lanes // len(scenarios)), [], []
    for name in scenarios:
        batch = DreamBatch(each, name, weights=model)
        batch.reset(seed=FIRST_SEED)
        assert batch.state is not None
        states.append(batch.state)
        plans.append(blind_plans(batch.scenario)["random"])
    state = DreamState(**{f.name: torch.cat([getattr(s, f.name) for s in states]) for f in dataclasses.fields(DreamState)})
    alive = state.variables
    dice, generator, steps = np.random.default_rng(0), torch.Generator().manual_seed(0), -(-total // (each * len(scenarios)))
    mean, worst, finite = (torch.zeros(len(scenarios)), torch.full((len(scenarios),), -1.0), torch.ones(len(scenarios), dtype=torch.bool))
    for step in tqdm(range(steps), desc="long dream", unit="step", leave=False):
        at = np.full(each, step)
        state, _, go_on = model.imagine(state, np.concatenate([plan(at, dice) for plan in plans]), 1.0, generator)
        ended = torch.rand(len(state), generator=generator) >= go_on
        state = dataclasses.replace(state, variables=torch.where(ended[:, None], alive, state.variables))
        drift = model.drift(state).view(len(scenarios), each)
        mean, worst = mean + drift.mean(1) / steps, torch.maximum(worst, drift.amax(1))
        finite &= model.features(state).isfinite().view(len(scenarios), -1).all(1)
    return {
        name: {"drift_long_mean": float(mean[i]), "drift_long_max": float(worst[i]), "long_finite": bool(finite[i]), "long_steps": steps}
        for i, name in enumerate(scenarios)
    }


def speed_scores(model: WorldModel, name: str) -> dict[str, float]:
    """Dream steps/s at 1 and 256 lanes, and real ViZDoom's, in one run on the same cores."""
    scores = {}
    for lanes in (1, 256):
        dream = DreamBatch(lanes, name, weights=model)
        dream.reset(seed=0)
        scores[f"dream_steps_per_s_{lanes}"] = bench.rate(bench.dreamer(dream, pixels=False), SPEED_SECONDS)
    return scores | {"real_steps_per_s": bench.bare_rate(get_scenario(name), SPEED_SECONDS)}
