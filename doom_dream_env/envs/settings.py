"""What can be set while an environment runs, and what says that it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from doom_dream_env.world_model import WorldModel

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

    from doom_dream_env.envs.batch import DreamBatch

# Arguments of constructors. To set one later would change nothing, or only half of what hangs on it.
DECIDED_WHEN_MADE = (
    "num_envs",
    "scenario",
    "observation",
    "device",
    "weights",
    "model",
    "initial_states",
    "max_episode_steps",
    "map",
    "wad",
    "privileged",
    "autoreset_mode",
)


class Settings:
    """Refuses to change what is decided when an object is made; a constructor calls `_fix` at its end."""

    _fixed: frozenset[str] = frozenset()

    def _fix(self, *names: str) -> None:
        self._fixed = self._fixed.union(names or DECIDED_WHEN_MADE)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed:
            kind = type(self).__name__
            raise AttributeError(f"{name} is decided when a {kind} is made; make another one with {name}=...")
        super().__setattr__(name, value)


class DreamSettings(Settings):
    """Of an environment around a `DreamBatch`."""

    batch: DreamBatch

    @property
    def temperature(self) -> float:
        """Temperature of the dream: 0 the mean next state, 1 the learned distribution. It can be set at any time."""
        return self.batch.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.batch.temperature = value


class NamedSpec:
    """Keeps names and paths in Gymnasium's `spec`: it is copied with every wrapper, and has to go into JSON."""

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """How Gymnasium made this environment."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.kwargs = {name: _named(value) for name, value in spec.kwargs.items()}
        self._spec = spec


def _named(value: Any) -> Any:
    if isinstance(value, WorldModel):
        return value.source or value
    return str(value) if isinstance(value, Path) else value
