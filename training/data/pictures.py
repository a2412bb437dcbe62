"""What the decoder learns from: states, real or dreamed, beside the codes of the frames that they should become.

Legend: N pictures of a step, M dreams, T moments of a dream, D state width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.progress import progress
from doom_dream_env.scenarios import VARIABLES
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import UNKNOWN
from training.data.batch import Rows, make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.ranks import Share

AMMUNITION = (VARIABLES.index("AMMO2"), VARIABLES.index("SELECTED_WEAPON_AMMO"))
SHOT_LASTS = 3  # steps up to the one in which the ammunition falls: in them the shot goes off or is about to
SHOT_SHARE = 0.12  # of the real states in which a shot goes off or is about to: in some scenarios once an episode
DREAM_SHARE = 0.5  # of the states that are dreamed
DREAMS = 6_000  # which those are from
DREAM_CONTEXT = 8  # real steps before a dream; half of the dreams begin where episodes do, after one real frame
DREAM_STEPS = 26  # of each dream
DREAMS_AT_ONCE = 200
SURE = 0.5  # confidence from which on what was read off a video counts as seen
DREAM_STREAM = 21  # tells the random numbers of dreams from others with the same seed


@dataclass(frozen=True)
class PictureBatch:
    """The pictures of one optimiser step.

    Attributes:
        z: states, (N, D).
        codes: what the pictures should be, (N, 24, 32).
        before: codes of the frame before; `UNKNOWN` where an episode begins, (N, 24, 32).
        other: codes of unrelated frames, with which those before are spoilt, (N, 24, 32).
        action: buttons pressed since then, float32 (N, 9).
        z_before: states of the moment before, of the same dream, (N, D).
        object_maps: 0/1 as float32 (N, 3, 12, 16).
        real: 1 where the state is a frame's own and 0 where it was dreamed, (N, 1).
    """

    z: Tensor
    codes: Tensor
    before: Tensor
    other: Tensor
    action: Tensor
    z_before: Tensor
    object_maps: Tensor
    real: Tensor

    def to(self, device: torch.device) -> PictureBatch:
        """Copy to a device."""
        return PictureBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Dreams:
    """Dreams that run beside a real game, under its actions.

    Attributes:
        rows: of the real moments, (M, T); −1 past the end of the episode.
        states: dreamed for them, the first one real, half precision (M, T, D).
    """

    rows: Rows
    states: Tensor


class PictureSampler:
    """Draws the pictures of a step, some of them dreamed.

    Frames with projectiles and monsters are drawn as they come: half of all frames have some. Shots are rare in some
    scenarios (one in an episode), so a share of the pictures is drawn from those that show one.
    """

    def __init__(self, data: Dataset, states: Tensor, codes: Tensor, dreams: Dreams | None, batch: int) -> None:
        """Prepare to draw.

        Args:
            data: the recorded steps.
            states: of all rows, (N of the data, D).
            codes: of their frames, int16 (N of the data, 24, 32).
            dreams: dreams beside them; None: real states alone.
            batch: pictures of a step.
        """
        self.data = data
        self.states = states
        self.codes = codes
        self.dreams = dreams
        self.batch = batch
        self.dreamed = int(DREAM_SHARE * batch) if dreams else 0
        self.groups = rows_by_scenario(data, np.arange(len(data)))
        self.shots = [group for group in rows_by_scenario(data, shot_rows(data)) if len(group)]
        if dreams:
            moments = np.argwhere(dreams.rows[:, 1:] >= 0) + (0, 1)  # pairs of dream and moment
            scenario = data.scenario[dreams.rows[moments[:, 0], 0]]
            self.moments = moments
            self.moment_groups = [found for n in range(len(data.names)) if len(found := np.flatnonzero(scenario == n))]

    def __call__(self, rng: np.random.Generator, share: Share | None = None) -> PictureBatch:
        """Draw the pictures of a step, and cut out a rank's share of them; None: all."""
        rows = sample_rows(self.groups, self.batch - self.dreamed, rng)
        replaced = np.flatnonzero(rng.random(len(rows)) < SHOT_SHARE)
        if self.shots:
            rows[replaced] = sample_rows(self.shots, len(replaced), rng)
        z = self.states[rows]
        z_before = self.states[self._row_before(rows)]
        if self.dreams:
            dream, moment = self.moments[sample_rows(self.moment_groups, self.dreamed, rng)].T
            rows = np.concatenate([rows, self.dreams.rows[dream, moment]])
            z = torch.cat([z, self.dreams.states[dream, moment]])
            z_before = torch.cat([z_before, self.dreams.states[dream, moment - 1]])
        real = np.arange(len(rows)) < len(rows) - self.dreamed
        here = share.slice if share else slice(None)
        order = rng.permutation(len(rows))[here]
        others = sample_rows(self.groups, len(rows), rng)[here]
        at = rows[order]
        previous = self._row_before(at)
        before = self.codes[previous].long()
        before[torch.from_numpy(previous == at)] = UNKNOWN
        action = torch.from_numpy(self.data.actions[previous] * (previous != at)[:, None]).float()
        return PictureBatch(
            z=z[order].float(),
            codes=self.codes[at].long(),
            before=before,
            other=self.codes[others].long(),
            action=action,
            z_before=z_before[order].float(),
            object_maps=torch.from_numpy(self.data.object_maps[at]).float(),
            real=torch.from_numpy(real[order, None]).float(),
        )

    def _row_before(self, rows: Rows) -> Rows:
        """The row before each, in the same episode; the row itself where that begins."""
        return np.maximum(rows - 1, self.data.first[rows])


