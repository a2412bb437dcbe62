"""Stage clone: an action policy that presses what skilled players press, one network for all scenarios.

    python -m training clone --weights nano --data data --out runs/clone
    python -m training clone --weights nano --scenarios take_cover basic --steps 1500 --rounds 2

It learns from recorded episodes of the scripted teachers first; in free play, where these go by a map that no picture
shows, from episodes of a player who walks by sight, which are played now on all maps but a few. Then, in each of
`--rounds`, it plays the real game and the teacher, which sees more, says in every step what it would press: so the
policy meets its own mistakes, and cannot take its own actions for evidence of what the teacher saw. `<out>/policy` is
the policy, `<out>/cloning.md` its scores. What is recorded stays in `<out>/advice`: a killed run goes on when the same
command is given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.action_policy import SIZES, ActionPolicy, ActionPolicyConfig, PolicyNetwork
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scenarios.wads import maps_in, shipped_wad
from doom_dream_env.seeds import CLONING
from doom_dream_env.world_model import WorldModel
from training.config import CloneConfig
from training.config.clone import UNSEEN_MAPS
from training.data.advice import Advice, record_advice, recorded_advice
from training.data.dataset import Dataset
from training.engine.compute import compute_init, seeded
from training.engine.fit import Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.evaluation.cloning import score_clone
from training.models.cloning import AdvisedWindows, Rows, cloning_loss, draw_windows
from training.players.roster import ADVISERS, TEACHERS

CHECKPOINT = "clone.safetensors"
POLICY = "policy"
ADVICE = "advice"
WEIGHT_DECAY = 0.02
RANDOM_STREAM = 23  # tells this stage's random numbers from those of others with the same seed
SEEDS_OF_A_ROUND = 500
WINDOW = 24  # steps
ROUND_ENVS = 8  # games at once
TEACHER_SHARE = 0.3  # of a round's steps that the teacher plays itself, in turns
STEPS_OF_A_MAP = 1000  # of free play in a round, at least: fewer steps are played on fewer maps, every round on others


def train(config: CloneConfig) -> None:
    """Run the stage, or go on with it.

    Raises:
        ValueError: if the weights do not know a scenario, or nobody plays one well.
    """
    compute = compute_init(config.device, config.threads)
    model = WorldModel.from_pretrained(config.weights, compute.device)
    scenarios = [get_scenario(name) for name in config.scenarios]
    model.scenario_index([s.name for s in scenarios], len(scenarios))  # refuses what the weights do not know
    network = new_network(config, model, scenarios).to(compute.device)
    optimiser = Optimiser(network, "muon", config.lr, config.steps, WEIGHT_DECAY)
    log = RunLog(config.out / "clone", compute)
    rows = Rows(scenarios, compute.device)
    advice = [first_advice(config, model, scenario) for scenario in scenarios]
    for phase in range(config.rounds + 1):
        if phase:
            policy = ActionPolicy(network, generator=seeded(config.seed, RANDOM_STREAM, phase))
            more = [next_advice(config, model, scenario, policy, phase) for scenario in scenarios]
            advice = [Advice.cat(parts) for parts in zip(advice, more, strict=True)]
            network.requires_grad_(True)

        def fetch(step: int, learned: list[Advice]) -> AdvisedWindows:
            rng = np.random.default_rng((config.seed, RANDOM_STREAM, step))
            windows = draw_windows(learned, config.batch, WINDOW, network.config.ahead, rng)
            return windows.to(compute.device)

        def step_loss(step: int, windows: AdvisedWindows) -> tuple[Tensor, Numbers]:
            return cloning_loss(network, windows, rows, seeded(config.seed, RANDOM_STREAM, step))

        fit(
            name=f"clone, round {phase}" if phase else "clone",
            module=network,
            optimiser=optimiser,
            steps=config.steps * (phase + 1) // (config.rounds + 1),
            compute=compute,
            fetch=partial(fetch, learned=advice),
            step_loss=step_loss,
            path=config.out / CHECKPOINT,
            about={"fingerprint": model.fingerprint, "preset": config.preset, "scenarios": list(config.scenarios)},
            log=log,
            progress_keys=("nats",),
        )
    policy = ActionPolicy(network)
    policy.save(config.out / POLICY)
    print(f"the policy is in {config.out / POLICY}", flush=True)
    if config.score_episodes:
        score_clone(policy, model, scenarios, config.score_episodes, config.out, config.first_seed)


def new_network(config: CloneConfig, model: WorldModel, scenarios: Sequence[Scenario]) -> PolicyNetwork:
    """A policy with random weights."""
    torch.manual_seed(config.seed)
    about = ActionPolicyConfig(
        feature_width=model.config.feature_width,
        scenarios=tuple(scenario.name for scenario in scenarios),
        fingerprint=model.fingerprint,
        weights=model.source,
        training={name: getattr(config, name) for name in ("steps", "first_steps", "rounds", "round_steps")},
        **SIZES[config.preset],
    )
    return PolicyNetwork(about)


# ---- advice ----------------------------------------------------------------------------------------------------------


def first_advice(config: CloneConfig, model: WorldModel, scenario: Scenario) -> Advice:
    """Recorded episodes of a scenario as the policy sees them; where its adviser was never recorded, it plays now."""
    if ADVISERS.get(scenario.name) is not TEACHERS.get(scenario.name):
        about = {"steps": str(config.first_steps)}
        return kept_advice(
            config, model, f"{scenario.name}-round-0", about, partial(played_advice, config, model, scenario, 0)
        )

    def encoded() -> Advice:
        data = Dataset(config.data, (scenario.name,), "train", keep_frames=False)
        return recorded_advice(model, data, config.behaviours)

    about = {"data": str(config.data), "behaviours": " ".join(config.behaviours)}
    return kept_advice(config, model, f"{scenario.name}-recorded", about, encoded)


def next_advice(
    config: CloneConfig, model: WorldModel, scenario: Scenario, policy: ActionPolicy, number: int
) -> Advice:
    """What the adviser says to the policy's play in round `number`.

    Raises:
        ValueError: if the scenario has no adviser.
    """
    if scenario.name not in ADVISERS:
        raise UserError(f"nobody can teach {scenario.name}; use --rounds 0, or leave it out of --scenarios")
    about = {"steps": str(config.round_steps), "teacher": str(TEACHER_SHARE)}
    make = partial(played_advice, config, model, scenario, number, policy)
    return kept_advice(config, model, f"{scenario.name}-round-{number}", about, make)


def kept_advice(
    config: CloneConfig, model: WorldModel, name: str, about: dict[str, str], make: Callable[[], Advice]
) -> Advice:
    """Advice of this name and kind from the stage's folder; if there is none, it is made and kept there."""
    path = config.out / ADVICE / f"{name}.safetensors"
    about = {"fingerprint": model.fingerprint} | about
    found = Advice.read(path, about)
    if found is None:
        found = make()
        found.write(path, about)
    return found


def played_advice(
    config: CloneConfig, model: WorldModel, scenario: Scenario, number: int, policy: ActionPolicy | None = None
) -> Advice:
    """Advice to play of now; in free play on several maps, one after the other.

    Args:
        config: of the stage.
        model: whose features are recorded.
        scenario: what is played.
        number: of the round, which says the seeds and the maps.
        policy: who plays when the adviser does not; None: the adviser always plays.
    """
    steps, share = (config.first_steps, 1.0) if policy is None else (config.round_steps, TEACHER_SHARE)
    seeds: Iterator[int] = count(CLONING + SEEDS_OF_A_ROUND * number)
    played = [scenario]
    if scenario.map is not None:
        shipped = [name for first in ("E1M1", "MAP01") for name in maps_in(shipped_wad(first))]
        maps = [name for name in shipped if name not in UNSEEN_MAPS]
        several = min(max(steps // STEPS_OF_A_MAP, 1), len(maps))
        played = [get_scenario(scenario.name, maps[(several * number + i) % len(maps)]) for i in range(several)]
    each = -(-steps // len(played))
    return Advice.cat([record_advice(model, one, each, ROUND_ENVS, seeds, policy, share) for one in played])
