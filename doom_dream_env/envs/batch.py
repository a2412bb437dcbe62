"""Many dreams at once, torch in and torch out: the one engine behind every dream environment.

Legend: N environments, F features, D state width, V variables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.arguments import checked_temperature
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.isolation import isolated
from doom_dream_env.envs.saved import check_saved, check_state
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import Scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.trunk import Tape

INITIAL_STATES = ("episode_start", "anywhere")
CLIP_OPTIONS = ("frames", "actions", "variables")


class DreamBatch(LatentBatch):
    """N dreams in one batched model call; tensors stay on the model's device.

    Args:
        num_envs: N.
        scenario: name of the scenario, or the scenario itself.
        temperature: 0 … the mean next state, 1 the learned distribution; it can be set at any time.
        device: where the weights go, when they are loaded here.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.
        initial_states: "episode_start": the first moments of real episodes; "anywhere": moments from all over them,
            with the dozen steps before, from which short dreams are truest.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
        map: of free play: whose initial states to dream from.
        wad: a WAD of the user's own, where the map is from there.
    """

    per_episode_seeds = False

    def __init__(
        self,
        num_envs: int,
        scenario: str | Scenario = "take_cover",
        *,
        temperature: float = 1.0,
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        initial_states: str = "episode_start",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        self.initial_states = initial_states
        super().__init__(
            num_envs,
            scenario,
            device=device,
            weights=weights,
            max_episode_steps=max_episode_steps,
            map=map,
            wad=wad,
        )
        name = self.scenario.name
        if self.known_scenario is None:
            known = ", ".join(self.model.config.scenarios)
            raise UserError(f"these weights know {known}, not {name!r}: play it with RealDoom-v0, or train on it")
        if initial_states not in INITIAL_STATES:
            choices = ", ".join(INITIAL_STATES)
            raise UserError(f"initial_states {initial_states!r} is unknown; choose from {choices}")
        if initial_states == "anywhere" and self.scenario.place not in self.model.context_clips:
            known = ", ".join(self.model.context_clips) or "nothing"
            raise UserError(
                f"these weights carry no clips of {self.scenario.place!r}, only of {known}; "
                "use initial_states='episode_start'"
            )
        self.temperature = temperature
        self.generator = torch.Generator(self.device)
        self.generator.seed()
        self._tape = Tape()
        self._first: DreamState | None = None  # dreams that begin at each of the initial states

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_tape": Tape(), "_first": None}

    @property
    def temperature(self) -> float:
        """Temperature of all dreams, from the next step on."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature = checked_temperature(value)

    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> None:
        if unknown := set(options or ()) - set(CLIP_OPTIONS):
            names = ", ".join(sorted(unknown))
            raise UserError(f"reset options {names} are unknown; use {', '.join(CLIP_OPTIONS)}")
        if options and "frames" not in options:
            raise UserError("reset options actions and variables belong to a clip: give its frames too")
        if isinstance(seed, Sequence):
            raise UserError("dreams share one generator: give one seed for all of them, not a list")
        if seed is not None:
            self.generator.manual_seed(seed)
            self._forget_pictures(seed)
        count = int(envs.sum())
        new = self._observed(options, count) if options else self._drawn(count)
        self._put(envs, new)

    def _drawn(self, count: int) -> DreamState:
        """`count` dreams from real moments that the weights carry, drawn at random."""
        place = self.scenario.place
        if self.initial_states == "anywhere":
            clips = self.model.context_clips[place]
            chosen = self._draw(len(clips[0]), count)
            z, actions, variables, elapsed = (part[chosen] for part in clips)
            scenario = self.model.scenario_index(self.scenario.name, count)
            return self.model.prefill(z, actions, variables, scenario, elapsed)
        if place not in self.model.initial_states:
            known = ", ".join(self.model.initial_states) or "nothing"
            raise UserError(
                f"these weights carry no initial states of {place!r}, only of {known}; "
                "reset with options={'frames': ...} to dream from a clip of it"
            )
        if self._first is None:  # all of them at once: of hundreds of dreams a few begin anew at every step
            z, variables = self.model.initial_states[place]
            self._first = self.model.begin(z, variables, self.model.scenario_index(self.scenario.name, len(z)))
        return self._first[self._draw(len(self._first), count)]

    def _draw(self, size: int, count: int) -> Tensor:
        return torch.randint(size, (count,), generator=self.generator, device=self.device)

    def _observed(self, clip: dict[str, Any], count: int) -> DreamState:
        """`count` dreams that all go on from one real clip."""
        frames = np.asarray(clip["frames"])
        if frames.ndim != 4 or not len(frames):
            raise UserError(f"frames must have shape (T, 120, 160, 3) with T of 1 or more, got {frames.shape}")
        actions = clip.get("actions")
        if actions is None:
            actions = np.zeros((len(frames) - 1, 9))
        pressed = np.asarray(actions, np.float32)[None]
        variables = clip.get("variables")
        values = None if variables is None else np.asarray(variables, np.float32)[None]
        start = len(frames) == 1
        one = self.model.observe(frames[None], pressed, None, values, self.scenario.name, start)
        return one.map(lambda x: x.expand(count, *x.shape[1:]).clone())

    def _advance(self, buttons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._state, reward, continues = self.model.imagine(
            self._running(), buttons, self.temperature, self.generator, tape=self._tape
        )
        if self.temperature > 0:
            terminated = torch.rand(self.num_envs, generator=self.generator, device=self.device) >= continues
        else:
            terminated = continues < 0.5
        self._continues = continues
        return reward, terminated, torch.zeros_like(terminated)

    @isolated
    def resume(self, state: DreamState, steps: int) -> Tensor:
        """Go on from a given state in all environments.

        Args:
            state: N dreams.
            steps: how many steps ago their episodes began.

        Returns:
            features (N, F).

        Raises:
            ValueError: if it holds another number of dreams, is of another scenario or of other shapes than the weights
                make, or is not finite.
        """
        check_state(state, self._like, self.model.config.scenarios)
        self._go_on(state, torch.full_like(self.steps, steps), torch.zeros_like(self.done))
        return self.features

    def _go_on(self, state: DreamState, steps: Tensor, done: Tensor) -> None:
        self.state = state.to(self.device).clone()
        self.steps = steps.to(self.device).clone()
        self.done = done.to(self.device).clone()
        self._begun = True
        self._forget_pictures(seed=0)

    @isolated
    def get_state(self) -> dict[str, Any]:
        """A copy of everything that decides how the dreams go on.

        Raises:
            RuntimeError: before the first reset.
        """
        return self._saved(self._running().clone())

    def _saved(self, state: DreamState) -> dict[str, Any]:
        return {
            "state": state,
            "steps": self.steps.clone(),
            "done": self.done.clone(),
            "generator": self.generator.get_state(),
            "scenario": self.scenario.name,
            "fingerprint": self.model.fingerprint,
        }

    @functools.cached_property
    def _like(self) -> DreamState:
        """N dreams as these weights make them, to compare given ones with."""
        config = self.model.config
        z = torch.zeros(1, config.state_width, device=self.device)
        variables = torch.zeros(1, len(config.variables), device=self.device)
        one = self.model.begin(z, variables, self.model.scenario_index(self.scenario.name, 1))
        return one.map(lambda tensor: tensor.expand(self.num_envs, *tensor.shape[1:]))

    @isolated
    def set_state(self, saved: dict[str, Any]) -> Tensor:
        """Go back to what `get_state` returned; returns the features.

        Raises:
            ValueError: if it is no saved dream, a damaged one, or one of other weights, of another scenario or of
                another number of environments. Nothing has changed then.
        """
        check_saved(saved, self._saved(self._like), self.model.config.scenarios)
        self._go_on(saved["state"], saved["steps"], saved["done"])
        self.generator.set_state(saved["generator"].cpu())
        return self.features
