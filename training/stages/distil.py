"""Expert iteration: a planner decides in the dream, an agent learns its decisions, the planner begins with the agent.

    python -m training distil --scenario take_cover --out runs/distil        # 9,000 decisions, each 0.1 s of one core

No game runs. Each iteration records features and the planner's distribution over first actions in dreams that begin at
real moments; the agent learns all that was recorded so far by cross entropy, and proposes plans to the planner from
then on (Anthony et al., arXiv 1705.08439; AlphaZero's way with a learned model). A finished rollout is kept: a killed
run goes on when the same command is given again. The last agent is in OUT/agent, and plays wherever an agent
is taken: `python -m training transfer --agents runs/distil/agent`.

Legend: N dreams, F features, n actions (in free play: nine buttons).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.agents.planning import Planner, make_planner
from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_tensors, write_atomically
from training.config import DistilConfig, record_config

PLANNER = "cem"  # one of `doom_dream_env.agents.planning.KINDS`
ROLLOUTS = 3  # of all dreams in each iteration; every one is kept when it is finished
# Dreams side by side, and steps of a rollout, which begins at real moments: DREAMS × HORIZON decisions.
DREAMS = 32
HORIZON = 48
# Share of the dreams in which the agent, not the planner, presses the buttons, from the second iteration on: the
# planner is asked about moments that the agent gets into (DAgger, arXiv 1011.0686).
LEARNER_SHARE = 0.5
EPOCHS = 30  # passes over all that was recorded
BATCH = 256
HIDDEN = (128, 128)  # widths of the agent's hidden layers
ACTIVATION = "Tanh"
FEATURES = "features"
DECISIONS = "decisions"
LAST_AGENT = "agent"  # folder below the run's


def train(config: DistilConfig) -> None:
    """Run all iterations."""
    model = shared_world_model(config.weights)
    home = config.out / model.fingerprint / config.scenario  # what other weights or worlds recorded is of no use here
    record_config(config, config.out / "distil.config.json")
    agent: Agent | None = None
    for iteration in range(config.iterations):
        folder = home / f"iteration-{iteration}"
        recorded = [record(config, model, agent, number, folder) for number in range(ROLLOUTS)]
        if not (folder / "agent.json").is_file():
            learn(config, model, home, iteration).save(folder)
        agent = Agent.load(folder, model.fingerprint)
        print(f"iteration {iteration}: {sum(recorded):,} decisions recorded, agent in {folder}", flush=True)
    assert agent is not None
    agent.save(config.out / LAST_AGENT)


def record(config: DistilConfig, model: WorldModel, agent: Agent | None, number: int, folder: Path) -> int:
    """Record one rollout of all dreams, if it is not there yet; returns its decisions.

    Args:
        config: settings of the stage.
        model: the dream.
        agent: proposes plans, and presses the buttons in a share of the dreams; None: nobody has learned yet.
        number: of the rollout.
        folder: of the iteration.
    """
    name = f"rollout-{number:03d}.safetensors"
    if not (folder / name).is_file():
        seed = config.seed + number + ROLLOUTS * int(folder.name.rpartition("-")[2])
        planner = make_planner(model, config.scenario, PLANNER, proposal=agent, seed=seed)
        if agent is not None:
            agent.generator = torch.Generator().manual_seed(seed)
        features, decisions = play(planner, agent, seed, f"{folder.name}, rollout {number}")
        write_atomically(folder / name, save({FEATURES: features, DECISIONS: decisions}))
    return len(read_tensors(folder, name)[FEATURES])


def play(planner: Planner, agent: Agent | None, seed: int, label: str) -> tuple[Tensor, Tensor]:
    """Play the dreams of one rollout.

    Returns:
        features (N · horizon, F), and what the planner would press in each moment: probabilities of the actions
        (N · horizon, n), in free play of the buttons.
    """
    scenario = planner.scenario
    clips = scenario.place in planner.model.context_clips
    dreams = DreamBatch(
        DREAMS,
        scenario,
        weights=planner.model,
        initial_states="anywhere" if clips else "episode_start",
    )
    dreams.reset(seed=seed)
    share = LEARNER_SHARE if agent is not None else 0.0
    learners = torch.arange(DREAMS) < round(share * DREAMS)
    features = []
    decisions = []
    for _ in progress(range(HORIZON), desc=label, leave=False):
        features.append(dreams.features)
        buttons = dreams.buttons(planner(dreams))
        believed = planner.newest.probabilities[:, 0]  # N, G, M
        decisions.append(believed[:, 0] if scenario.discrete else planner.groups.expected_buttons(believed))
        if agent is not None:
            buttons = torch.where(learners[:, None].to(dreams.device), dreams.buttons(agent(dreams)), buttons)
        dreams.step(buttons)
        if bool(dreams.done.any()):
            dreams.reset(dreams.done)
    return torch.cat(features).cpu().contiguous(), torch.cat(decisions).cpu().contiguous()


def learn(config: DistilConfig, model: WorldModel, home: Path, iteration: int) -> Agent:
    """An agent that has learned all that was recorded up to an iteration."""
    files = [path for number in range(iteration + 1) for path in sorted((home / f"iteration-{number}").glob("roll*"))]
    tensors = [read_tensors(path.parent, path.name) for path in files]
    scenario = get_scenario(config.scenario)
    network = fit(
        torch.cat([part[FEATURES] for part in tensors]),
        torch.cat([part[DECISIONS] for part in tensors]),
        HIDDEN,
        EPOCHS,
        buttons=not scenario.discrete,
        seed=config.seed,
    )
    about = {
        "algorithm": "expert iteration",
        "planner": PLANNER,
        "iterations": iteration + 1,
        "decisions": sum(len(part[FEATURES]) for part in tensors),
        "seed": config.seed,
    }
    card = AgentCard(scenario.name, model.fingerprint, model.source, ACTIVATION, about, buttons=not scenario.discrete)
    return Agent(card, network)


def fit(
    x: Tensor, y: Tensor, hidden: Sequence[int], epochs: int, *, buttons: bool = False, seed: int = 0
) -> nn.Sequential:
    """A network that has learned what somebody pressed, as an `Agent` takes it.

    Args:
        x: features (N, F).
        y: probabilities of the actions (N, n); with `buttons`, of each of the nine buttons (N, 9).
        hidden: widths of the hidden layers.
        epochs: passes over the samples.
        buttons: any of them are pressed together (free play).
        seed: of initial weights and order.
    """
    generator = torch.Generator().manual_seed(seed)
    network = make_network((x.shape[1], *hidden, y.shape[1]), ACTIVATION)
    for layer in network:
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            layer.bias.data.zero_()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    loss = F.binary_cross_entropy_with_logits if buttons else F.cross_entropy
    for _ in progress(range(epochs), desc="distil", leave=False):
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            loss(network(x[part]), y[part]).backward()
            optimiser.step()
    return network
