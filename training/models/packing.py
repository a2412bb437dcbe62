"""From a dataset to a new model, and what of the dataset is packed into the weights.

Legend: N rows of the data, D state width.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.world_model import PRESETS, WorldModel, files
from doom_dream_env.world_model.config import ScenarioLimits
from doom_dream_env.world_model.manifold import Manifold
from doom_dream_env.world_model.origins import Origin, together
from training.data.dataset import Dataset
from training.data.pictures import SURE
from training.data.shard_checks import FOOTAGE
from training.models.losses import nearest_index
from training.models.training_model import TrainingModel

MOST_CHANGES = 48  # that a variable can make in one step
FREQUENT_REWARDS = 12  # of each scenario
REWARD_QUANTILES = 24  # of the rewards of a scenario beside the frequent ones
INITIAL_STATES = 128  # of each scenario, shared by its maps
CONTEXT_CLIPS = 128  # likewise
CLIP_STEPS = 12
LEAD = (2, 16)  # steps, shortest and longest, from the end of a clip to the hit or the end of the episode that follows
MANIFOLD_STATES = 50_000  # at most, of each scenario


# ---- a new model -----------------------------------------------------------------------------------------------------


def new_training_model(preset: str, data: Dataset, seed: int, init: str | None) -> TrainingModel:
    """A model of a preset's sizes for the scenarios of the data.

    Its weights are random but for what `init` (name or folder of weights) has: see `warm_start`.
    """
    deltas, rewards = supports(data)
    config = dataclasses.replace(
        PRESETS[preset],
        scenarios=tuple(data.names),
        known=tuple(tuple(map(bool, scenario.variable_mask())) for scenario in data.scenarios),
        deltas=deltas,
        rewards=rewards,
        limits=tuple(scenario_limits(data, scenario, rewards, deltas) for scenario in range(len(data.names))),
    )
    torch.manual_seed(seed)
    model = TrainingModel(config, data.places)
    model.readouts.calibrate(data)
    model.world_model.origins = all_origins((), data, init)
    if init:
        missing = warm_start(model.world_model, init)
        print(f"began from {init}; anew: {', '.join(missing) or 'nothing'}")
    return model


def with_limits(model: TrainingModel, data: Dataset) -> TrainingModel:
    """The model with the limits of other data (see `scenario_limits`), which may show more than those it began with."""
    config = model.world_model.config
    limits = [scenario_limits(data, index, config.rewards, config.deltas) for index in range(len(data.names))]
    limited = TrainingModel(dataclasses.replace(config, limits=tuple(limits)), model.places)
    limited.load_state_dict(model.state_dict())
    limited.world_model.origins = all_origins(model.world_model.origins, data)
    return limited.eval()


def all_origins(before: tuple[Origin, ...], data: Dataset, init: str | None = None) -> tuple[Origin, ...]:
    """Whose pictures a model was trained on, when it is trained on data and begins from other weights."""
    return together(before, files.origins_of(files.find_weights(init)) if init else (), data.origins)


def warm_start(model: WorldModel, folder: str) -> list[str]:
    """Copy all tensors of other weights that have the same name and shape; return the names of the rest.

    The other weights may know other scenarios: only their tensors are read.

    Args:
        model: what is to begin from them.
        folder: name or folder of the other weights.

    Raises:
        ValueError: if nothing fits.
    """
    found = files.read_weights(files.find_weights(folder))
    wanted = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    fitting = {
        key: found[key].float() for key, value in wanted.items() if key in found and found[key].shape == value.shape
    }
    if not fitting:
        raise UserError(f"nothing in {folder} fits these sizes; give weights of the same preset")
    model.load_state_dict(fitting, strict=False)
    return sorted(wanted.keys() - fitting.keys())


def supports(data: Dataset) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """The changes per variable and the rewards that the heads can predict, as seen in the data, ascending.

    Of a variable's changes and of each scenario's rewards, the most frequent ones are taken. Rewards that vary freely
    (the distance gained in deadly_corridor) are covered by quantiles, between which a two-hot code interpolates.
    """
    change = data.next_variables - data.variables
    deltas = []
    for variable in range(change.shape[1]):
        sure = data.known(variable) & (data.variables_confidence[:, variable] >= SURE)
        deltas.append(ascending(frequent(change[sure, variable], MOST_CHANGES)))
    rewards = []
    for scenario in range(len(data.names)):
        rewards += reward_support(data.rewards[data.scenario == scenario])
    return tuple(deltas), ascending(np.concatenate(rewards))


def reward_support(rewards: np.ndarray) -> list[np.ndarray]:
    """The frequent rewards (N,) of one scenario, and quantiles of the others if there are any."""
    common = frequent(rewards, FREQUENT_REWARDS)
    rest = rewards[~np.isin(rewards.round(4), common)]
    if not len(rest):
        return [common]
    return [common, np.quantile(rest, np.linspace(0, 1, REWARD_QUANTILES)).round(2)]


def scenario_limits(
    data: Dataset, scenario: int, support: tuple[float, ...], deltas: tuple[tuple[float, ...], ...]
) -> ScenarioLimits:
    """What the game did in the recorded play of one scenario (index).

    A scenario with few different rewards pays just those. Where they vary freely, every value of the support between
    the least and the greatest one is possible: a two-hot code of a reward lies on its two neighbours. A change that is
    none of the heads' `deltas` counts as the nearest one, here as in training: what was observed has to be possible.
    """
    here = data.scenario == scenario
    found = np.unique(data.rewards[here].round(4))
    values = np.array(support)
    if len(found) <= FREQUENT_REWARDS:
        possible = np.searchsorted(values, nearest(found, support))
    else:
        first = max(np.searchsorted(values, found[0], "right") - 1, 0)
        possible = np.arange(first, min(np.searchsorted(values, found[-1]), len(values) - 1) + 1)
    change = data.next_variables[here] - data.variables[here]
    counted = [nearest(change[:, index], values) for index, values in enumerate(deltas)]
    both = np.concatenate([data.variables[here], data.next_variables[here]])
    return ScenarioLimits(
        rewards=tuple(support[index] for index in possible),
        changes=tuple((float(values.min()), float(values.max())) for values in counted),
        variables=tuple(zip(both.min(0).tolist(), both.max(0).tolist(), strict=True)),
    )


def nearest(values: np.ndarray, support: tuple[float, ...]) -> np.ndarray:
    """The values of the support that are nearest to any of some values (N,)."""
    index = nearest_index(torch.from_numpy(np.unique(values)), torch.tensor(support, dtype=torch.float64))
    return np.array(support)[index.unique().numpy()]


def frequent(values: np.ndarray, most: int) -> np.ndarray:
    """The most frequent values, the most frequent one first, equal to four decimals."""
    found, counts = np.unique(values.round(4), return_counts=True)
    return found[np.argsort(-counts, kind="stable")[:most]]


def ascending(values: np.ndarray) -> tuple[float, ...]:
    """The different values in order; at least two, because a distribution over one value says nothing."""
    kept = np.unique(values)
    if len(kept) == 0:  # a variable that no scenario has
        kept = np.zeros(1)
    if len(kept) == 1:
        kept = np.array([kept[0], kept[0] + 1])
    return tuple(float(value) for value in kept)


# ---- what the weights take from the data -----------------------------------------------------------------------------


def fit_manifold(manifold: Manifold, data: Dataset, states: Tensor, seed: int) -> None:
    """Take in where the states (N, D) of each scenario are, and those of all scenarios for the unknown one."""
    rng = np.random.default_rng((seed, 13))
    unknown = len(data.names)
    for scenario in range(unknown + 1):
        rows = np.arange(len(data)) if scenario == unknown else np.flatnonzero(data.scenario == scenario)
        manifold.fit(scenario, states[rng.permutation(rows)[:MANIFOLD_STATES]])


def store_initial_states(model: WorldModel, data: Dataset, states: Tensor) -> None:
    """Give the model first frames and clips from anywhere in an episode, from which dreams can begin.

    Those of videos whose map is not known are for the scenario's own place, if nothing else was recorded of it.

    Args:
        model: its `initial_states` and `context_clips` are set.
        data: real episodes.
        states: of all its rows, (N, D).
    """
    begins = data.beginnings()
    names = np.unique(data.place_names).tolist()
    for name in names:
        here = data.place_names == name
        scenario = data.scenario[here][0]
        if name.endswith(f":{FOOTAGE}"):
            name = data.scenarios[scenario].place
            if name in names:
                continue
        maps = len(np.unique(data.place[data.scenario == scenario]))
        rng = np.random.default_rng(0)
        first = rng.permutation(np.flatnonzero(begins & here))[: INITIAL_STATES // maps]
        model.initial_states[name] = (states[first].float(), torch.from_numpy(data.variables[first]))
        last = last_rows_of_clips(data, here, CONTEXT_CLIPS // maps, rng)
        if len(last):
            model.context_clips[name] = clips_that_end_at(last, data, states)


def last_rows_of_clips(data: Dataset, here: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Where clips end: half of them shortly before a hit or the end of the episode, the others anywhere.

    What an agent most needs to learn happens in few of all moments.

    Args:
        data: recorded steps.
        here: which rows are of the place, bool (N,).
        count: how many clips, if there are enough.
        rng: what draws.
    """
    possible = (np.arange(len(here)) - data.first >= CLIP_STEPS - 1) & here
    hit = data.next_variables[:, 0] < data.variables[:, 0]
    happens = np.flatnonzero((data.terminated | hit) & here)
    shortest, longest = LEAD
    before = np.maximum(happens - rng.integers(shortest, longest + 1, len(happens)), 0)
    before = before[possible[before] & (data.last[before] == data.last[happens])]
    urgent = rng.permutation(np.unique(before))[: count // 2]
    anywhere = rng.permutation(np.setdiff1d(np.flatnonzero(possible), urgent))[: count - len(urgent)]
    return rng.permutation(np.concatenate([urgent, anywhere]))


def clips_that_end_at(last: np.ndarray, data: Dataset, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `CLIP_STEPS` steps up to each of some rows, as `WorldModel.context_clips` holds them."""
    rows = last[:, None] - np.arange(CLIP_STEPS)[::-1]
    return (
        states[torch.from_numpy(rows)].float(),
        torch.from_numpy(data.actions[rows[:, :-1]]).float(),
        torch.from_numpy(data.variables[rows]),
        torch.from_numpy(data.elapsed[rows[:, 0]]).float(),
    )