def shot_rows(data: Dataset) -> Rows:
    """Rows that show a shot: the ammunition falls within `SHOT_LASTS` steps."""
    pairs = data.windows(2)
    ammunition = data.variables[:, AMMUNITION]
    fired = pairs[(ammunition[pairs + 1] < ammunition[pairs]).any(1)]
    shown = np.maximum(fired[:, None] + 1 - np.arange(SHOT_LASTS), 0)
    same_episode = data.last[shown] == data.last[fired][:, None]
    return np.unique(shown[same_episode])


@torch.inference_mode()
def dreams_beside(model: WorldModel, data: Dataset, states: Tensor, seed: int) -> Dreams | None:
    """Dreams beside a real game, under its actions; some begin in the middle of episodes, some at their first frame.

    Half of each follow the mean next state, half are drawn at temperature 1. None: the actions were read off videos and
    are too unsure.
    """
    rng = np.random.default_rng((seed, DREAM_STREAM))
    generator = torch.Generator(model.device).manual_seed(seed)
    length = DREAM_STEPS + 1
    rows = []
    dreamed = []
    pairs = data.windows(2)
    beginnings = pairs[data.beginnings()[pairs]]
    for context, windows in ((DREAM_CONTEXT, data.windows(DREAM_CONTEXT + 1)), (1, beginnings)):
        groups = [group for group in rows_by_scenario(data, windows) if len(group)]
        for done in progress(range(0, DREAMS // 2, DREAMS_AT_ONCE), desc="dreams", leave=False):
            first = sample_rows(groups, min(DREAMS_AT_ONCE, DREAMS // 2 - done), rng)
            batch = make_batch(data, first, context - 1 + length, model.device, frames=False)
            z = states[batch.rows[:, :context].cpu()].to(model.device).float()
            state = model.prefill(
                z, batch.actions[:, : context - 1], batch.variables[:, :context], batch.scenario, batch.elapsed
            )
            temperature = float(done // DREAMS_AT_ONCE % 2)
            moments = [state.z]
            for step in range(context - 1, context - 1 + DREAM_STEPS):
                state, _, _ = model.imagine(state, batch.actions[:, step], temperature, generator)
                moments.append(state.z)
            known = batch.known_rollout(context - 1, DREAM_STEPS) >= SURE
            following = torch.where(known, batch.rows[:, context:], -1)
            rows.append(torch.cat([batch.rows[:, context - 1 : context], following], 1).cpu())
            dreamed.append(torch.stack(moments, 1).half().cpu())
    found = torch.cat(rows).numpy()
    if not (found[:, 1:] >= 0).any():
        print("no dreamed pictures: hardly an action of the data is known; the decoder learns from real states alone")
        return None
    return Dreams(found, torch.cat(dreamed))
