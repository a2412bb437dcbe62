"""The inverse dynamics model: gameplay pictures to keys, as in VPT (arXiv 2206.11795), small.

    python -m training collect --out runs/idmdata --scenarios freedoom --maps E1M1 E1M2 MAP01 ... --steps 100000
    python -m training collect --out runs/idmdata --scenarios freedoom --maps E2M2 MAP12 --steps 1000 --split val
    python -m training idm --data runs/idmdata --out runs/idm --threads 1
    python -m training idm --data runs/idmdata --films films/train --out runs/idm          # and from films
    python -m training idm-score --weights runs/idm/weights --data data

Learns from recorded play of free play, in two parts. The first steps teach the temporal transformer what keys make what
motion, from recorded motion alone, which is cheap. The others see pictures, which are made to look like other footage
while they are read (`training.data.augment`), and learn motion and keys. A run that was killed goes on when the
same command is given again. At last the costs with which keys are decoded are chosen on held-out play, and the weights
are written to `<out>/weights`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.idm import IDM_PRESETS, InverseDynamics
from doom_dream_env.idm.decoding import Floats, log_probabilities, viterbi
from doom_dream_env.idm.labels import CHAINS, Keys, from_chains, to_chains
from doom_dream_env.world_model.origins import FREEDOOM, together
from training.config import IDMTrainingConfig
from training.data.augment import Augmentation, augment
from training.data.dataset import Dataset
from training.data.key_windows import KeyWindows
from training.data.own_motion import MotionWindows
from training.engine.compute import Compute, compute_init
from training.engine.fit import Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.evaluation.key_events import key_scores
from training.models.idm_losses import IDMTrainingModel, KeyBatch, MotionBatch
from training.models.losses import weighted_sum

if TYPE_CHECKING:
    from training.footage.film_windows import FilmWindows

COSTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # nats; tried for each chain
WINDOW = 24  # frames
FILM_SHARE = 0.4  # of the windows, where there are films
AUGMENTATION = Augmentation()
# The first so many steps learn from recorded motion alone, what keys make it: windows of each such step, their length
# in steps, and the least and greatest standard deviation of noise on that motion, in units of a step of walking or
# turning, of which one is drawn for each window.
MOTION_STEPS = 400
MOTION_BATCH = 32
MOTION_WINDOW = 48
MOTION_NOISE = (0.02, 0.4)
EVENT_WEIGHT = 2.0  # of steps within one of a change of a key; others weigh 1
LOSS_WEIGHTS = {
    "keys": 1.0,  # cross-entropy of the keys, with all that comes before and after
    "keys_pair": 0.5,  # the same, read off two adjacent frames alone
    "motion": 2.0,  # the player's own motion (turn, forward, sideways), read off two adjacent frames
    "play": 0.2,  # is this frame play?
    "health": 0.1,  # Laplace likelihood of the health in the HUD
    "died": 0.2,  # does the player die in this step?
}
HELD_OUT_STEPS = 6_000  # recorded steps of the split val, for the scores along the way and the costs of decoding
LONGEST = 512  # steps of an episode that are scored along the way


def train(config: IDMTrainingConfig) -> None:
    """Run the stage, or go on with it; write the weights."""
    compute = compute_init(config.device, config.threads)
    torch.manual_seed(config.seed)
    model = IDMTrainingModel(InverseDynamics(IDM_PRESETS[config.preset]))
    model.to(compute.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    data = Dataset(config.data, config.scenarios, "train")
    data.require_annotations("the stage idm")
    held_out = Dataset(config.data, config.scenarios, "val", HELD_OUT_STEPS)
    windows = KeyWindows(data, WINDOW, AUGMENTATION.between_share, config.without)
    films = read_films(config)
    motions = MotionWindows(data, MOTION_WINDOW, MOTION_NOISE, config.without)
    log = RunLog(config.out / "idm", compute)

    def fetch(step: int) -> KeyBatch | MotionBatch:
        rng = np.random.default_rng((config.seed, step, compute.rank))
        if step < MOTION_STEPS:
            motion, actions = motions.draw(MOTION_BATCH, rng)
            chains = torch.from_numpy(to_chains(actions)).to(compute.device)
            return MotionBatch(torch.from_numpy(motion).to(compute.device), chains)
        filmed = rng.binomial(config.batch, FILM_SHARE) if films is not None else 0
        drawn = windows.draw(config.batch - filmed, rng)
        if films is not None:
            drawn += films.draw(filmed, rng)
        return KeyBatch.of([augment(window, AUGMENTATION, rng) for window in drawn], compute.device)

    def step_loss(step: int, batch: KeyBatch | MotionBatch) -> tuple[Tensor, Numbers]:
        if isinstance(batch, MotionBatch):
            terms = model.motion_losses(batch, EVENT_WEIGHT)
        else:
            with compute.autocast():
                terms = model.losses(batch, EVENT_WEIGHT)
        return weighted_sum(terms, LOSS_WEIGHTS), terms

    fit(
        name="idm",
        module=model,
        optimiser=Optimiser(model, "muon", config.lr, config.steps),
        steps=config.steps,
        compute=compute,
        fetch=fetch,
        step_loss=step_loss,
        path=config.out / "idm.safetensors",
        about={"preset": config.preset, "seed": config.seed},
        log=log,
        progress_keys=("keys", "motion"),
        on_checkpoint=lambda step: log.scalars(step, quick_scores(model.model, held_out, compute)),
    )
    if compute.main:
        finished = with_costs(model.model, held_out, compute)
        films_of = () if films is None else (FREEDOOM,)  # what `python -m training film` films
        finished.save_pretrained(config.out / "weights", together(data.origins, films_of))
        print(f"weights are in {config.out / 'weights'}; score them: python -m training idm-score")


def read_films(config: IDMTrainingConfig) -> FilmWindows | None:
    """The films to learn from, if there are any."""
    if config.films is None:
        return None
    from training.footage.film_windows import FilmWindows  # which loads PyAV

    return FilmWindows(config.films, WINDOW)


def quick_scores(model: InverseDynamics, data: Dataset, compute: Compute) -> dict[str, float]:
    """Event F1 and accuracy on held-out play, decoded without costs."""
    true, log_p = read_episodes(model, data, compute)
    scores = key_scores(true, decoded(log_p, model.config.switch_costs))
    return {"val/event_f1": scores.mean_f1, "val/accuracy": scores.accuracy}


@torch.no_grad()
def read_episodes(model: InverseDynamics, data: Dataset, compute: Compute) -> tuple[list[Keys], list[Floats]]:
    """The true keys (T, 9) of the beginning of each episode, and what the model says of its chains (T, 6, 3)."""
    training = model.training
    model.eval()
    true = []
    log_p = []
    for first in np.unique(data.first):
        rows = np.arange(first, min(data.last[first] + 1, first + LONGEST))
        frames = torch.from_numpy(data.frames(rows)).to(compute.device)
        with compute.autocast():
            output = model(frames[None])
        true.append(data.actions[rows])
        log_p.append(log_probabilities(output)[0])
    model.train(training)
    return true, log_p


def decoded(log_p: Sequence[Floats], costs: Sequence[float]) -> list[Keys]:
    """Keys of each episode, (T, 9)."""
    return [from_chains(viterbi(part, costs)) for part in log_p]


def with_costs(model: InverseDynamics, data: Dataset, compute: Compute) -> InverseDynamics:
    """The same model, with the costs of changing a chain that give the best event F1 on held-out play."""
    true, log_p = read_episodes(model, data, compute)
    costs = [0.0] * len(CHAINS)
    for chain in range(len(CHAINS)):  # SPEED comes last: which of it counts depends on the moves

        def f1(cost: float, chain: int = chain) -> float:
            tried = costs[:chain] + [cost] + costs[chain + 1 :]
            return float(np.nanmean(key_scores(true, decoded(log_p, tried)).f1))

        costs[chain] = max(COSTS, key=f1)
    chosen = InverseDynamics(dataclasses.replace(model.config, switch_costs=tuple(costs)))
    chosen.load_state_dict(model.state_dict())
    return chosen.to(compute.device).eval()
