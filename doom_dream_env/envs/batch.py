"""Many dreams at once, torch in and torch out: the one engine behind every dream environment.

Legend: N lanes, F features, D state width, V variables.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.files import find_weights

STARTS = ("beginnings", "anywhere")
FEATURE_LIMIT = 10.0  # features are clipped to ± this; a standard Gaussian never gets there


@functools.lru_cache(maxsize=4)
def _load(folder: Path, device: str, stamp: int) -> WorldModel:
    return WorldModel.from_pretrained(folder, device)


def shared_world_model(weights: WorldModel | str | Path | None, device: str | torch.device = "cpu") -> WorldModel:
    """The world model, loaded once per process, folder and device."""
    if isinstance(weights, WorldModel):
        return weights
    folder = find_weights(weights).resolve()
    return _load(folder, str(device), (folder / "config.json").stat().st_mtime_ns)


class Lanes:
    """What dreamed and real lanes share: actions, features, the clock."""

    def __init__(
        self,
        num_envs: int,
        scenario: str,
        weights: WorldModel | str | Path | None,
        device: str | torch.device,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs must be a positive int, got {num_envs!r}")
        self.num_envs = num_envs
        self.scenario = get_scenario(scenario, map, wad)
        self.model = shared_world_model(weights, device)
        self.world = self.scenario.name if self.scenario.name in self.model.config.scenarios else None  # None: neutral heads
        self.device = self.model.device
        self.table = torch.from_numpy(self.scenario.action_table()).to(self.device, torch.float32)  # n, 9
        self.state: DreamState | None = None
        self.steps = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.done = torch.ones(num_envs, dtype=torch.bool, device=self.device)

    def buttons(self, actions: Tensor | np.ndarray) -> Tensor:
        """Buttons (N, 9) of action indices (N,), or of buttons as they are.

        Raises:
            ValueError: on another shape or an index out of range.
        """
        chosen = torch.as_tensor(actions, device=self.device)
        if chosen.ndim == 2:
            return self.model.check_action(chosen, self.num_envs)
        if tuple(chosen.shape) != (self.num_envs,) or chosen.is_floating_point():
            raise ValueError(f"actions must be {self.num_envs} ints, got {chosen.dtype} of shape {tuple(chosen.shape)}")
        if not self.scenario.discrete:
            raise ValueError(f"{self.scenario.name} takes nine 0/1 buttons per lane, shape ({self.num_envs}, 9), not indices")
        if not bool(((chosen >= 0) & (chosen < len(self.table))).all()):
            raise ValueError(f"actions must be in 0…{len(self.table) - 1} in {self.scenario.name}, got {chosen.tolist()}")
        return self.table[chosen.long()]

    def ready(self) -> DreamState:
        """The running state.

        Raises:
            RuntimeError: before the first reset, or while a lane has ended and was not reset.
        """
        if self.state is None:
            raise RuntimeError("step() before reset(): call reset() first")
        if bool(self.done.any()):
            raise RuntimeError(f"lanes {self.done.nonzero()[:, 0].tolist()} have ended: reset them before the next step()")
        return self.state

    @property
    def features(self) -> Tensor:
        """What an agent sees now, clipped, float32 (N, F)."""
        assert self.state is not None
        return self.model.features(self.state).clamp_(-FEATURE_LIMIT, FEATURE_LIMIT)

    def pixels(self) -> Tensor:
        """The decoded picture of every lane, uint8 (N, 120, 160, 3)."""
        assert self.state is not None
        with torch.inference_mode():
            return self.model.decode(self.state)

    @property
    def variables(self) -> Tensor:
        """Game variables (N, V) in the game's units."""
        assert self.state is not None
        return self.state.variables

    def drift(self) -> Tensor:
        """|z|²/D − 1 per lane, (N,)."""
        assert self.state is not None
        return self.model.drift(self.state)


