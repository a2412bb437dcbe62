"""Steps as a policy sees them, and what a teacher would press there: what behaviour cloning learns from.

A scripted teacher looks at what no frame shows. Who clones its episodes alone learns to take its own last actions for
evidence of what the teacher saw ("delusions", arXiv 2110.10819), and meets states that the teacher never gets into.
The remedy for both is to let somebody else play and to ask the teacher all the same (DAgger, arXiv 1011.0686).

Legend: N rows, F features, B windows, T steps, K actions ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.errors import UserError
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_checked, write_checked
from training.data.batch import make_batch
from training.data.dataset import Dataset
from training.data.latents import AT_ONCE, embed_window
from training.players.base import PlayerPolicy
from training.players.roster import ADVISERS

HOLD = 20.0  # steps; mean time after which it is drawn anew who plays


@dataclass(frozen=True)
class Advice:
    """Recorded steps, whole episodes or beginnings of some, one after the other.

    Attributes:
        features: what an agent sees, float16 (N, F).
        pressed: what was pressed there, uint8 (N, 9).
        advised: what the teacher would have pressed, uint8 (N, 9).
        first, last: first and last row of the row's episode, int64 (N,).
    """

    features: Tensor
    pressed: Tensor
    advised: Tensor
    first: Tensor
    last: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @staticmethod
    def cat(parts: Sequence[Advice]) -> Advice:
        """One after the other."""
        begins = np.cumsum([0, *(len(part) for part in parts)])[:-1].tolist()
        return Advice(
            torch.cat([part.features for part in parts]),
            torch.cat([part.pressed for part in parts]),
            torch.cat([part.advised for part in parts]),
            torch.cat([part.first + begin for part, begin in zip(parts, begins, strict=True)]),
            torch.cat([part.last + begin for part, begin in zip(parts, begins, strict=True)]),
        )

    def write(self, path: Path, about: dict[str, str]) -> None:
        """Write it, with what the file says of itself."""
        write_checked(path, {field.name: getattr(self, field.name) for field in fields(self)}, about)

    @classmethod
    def read(cls, path: Path, about: dict[str, str]) -> Advice | None:
        """Read it; None if there is no such file, or one that is damaged or says something else of itself."""
        try:
            found, tensors = read_checked(path)
        except (FileNotFoundError, ValueError):
            return None
        return cls(**tensors) if about.items() <= found.items() else None


# ---- from the dataset ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def recorded_advice(model: WorldModel, data: Dataset, behaviours: Sequence[str]) -> Advice:
    """Episodes of a dataset whose players know what they do: what they pressed is what they advise.

    Args:
        model: whose features the policy sees.
        data: recorded steps of one scenario or several that the model knows.
        behaviours: of the episodes that are taken.

    Raises:
        ValueError: if there is none.
    """
    chosen = np.isin(data.behaviour, behaviours)
    if not chosen.any():
        raise UserError(
            f"nobody in the data of {', '.join(data.names)} plays {' or '.join(behaviours)}, "
            f"only {', '.join(sorted(set(data.behaviour)))}; choose --behaviours of those"
        )
    rows = np.flatnonzero(chosen)
    known = np.array([model.config.scenarios.index(name) for name in data.names])
    z: dict[int, Tensor] = {}
    with progress(total=len(rows), desc="encode", unit="frame", leave=False) as bar:
        for part in np.array_split(rows, len(rows) // AT_ONCE + 1):
            z |= dict(zip(part.tolist(), model.encode(data.frames(part)[None])[0].half().cpu(), strict=True))
            bar.update(len(part))
    features = []
    begins = np.unique(data.first[rows])
    for begin in begins:
        episode = np.arange(begin, data.last[begin] + 1)
        batch = make_batch(data, np.array([begin]), len(episode), model.device, frames=False)
        states = torch.stack([z[row] for row in episode.tolist()]).to(model.device).float()
        scenario = torch.from_numpy(known[data.scenario[[begin]]]).to(model.device)
        h = model.trunk(embed_window(model, states[None], batch, scenario))[0]
        features.append(torch.cat([states, h, batch.variables[0] / model.scales], -1).half().cpu())
    pressed = torch.from_numpy(data.actions[rows])
    lengths = torch.tensor([len(part) for part in features])
    return Advice(torch.cat(features), pressed, pressed.clone(), *edges(lengths))


def edges(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """First and last row of each row's episode, (N,) each, from the lengths of the episodes."""
    ends = lengths.cumsum(0)
    return torch.repeat_interleave(ends - lengths, lengths), torch.repeat_interleave(ends - 1, lengths)


# ---- from the game ---------------------------------------------------------------------------------------------------


def record_advice(
    model: WorldModel,
    scenario: Scenario,
    steps: int,
    num_envs: int,
    seeds: Iterator[int],
    policy: ActionPolicy | None = None,
    teacher_share: float = 1.0,
) -> Advice:
    """Play the real game and ask the scripted adviser, which sees the game's own objects, in every step.

    Args:
        model: whose features are recorded.
        scenario: one with an adviser.
        steps: how many, all games together.
        num_envs: games at once.
        seeds: of the episodes.
        policy: who plays when the teacher does not; None: the teacher always plays.
        teacher_share: of the steps that the teacher plays, in turns of about `HOLD` steps.
    """
    make = ADVISERS[scenario.name]
    teacher = PlayerPolicy(lambda rng: make(scenario, rng))
    rng = np.random.default_rng(next(seeds))
    real = RealBatch(num_envs, scenario.name, privileged=True, weights=model, map=scenario.map)
    seen, pressed, advised, ended = [], [], [], []
    shape = (-(-steps // num_envs), num_envs)
    teaches = np.ones(num_envs, bool)
    try:
        real.reset(seed=[next(seeds) for _ in range(num_envs)])
        for _ in progress(range(shape[0]), desc=f"{scenario.name}, teacher", unit="step", leave=False):
            advice = real.buttons(teacher(real))
            buttons = advice
            if policy is not None:
                drawn = rng.random(num_envs) < 1 / HOLD
                teaches = np.where(drawn, rng.random(num_envs) < teacher_share, teaches)
                buttons = torch.where(torch.from_numpy(teaches).to(advice.device)[:, None], advice, policy(real))
                policy.press(real, buttons)
            seen.append(real.features.half().cpu())
            pressed.append(buttons.to("cpu", torch.uint8))
            advised.append(advice.to("cpu", torch.uint8))
            real.step(buttons)
            ended.append(real.done.cpu().clone())
            if bool(real.done.any()):
                real.reset(real.done, seed=[next(seeds) for _ in range(int(real.done.sum()))])
    finally:
        real.close()
    done = torch.stack(ended)
    done[-1] = True
    nothing = torch.tensor([-1])
    lengths = torch.cat([column.nonzero()[:, 0].diff(prepend=nothing) for column in done.T])
    columns = [torch.stack(part).transpose(0, 1).flatten(0, 1).contiguous() for part in (seen, pressed, advised)]
    return Advice(columns[0], columns[1], columns[2], *edges(lengths))
