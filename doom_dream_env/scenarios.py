"""The worlds as data: which ViZDoom configuration, buttons, variables and time limit each one has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_SHAPE = (120, 160, 3)
TICS_PER_SECOND = 35
BUTTONS = (
    "MOVE_FORWARD",
    "MOVE_BACKWARD",
    "MOVE_LEFT",
    "MOVE_RIGHT",
    "TURN_LEFT",
    "TURN_RIGHT",
    "ATTACK",
    "USE",
    "SPEED",
)
# What the hidden HUD would show, and the scale that brings each to about one. The order is part of the weights.
VARIABLES = ("HEALTH", "AMMO2")
VARIABLE_SCALES = (100.0, 26.0)


@dataclass(frozen=True)
class Scenario:
    """One world.

    Attributes:
        name: what `gym.make(..., scenario=name)` calls it.
        config: file name of the ViZDoom configuration that ships with ViZDoom.
        buttons: the scenario's buttons in the order of its configuration.
        variables: the game variables its configuration exposes (a subset of `VARIABLES`).
        time_limit: steps of `frame_skip` tics after which an episode is truncated.
        frame_skip: tics per step.
        description: one line for people.
    """

    name: str
    config: str
    buttons: tuple[str, ...]
    variables: tuple[str, ...]
    time_limit: int
    frame_skip: int = 4
    description: str = ""

    @property
    def seconds_per_step(self) -> float:
        """Game time of one step."""
        return self.frame_skip / TICS_PER_SECOND

    def action_table(self) -> npt.NDArray[np.uint8]:
        """Return the `Discrete` table, shape (n, 9): row i holds the buttons that action i presses.

        The order is that of ViZDoom's own `Vizdoom<Name>-v1`: 0 presses nothing, 1 the last button of
        the configuration, n − 1 the first.
        """
        table = np.zeros((len(self.buttons) + 1, len(BUTTONS)), np.uint8)
        for row, button in enumerate(reversed(self.buttons), start=1):
            table[row, BUTTONS.index(button)] = 1
        return table

    def variable_mask(self) -> npt.NDArray[np.bool_]:
        """Which of `VARIABLES` this scenario has, shape (V,)."""
        return np.array([name in self.variables for name in VARIABLES])


# Measured: an untouched episode of a 2100-tic limit has 525 steps from tic 1 and 523 from tic 10.
SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "take_cover",
            "take_cover.cfg",
            ("MOVE_LEFT", "MOVE_RIGHT"),
            ("HEALTH",),
            time_limit=525,
            description="dodge the fireballs of imps; +1 for every tic alive",
        ),
        Scenario(
            "defend_the_center",
            "defend_the_center.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "ATTACK"),
            ("HEALTH", "AMMO2"),
            time_limit=523,
            description="26 rounds against a ring of monsters; +1 a kill, -1 for dying",
        ),
        Scenario(
            "health_gathering",
            "health_gathering.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD"),
            ("HEALTH",),
            time_limit=525,
            description="find medikits while the floor burns; +1 for every tic alive, -100 for dying",
        ),
    )
}


def get_scenario(name: str) -> Scenario:
    """Look a scenario up by name.

    Raises:
        ValueError: if there is no such scenario; the message lists those that exist.
    """
    try:
        return SCENARIOS[name]
    except (KeyError, TypeError):
        raise ValueError(f"scenario {name!r} is unknown; choose from {', '.join(sorted(SCENARIOS))}") from None