class DreamBatch(Lanes):
    """N dreams in one batched model call; tensors stay on the model's device.

    Finished lanes are not reset by themselves: call `reset(lanes)`.

    Args:
        num_envs: N.
        scenario: name of the world.
        temperature: 0 … the central future, 1 the learned distribution.
        map, wad: of free play, as for `get_scenario`: whose beginnings to dream from.
        device: where the weights go, when they are loaded here.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.
        starts: "beginnings" of real episodes, or real moments from "anywhere" in them (with the dozen steps before),
            from which short dreams are truest.
    """

    def __init__(
        self,
        num_envs: int,
        scenario: str = "take_cover",
        temperature: float = 1.0,
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        starts: str = "beginnings",
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        super().__init__(num_envs, scenario, weights, device, map, wad)
        if self.world is None:
            known = ", ".join(self.model.config.scenarios)
            raise ValueError(f"these weights know {known}, not {self.scenario.name!r}: play it with RealDoom-v0, or train on it")
        if starts not in STARTS:
            raise ValueError(f"starts {starts!r} is unknown; choose from {', '.join(STARTS)}")
        if starts == "anywhere" and self.scenario.starts not in self.model.clips:
            known = ", ".join(self.model.clips) or "nothing"
            raise ValueError(f"these weights carry no clips of {self.scenario.starts!r}, only of {known}; use starts='beginnings'")
        self.starts = starts
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be a finite number, 0 or more, got {temperature!r}")
        self.temperature = float(temperature)
        self.generator = torch.Generator(self.device)
        self.generator.seed()

    @torch.inference_mode()
    def reset(self, lanes: Tensor | None = None, seed: int | None = None, options: dict[str, Any] | None = None) -> Tensor:
        """Begin anew, in all lanes or in those of a boolean mask (N,).

        Args:
            lanes: which lanes; None: all.
            seed: seeds the dice of all lanes.
            options: `{"frames": uint8 (T, 120, 160, 3), "actions": (T − 1, 9), "variables": (T, V)}` dreams on from that
                clip (the latter two optional); default: a real beginning, drawn at random.

        Returns:
            features (N, F) of all lanes.

        Raises:
            ValueError: on an unknown option, on a clip that does not fit together, or if the weights carry no beginnings.
        """
        if unknown := set(options or ()) - {"frames", "actions", "variables"}:
            raise ValueError(f"reset options {', '.join(sorted(unknown))} are unknown; use frames, actions, variables")
        if options and "frames" not in options:
            raise ValueError("reset options actions and variables belong to a clip: give its frames too")
        if seed is not None:
            self.generator.manual_seed(int(seed))
        if lanes is None or self.state is None:
            lanes = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        count = int(lanes.sum())
        fresh = self._clip(options, count) if options else self._beginning(count)
        self.state = fresh if count == self.num_envs else self.state.put(lanes, fresh) if self.state else fresh
        self.steps = torch.where(lanes, 0, self.steps)
        self.done = self.done & ~lanes
        return self.features

    def _beginning(self, count: int) -> DreamState:
        if self.starts == "anywhere":
            clip = self.model.clips[self.scenario.starts]
            chosen = torch.randint(len(clip[0]), (count,), generator=self.generator, device=self.device)
            states, actions, values, age = (part[chosen] for part in clip)
            return self.model.recall(states, actions, values, self.model.scenario_index(self.scenario.name, count), age)
        if self.scenario.starts not in self.model.starts:
            raise ValueError(
                f"these weights carry no beginnings of {self.scenario.starts!r}, only of {', '.join(self.model.starts) or 'nothing'}; "
                "reset with options={'frames': ...} to dream from a clip of it"
            )
        z, variables = self.model.starts[self.scenario.starts]
        index = torch.randint(len(z), (count,), generator=self.generator, device=self.device)
        return self.model.begin(z[index], variables[index], self.model.scenario_index(self.scenario.name, count))

    def _clip(self, options: dict[str, Any], count: int) -> DreamState:
        frames = np.asarray(options["frames"])
        if frames.ndim != 4 or not len(frames):
            raise ValueError(f"frames must have shape (T, 120, 160, 3) with T of 1 or more, got {frames.shape}")
        actions = options.get("actions")
        actions = np.zeros((len(frames) - 1, 9), np.float32) if actions is None else np.asarray(actions, np.float32)
        variables = options.get("variables")
        values = None if variables is None else np.asarray(variables, np.float32)[None]
        start = len(frames) == 1
        one = self.model.observe(frames[None], actions[None], None, values, self.scenario.name, start)
        return one.map(lambda x: x.expand(count, *x.shape[1:]).clone())

    @torch.inference_mode()
    def step(self, actions: Tensor | np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Dream one step in every lane.

        Args:
            actions: indices (N,) into the scenario's action table, or buttons (N, 9).

        Returns:
            features (N, F), reward (N,), terminated (N,), truncated (N,); never both.

        Raises:
            RuntimeError: before reset, or while a lane has ended.
            ValueError: on actions of another shape or out of range.
        """
        state, buttons = self.ready(), self.buttons(actions)
        self.state, reward, go_on = self.model.imagine(state, buttons, self.temperature, self.generator)
        if self.temperature > 0:
            terminated = torch.rand(self.num_envs, generator=self.generator, device=self.device) >= go_on
        else:
            terminated = go_on < 0.5
        self.steps = self.steps + 1
        truncated = (self.steps >= self.scenario.time_limit) & ~terminated
        self.done = terminated | truncated
        return self.features, reward, terminated, truncated

    def get_state(self) -> dict[str, Any]:
        """A copy of everything that decides how the dream goes on."""
        if self.state is None:
            raise RuntimeError("get_state() before reset(): there is no dream yet")
        return {
            "state": self.state.clone(),
            "steps": self.steps.clone(),
            "done": self.done.clone(),
            "generator": self.generator.get_state(),
            "fingerprint": self.model.fingerprint,
        }

    def set_state(self, saved: dict[str, Any]) -> Tensor:
        """Go back to what `get_state` returned; returns the features.

        Raises:
            ValueError: if it belongs to other weights or another number of lanes.
        """
        if saved["fingerprint"] != self.model.fingerprint:
            raise ValueError(f"this dream was saved with weights {saved['fingerprint']}, these are {self.model.fingerprint}")
        if len(saved["state"]) != self.num_envs:
            raise ValueError(f"this dream has {len(saved['state'])} lanes, this environment {self.num_envs}")
        self.state, self.steps, self.done = saved["state"].clone(), saved["steps"].clone(), saved["done"].clone()
        self.generator.set_state(saved["generator"])
        return self.features
