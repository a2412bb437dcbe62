"""Many dreams at once, torch in and torch out: the one engine behind every dream environment.

Legend: N environments, F features, D state width, V variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.world_model import DreamState, WorldModel

INITIAL_STATES = ("episode_start", "anywhere")
CLIP_OPTIONS = ("frames", "actions", "variables")


class DreamBatch(LatentBatch):
    """N dreams in one batched model call; tensors stay on the model's device.

    Args:
        num_envs: N.
        scenario: name of the scenario.
        temperature: 0 … the mean next state, 1 the learned distribution.
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
        scenario: str = "take_cover",
        *,
        temperature: float = 1.0,
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        initial_states: str = "episode_start",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
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
            raise ValueError(f"these weights know {known}, not {name!r}: play it with RealDoom-v0, or train on it")
        if initial_states not in INITIAL_STATES:
            choices = ", ".join(INITIAL_STATES)
            raise ValueError(f"initial_states {initial_states!r} is unknown; choose from {choices}")
        if initial_states == "anywhere" and self.scenario.place not in self.model.context_clips:
            known = ", ".join(self.model.context_clips) or "nothing"
            raise ValueError(
                f"these weights carry no clips of {self.scenario.place!r}, only of {known}; "
                "use initial_states='episode_start'"
            )
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be a finite number, 0 or more, got {temperature!r}")
        self.initial_states = initial_states
        self.temperature = float(temperature)
        self.generator = torch.Generator(self.device)
        self.generator.seed()

    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> None:
        if unknown := set(options or ()) - set(CLIP_OPTIONS):
            names = ", ".join(sorted(unknown))
            raise ValueError(f"reset options {names} are unknown; use {', '.join(CLIP_OPTIONS)}")
        if options and "frames" not in options:
            raise ValueError("reset options actions and variables belong to a clip: give its frames too")
        if isinstance(seed, Sequence):
            raise ValueError("dreams share one generator: give one seed for all of them, not a list")
        if seed is not None:
            self.generator.manual_seed(int(seed))
        count = int(envs.sum())
        new = self._observed(options, count) if options else self._drawn(count)
        if self.temperature > 0:
            new = self.model.with_dropout(new, self.generator)
        self.state = new if self.state is None or count == self.num_envs else self.state.put(envs, new)

    def _drawn(self, count: int) -> DreamState:
        """`count` dreams from real moments that the weights carry, drawn at random."""
        place = self.scenario.place
        scenario = self.model.scenario_index(self.scenario.name, count)
        if self.initial_states == "anywhere":
            clips = self.model.context_clips[place]
            chosen = self._draw(len(clips[0]), count)
            z, actions, variables, elapsed = (part[chosen] for part in clips)
            return self.model.prefill(z, actions, variables, scenario, elapsed)
        if place not in self.model.initial_states:
            known = ", ".join(self.model.initial_states) or "nothing"
            raise ValueError(
                f"these weights carry no initial states of {place!r}, only of {known}; "
                "reset with options={'frames': ...} to dream from a clip of it"
            )
        z, variables = self.model.initial_states[place]
        chosen = self._draw(len(z), count)
        return self.model.begin(z[chosen], variables[chosen], scenario)

    def _draw(self, size: int, count: int) -> Tensor:
        return torch.randint(size, (count,), generator=self.generator, device=self.device)

    def _observed(self, clip: dict[str, Any], count: int) -> DreamState:
        """`count` dreams that all go on from one real clip."""
        frames = np.asarray(clip["frames"])
        if frames.ndim != 4 or not len(frames):
            raise ValueError(f"frames must have shape (T, 120, 160, 3) with T of 1 or more, got {frames.shape}")
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
        self.state, reward, continues = self.model.imagine(self._running(), buttons, self.temperature, self.generator)
        if self.temperature > 0:
            terminated = torch.rand(self.num_envs, generator=self.generator, device=self.device) >= continues
        else:
            terminated = continues < 0.5
        return reward, terminated, torch.zeros_like(terminated)

    def resume(self, state: DreamState, steps: int) -> Tensor:
        """Go on from a given state in all environments.

        Args:
            state: N dreams.
            steps: how many steps ago their episodes began.

        Returns:
            features (N, F).

        Raises:
            ValueError: if it holds another number of dreams.
        """
        if len(state) != self.num_envs:
            raise ValueError(f"this state holds {len(state)} dreams, there are {self.num_envs} environments")
        self.state = state.clone()
        self.steps = torch.full_like(self.steps, steps)
        self.done = torch.zeros_like(self.done)
        self._begun = True
        return self.features

    def get_state(self) -> dict[str, Any]:
        """A copy of everything that decides how the dreams go on.

        Raises:
            RuntimeError: before the first reset.
        """
        return {
            "state": self._running().clone(),
            "steps": self.steps.clone(),
            "done": self.done.clone(),
            "generator": self.generator.get_state(),
            "fingerprint": self.model.fingerprint,
        }

    def set_state(self, saved: dict[str, Any]) -> Tensor:
        """Go back to what `get_state` returned; returns the features.

        Raises:
            ValueError: if it belongs to other weights or another number of environments.
        """
        if saved["fingerprint"] != self.model.fingerprint:
            raise ValueError(
                f"this dream was saved with weights {saved['fingerprint']}, these are {self.model.fingerprint}"
            )
        self.resume(saved["state"], 0)
        self.steps = saved["steps"].clone()
        self.done = saved["done"].clone()
        self.generator.set_state(saved["generator"])
        return self.features
