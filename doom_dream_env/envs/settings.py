"""What can be set while an environment runs, and what Gymnasium remembers of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from doom_dream_env.world_model import WorldModel

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

    from doom_dream_env.envs.batch import DreamBatch


class DreamSettings:
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
