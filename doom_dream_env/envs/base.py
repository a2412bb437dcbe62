"""What every batch of environments has in common: torch tensors in and out, one clock, one way to say who has ended.

Legend: N environments, n actions of the scenario, F features, V variables, D state width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.arguments import checked_count, checked_device, checked_mask, checked_seed
from doom_dream_env.envs.drawing import Drawing
from doom_dream_env.envs.isolation import isolated
from doom_dream_env.envs.weights import WeightsReference, shared_world_model
from doom_dream_env.errors import UserError
from doom_dream_env.processes import playing
from doom_dream_env.scenarios import BUTTONS, Scenario, get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.checks import within
from doom_dream_env.world_model.threads import AdaptiveThreads, at_most

FEATURE_LIMIT = 10.0  # features are clipped to ± this; a standard Gaussian never gets there
INDEX_TYPES = tuple(getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))


class EnvBatch(ABC):
    """N environments of one scenario, stepped together.

    Ended environments are not reset by themselves: call `reset` with a mask of them. What the methods return is the
    caller's own: ordinary tensors, free of gradients, that a network can learn from and that may be changed in place.

    Args:
        num_envs: N.
        scenario: name of the scenario, or the path of a ViZDoom configuration, or the scenario itself.
        device: where the tensors are; "auto": on the GPU where there is one.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
        map: map of free play.
        wad: a WAD of the user's own for free play, as for `get_scenario`.

    Attributes:
        action_table: buttons of each action, float32 (n, 9).
        time_limit: steps after which an episode is truncated.
        steps: steps since each episode began, int64 (N,).
        done: which episodes have ended, bool (N,).
        seeds: the seed of each running episode; None where it has none of its own.
    """

    per_episode_seeds: ClassVar[
        bool
    ]  # games: every episode has a seed of its own; dreams are seeded once, all together

    def __init__(
        self,
        num_envs: int,
        scenario: str | Scenario = "take_cover",
        *,
        device: str | torch.device = "cpu",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        num_envs = checked_count("num_envs", num_envs)
        limit = None if max_episode_steps is None else checked_count("max_episode_steps", max_episode_steps)
        self.num_envs = num_envs
        self.scenario = get_scenario(scenario, map, wad)
        self.device = checked_device(device)
        self.action_table = torch.from_numpy(self.scenario.action_table()).to(self.device, torch.float32)
        self.time_limit = min(self.scenario.time_limit, limit or self.scenario.time_limit)
        self.steps = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.done = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.seeds: list[int | None] = [None] * num_envs
        self._begun = False
        playing.set()
        self._pressed = torch.zeros(num_envs, len(BUTTONS), device=self.device)  # in the last step
        self._torch_threads = AdaptiveThreads()

    # ---- what each kind of environment says for itself -------------------------------------------------------------

    @property
    @abstractmethod
    def features(self) -> Tensor:
        """What an agent sees now, float32 (N, F)."""

    def _sight(self) -> Tensor:
        """What `reset` and `step` return first."""
        return self.features

    @abstractmethod
    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> None:
        """Begin new episodes in the environments of the mask (N,)."""

    @abstractmethod
    def _advance(self, buttons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step all environments; returns reward, terminated and truncated, (N,) each."""

    # ---- what all have -----------------------------------------------------------------------------------------------

    @isolated
    def reset(
        self,
        envs: Tensor | np.ndarray | None = None,
        seed: int | Sequence[int] | np.ndarray | None = None,
        options: dict[str, Any] | None = None,
    ) -> Tensor:
        """Begin new episodes, in all environments or in those of a boolean mask (N,).

        Args:
            envs: which environments; None (and the first time): all.
            seed: dreams share one generator, which this number seeds. Games take a list, one seed for each episode to
                begin, or one number from which all seeds are drawn from now on (of a single game, its own seed).
                None: random numbers and seeds go on.
            options: of dreams alone, a real clip that all of them go on from: `{"frames": uint8 (T, 120, 160, 3),
                "actions": (T − 1, 9), "variables": (T, V)}`, the latter two optional. None: dreams begin at one of the
                real moments that the weights carry, drawn at random.

        Returns:
            features (N, F) of all environments; (N, 0) where nothing is encoded.

        Raises:
            ValueError: on a mask, seeds or options that do not fit, or if the weights carry no initial states of the
                scenario.
        """
        if envs is not None:
            envs = checked_mask(envs, self.num_envs, self.device)
        if envs is None or not self._begun:
            envs = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        with at_most(1), torch.inference_mode():  # few environments begin at once
            self._begin(envs, checked_seed(seed), options)
        self._begun = True
        self.steps = torch.where(envs, 0, self.steps)
        self.done = self.done & ~envs
        return self._sight()

    @isolated
    def step(self, actions: Tensor | np.ndarray, *, allow_ended: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one step in every environment.

        Args:
            actions: indices (N,) into the scenario's action table, or buttons (N, 9).
            allow_ended: step along what has ended already. It earns nothing, does not end again, and stays to be reset.

        Returns:
            features (N, F), reward (N,), terminated (N,), truncated (N,); never the latter two together.

        Raises:
            RuntimeError: before the first reset, or while an environment has ended and was not reset.
            ValueError: on actions of another shape or out of range.
        """
        if not self._begun:
            raise RuntimeError("step() before reset(): call reset() first")
        ended = self.done
        if not allow_ended and bool(ended.any()):
            which = ended.nonzero()[:, 0].tolist()
            raise RuntimeError(f"environments {which} have ended: reset them before the next step()")
        with self._torch_threads:
            buttons = self._pressed = self.buttons(actions)
            # In inference mode, which spares each of a step's many small operations a little (7 % of a step of one
            # dream). Its tensors are no good for learning, so those handed out are copies.
            with torch.inference_mode():
                results = self._advance(buttons)
            reward, terminated, truncated = (tensor.clone() for tensor in results)
            self.steps = self.steps + 1
            terminated = terminated & ~ended
            truncated = (truncated | (self.steps >= self.time_limit)) & ~terminated & ~ended
            self.done = ended | terminated | truncated
            return self._sight(), reward.masked_fill(ended, 0.0), terminated, truncated

    def buttons(self, actions: Tensor | np.ndarray) -> Tensor:
        """Buttons, float32 (N, 9), of action indices (N,), or of buttons (N, 9) as they are.

        Raises:
            ValueError: on another shape, an index out of range, or buttons that are neither 0 nor 1.
        """
        chosen = torch.as_tensor(actions, device=self.device).detach()
        shape = (self.num_envs, len(BUTTONS))
        if chosen.ndim == 2:
            if tuple(chosen.shape) != shape:
                raise UserError(f"actions must be buttons of shape {shape}, got {tuple(chosen.shape)}")
            if not bool(((chosen == 0) | (chosen == 1)).all()):
                raise UserError("actions must be 0 (released) or 1 (pressed) for each of the nine buttons")
            return chosen.to(torch.float32)
        if tuple(chosen.shape) != (self.num_envs,) or chosen.dtype not in INDEX_TYPES:
            found = f"{chosen.dtype} of shape {tuple(chosen.shape)}"
            raise UserError(f"actions must be {self.num_envs} ints, or buttons of shape {shape}, got {found}")
        chosen = chosen.long()
        if not self.scenario.discrete:
            raise UserError(f"{self.scenario.name} takes nine 0/1 buttons, shape {shape}, not indices")
        last = len(self.action_table) - 1
        if not within(chosen, 0, last):
            raise UserError(f"actions must be in 0…{last} in {self.scenario.name}, got {chosen.tolist()}")
        return self.action_table[chosen]

    def close(self) -> None:  # noqa: B027  most have nothing to close
        """Stop what runs outside this process's memory."""


class LatentBatch(EnvBatch):
    """Environments that are seen through a world model, dreamed or real.

    Args:
        num_envs, scenario, max_episode_steps, map, wad: as for `EnvBatch`.
        device: where the weights go, when they are loaded here.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.

    Attributes:
        model: the world model.
        known_scenario: the scenario as the weights know it; None where they do not, which means neutral heads.
    """

    def __init__(
        self,
        num_envs: int,
        scenario: str | Scenario = "take_cover",
        *,
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        self.model = shared_world_model(weights, checked_device(device))
        super().__init__(
            num_envs, scenario, device=self.model.device, max_episode_steps=max_episode_steps, map=map, wad=wad
        )
        name = self.scenario.name
        self.known_scenario = name if name in self.model.config.scenarios else None
        self._state: DreamState | None = None
        self._picture_threads = AdaptiveThreads()
        self._drawing = Drawing(self.model)
        self._drawn_at: Tensor | None = None  # steps since each episode began when it was drawn
        self._features: tuple[DreamState, Tensor] | None = None  # of the state that they were computed from
        self._continues = torch.ones(self.num_envs, device=self.device)

    def __getstate__(self) -> dict[str, Any]:
        own = {
            "_state": self.state,
            "_features": None,
            "_continues": self.continues,
            "_drawing": None,
            "_drawn_at": None,
        }
        return self.__dict__ | {"model": WeightsReference(self.model)} | own

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values | {"model": values["model"].model})
        self._drawing = Drawing(self.model)

    @property
    def state(self) -> DreamState | None:
        """What the world model remembers of each episode, a copy; None before the first reset."""
        return None if self._state is None else self._state.clone()

    @state.setter
    def state(self, state: DreamState | None) -> None:
        self._state = state

    def _put(self, envs: Tensor, new: DreamState) -> None:
        """Go on from given states in the environments of the mask (N,)."""
        if self._state is None or len(new) == self.num_envs:
            self._state = new
        else:
            self._state.put_(envs.nonzero()[:, 0], new)
            self._features = None

    def _running(self) -> DreamState:
        if self._state is None:
            raise RuntimeError("nothing has begun yet: call reset() first")
        return self._state

    @property
    @isolated
    def features(self) -> Tensor:
        """What an agent sees now, clipped to ± `FEATURE_LIMIT`, float32 (N, F).

        They are computed once: a policy that looks at what `step` has returned already costs no more than a copy.
        """
        state = self._running()
        if self._features is None or self._features[0] is not state:
            self._features = (state, self.model.features(state).clamp(-FEATURE_LIMIT, FEATURE_LIMIT))
        return self._features[1].clone()

    @isolated
    def pixels(self) -> Tensor:
        """The surest picture of every environment's state, uint8 (N, 120, 160, 3): what an agent sees."""
        with self._picture_threads:
            return self.model.decode(self._running())

    def _forget_pictures(self, seed: int | None = None) -> None:
        """The next pictures follow none; the seed repeats them."""
        self._drawn_at = None
        self._drawing.begin(seed)

    @isolated
    def drawn(self) -> Tensor:
        """What a person is shown of every environment, uint8 (N, 120, 160, 3): drawn given the picture before."""
        follows = None if self._drawn_at is None else self.steps == self._drawn_at + 1
        self._drawn_at = self.steps
        with self._picture_threads:
            return self._drawing.draw(self._running().z, self._pressed, follows)

    @property
    @isolated
    def variables(self) -> Tensor:
        """Game variables (N, V) in the game's units."""
        return self._running().variables.clone()

    @property
    @isolated
    def continues(self) -> Tensor:
        """Probability with which the last step let each episode go on, (N,): the dream's own; in a game 0 or 1.

        What a dream returns as `terminated` is a draw from it. Learners that weigh the future by it learn from less
        chance.
        """
        return self._continues.clone()

    @isolated
    def drift(self) -> Tensor:
        """|z|²/D − 1 of every environment, (N,): how far its state is from the Gaussian of real ones."""
        return self.model.drift(self._running())
