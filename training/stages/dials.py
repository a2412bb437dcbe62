"""Set how much dreams hurt and heal, so that nobody fares better in them than in the game.

    python -m training dials --weights nano --agents runs/agents/best     # 3 minutes a scenario; writes runs/dials

The model learns its odds of a hit from recorded play. Under other play, an agent's above all, what flies goes astray in
dreams and misses, or medkits stand where none are: dreams are too kind, and agents learn to live off that. So players
who see nothing and agents play both, and the odds of losing health (of gaining it, where medkits keep one alive) are
multiplied by what makes dreams kind to nobody, nor cruel, on the mean. The tensors stay as they are, and with them the
fingerprint: agents stay valid.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.errors import UserError
from doom_dream_env.evaluation import REAL_ENVS, EpisodeStatistics, evaluate_policy
from doom_dream_env.policies import Policy, fixed_policies
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.seeds import AGENT_SELECTION
from doom_dream_env.world_model import WorldModel, files
from training.config import DialsConfig, record_config
from training.evaluation.survival import affordable_episodes
from training.stages import WEIGHTS

MOST_OCTAVES = 4.0  # a dial is at most 16, at least a sixteenth
HEALED = ("health_gathering", "health_gathering_supreme")  # the odds of gaining health are set, not those of losing it
ROUNDS = 6  # settings that are tried at most
AGENTS = 2.0  # what agents count, where all who see nothing count 1
FAIR = 0.05  # |log ratio| up to which a dial stays as it is

Played = Mapping[str, EpisodeStatistics]  # who played → episodes


def train(config: DialsConfig) -> None:
    """Set the dial of each scenario and write the weights with them.

    Raises:
        ValueError: if a scenario is unknown to the weights or has no health.
    """
    model = WorldModel.from_pretrained(config.weights)
    known = model.config.scenarios
    possible = tuple(name for name in known if "HEALTH" in get_scenario(name).variables)
    names = config.scenarios or possible
    if wrong := [name for name in names if name not in possible]:
        raise UserError(f"{', '.join(wrong)}: no dial to set; the scenarios with health are {', '.join(possible)}")
    record_config(config, config.out / "dials.config.json")
    for name in names:
        turn(model, name, dial_of(config, model, name), healing=name in HEALED)
    card = files.find_weights(config.weights) / files.CARD
    model.save_pretrained(config.out / WEIGHTS, card.read_text() if card.exists() else "")
    print(f"weights with these dials are in {config.out / WEIGHTS}")


def dial_of(config: DialsConfig, model: WorldModel, name: str) -> float:
    """The dial of a scenario, from its file if it was found before."""
    path = config.out / model.fingerprint / f"{name}.json"
    if path.exists():
        return float(files.read_json(path)["dial"])
    agents = agents_of(config, model, name)
    scenario = get_scenario(name)
    episodes = affordable_episodes(scenario, config.episodes)
    real = play(fixed_policies(scenario), GameBatch(min(episodes, REAL_ENVS), name), episodes)
    real |= play(agents, RealBatch(min(episodes, REAL_ENVS), name, weights=model), episodes) if agents else {}
    healing = name in HEALED
    sign = -1 if healing else 1  # More healing is kinder, so it is searched the other way round.
    tried: dict[float, float] = {}
    octave = sign * math.log2(dials(model, healing)[name])
    for _ in range(ROUNDS):
        dial = 2.0 ** (sign * octave)
        turn(model, name, dial, healing=healing)
        dreamed = play(fixed_policies(scenario) | agents, DreamBatch(episodes, name, weights=model), episodes)
        tried[octave] = kindness(dreamed, real, agents)
        print(f"{name}: {dial:.3g} makes {told(dreamed, real, agents)}", flush=True)
        if abs(tried[octave]) < FAIR:
            break
        octave = next_octave(tried)
    best = min(tried, key=lambda each: abs(tried[each]))
    found = {
        "dial": round(2.0 ** (sign * best), 3),
        "tried": {f"{2.0 ** (sign * each):.3g}": round(log, 3) for each, log in sorted(tried.items())},
        "real": {who: [own.mean, float(own.lengths.mean())] for who, own in real.items()},
    }
    files.write_json(path, found)
    print(f"{name}: set to {found['dial']}", flush=True)
    return float(found["dial"])


def next_octave(tried: Mapping[float, float]) -> float:
    """Where to look next for the octave at which dreams are neither kind nor cruel; `tried` falls."""
    kind = max((each for each, log in tried.items() if log > 0), default=None)
    cruel = min((each for each, log in tried.items() if log <= 0), default=None)
    if kind is not None and cruel is not None:
        return kind + (cruel - kind) * tried[kind] / (tried[kind] - tried[cruel])
    beyond = kind + len(tried) if kind is not None else cruel - len(tried) if cruel is not None else 0.0
    return max(-MOST_OCTAVES, min(MOST_OCTAVES, beyond))


def agents_of(config: DialsConfig, model: WorldModel, name: str) -> dict[str, Policy]:
    """Who plays a scenario beside those who see nothing: its agents in the given folders, or the one that ships."""
    if not config.agents:
        return {"agent": Agent.load(name, model.fingerprint)} if name in shipped_agents(model.fingerprint) else {}
    folders = [folder / name for folder in config.agents if (folder / name).is_dir()]
    return {str(folder): Agent.load(folder, model.fingerprint) for folder in folders}


def play(policies: Mapping[str, Policy], batch: EnvBatch, episodes: int) -> dict[str, EpisodeStatistics]:
    """Episodes of each; the batch is closed then."""
    try:
        return {who: evaluate_policy(batch, policy, episodes, AGENT_SELECTION) for who, policy in policies.items()}
    finally:
        batch.close()


def dials(model: WorldModel, healing: bool) -> dict[str, float]:
    """What the weights say of harm, or of healing, in each scenario."""
    found = model.config.healing if healing else model.config.harm
    return dict.fromkeys(model.config.scenarios, 1.0) | dict(zip(model.config.scenarios, found, strict=False))


def turn(model: WorldModel, name: str, dial: float, *, healing: bool) -> None:
    """Turn the dial of one scenario, in the configuration and in the model at hand."""
    harm, of_healing = (dials(model, each) for each in (False, True))
    (of_healing if healing else harm)[name] = dial
    config = dataclasses.replace(model.config, harm=tuple(harm.values()), healing=tuple(of_healing.values()))
    model.config = config
    model.dynamics.set_dials(config.harm, config.healing)


def log_ratios(dreamed: Played, real: Played, agents: Mapping[str, Policy]) -> dict[str, float]:
    """How much better each player fares in the dream: log ratio of how long it lasts, of an agent of what it earns."""

    def worth(who: str, played: EpisodeStatistics) -> float:
        return played.mean if who in agents and real[who].mean > 0 else float(played.lengths.mean())

    return {who: math.log(max(worth(who, dreamed[who]), 0.1) / worth(who, real[who])) for who in real}


def kindness(dreamed: Played, real: Played, agents: Mapping[str, Policy]) -> float:
    """Mean of those log ratios. Agents together count `AGENTS` times as much as all others."""
    ratios = log_ratios(dreamed, real, agents)
    weights = [AGENTS / len(agents) if who in agents else 1 / (len(ratios) - len(agents)) for who in ratios]
    return float(np.average(list(ratios.values()), weights=weights))


def told(dreamed: Played, real: Played, agents: Mapping[str, Policy]) -> str:
    """The same for people."""
    ratios = log_ratios(dreamed, real, agents)
    return (
        ", ".join(f"{Path(who).parent.name or who} {math.exp(log):.2f}" for who, log in ratios.items())
        + " of the game's"
    )
