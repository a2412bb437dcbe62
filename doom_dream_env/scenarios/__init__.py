"""The scenarios as data: which ViZDoom configuration, map, buttons, variables and time limit each one has."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios.configurations import load_configuration
from doom_dream_env.scenarios.wads import as_text, maps_in, shipped_wad

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
# They are six groups: of a pair of opposites one button at most has an effect, the others are down or not.
PAIRS = (("MOVE_FORWARD", "MOVE_BACKWARD"), ("MOVE_LEFT", "MOVE_RIGHT"), ("TURN_LEFT", "TURN_RIGHT"))
BITS = ("ATTACK", "USE", "SPEED")
# What the HUD shows (most scenarios hide it), and the scale that brings each to about one. The order is part of the
# weights.
VARIABLES = ("HEALTH", "AMMO2", "ARMOR", "SELECTED_WEAPON_AMMO")
VARIABLE_SCALES = (100.0, 26.0, 100.0, 50.0)

Buttons = npt.NDArray[np.uint8]


def press(*buttons: str) -> Buttons:
    """The nine 0/1 buttons with those named pressed, shape (9,)."""
    row = np.zeros(len(BUTTONS), np.uint8)
    row[[BUTTONS.index(button) for button in buttons]] = 1
    return row


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        name: what `gym.make(..., scenario=name)` calls it.
        config: ViZDoom configuration: the file name of one that ships with ViZDoom, or a path.
        buttons: the scenario's buttons in the order of its configuration (those that the model has; others are never
            pressed).
        variables: the game variables that belong to the state (a subset of `VARIABLES`).
        time_limit: steps of `frame_skip` tics after which an episode is truncated.
        frame_skip: tics per step.
        discrete: one button at a time, as in `action_table`; False: any of the nine together.
        rewards: ViZDoom reward settings beside those of the configuration, e.g. `("kill_reward", 1.0)`.
        map: name of the map; None: the configuration's own.
        wad: path of a WAD; None: what ships with ViZDoom.
        description: one line for people.
        ends_only_by_death: nothing but death (or the time limit) ends an episode.
        goal_reward: a reward above this ends the episode: the goal is reached.
        points: what a player is told that the return before the end counts; empty: nothing but the time.
    """

    name: str
    config: str
    buttons: tuple[str, ...]
    variables: tuple[str, ...]
    time_limit: int
    frame_skip: int = 4
    discrete: bool = True
    rewards: tuple[tuple[str, float], ...] = ()
    map: str | None = None
    wad: str | None = None
    description: str = ""
    ends_only_by_death: bool = False
    goal_reward: float = float("inf")
    points: str = ""

    @property
    def seconds_per_step(self) -> float:
        """Game time of one step."""
        return self.frame_skip / TICS_PER_SECOND

    @property
    def place(self) -> str:
        """Key of this scenario's initial states in a set of weights: its name, with WAD and map where it has them."""
        source = None if self.wad is None else as_text(Path(self.wad).stem)
        return ":".join(part for part in (self.name, source, self.map) if part is not None)

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
            ends_only_by_death=True,
        ),
        Scenario(
            "basic",
            "basic.cfg",
            ("MOVE_LEFT", "MOVE_RIGHT", "ATTACK"),
            ("AMMO2",),
            time_limit=75,
            description="strafe to the monster and shoot it; +106 for it, -5 a shot, -1 a tic",
            goal_reward=50.0,
        ),
        Scenario(
            "defend_the_center",
            "defend_the_center.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "ATTACK"),
            ("HEALTH", "AMMO2"),
            time_limit=523,
            description="26 rounds against a ring of monsters; +1 a kill, -1 for dying",
            ends_only_by_death=True,
            points="kills",
        ),
        Scenario(
            "defend_the_line",
            "defend_the_line.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "ATTACK"),
            ("HEALTH", "AMMO2"),
            time_limit=523,
            description="hold a line against monsters that grow stronger; +1 a kill, -1 for dying",
            ends_only_by_death=True,
            points="kills",
        ),
        Scenario(
            "health_gathering",
            "health_gathering.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD"),
            ("HEALTH",),
            time_limit=525,
            description="find medikits while the floor burns; +1 for every tic alive, -100 for dying",
            ends_only_by_death=True,
        ),
        Scenario(
            "health_gathering_supreme",
            "health_gathering_supreme.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD"),
            ("HEALTH",),
            time_limit=525,
            description="the same in a maze with poison about; +1 for every tic alive, -100 for dying",
            ends_only_by_death=True,
        ),
        Scenario(
            "deadly_corridor",
            "deadly_corridor.cfg",
            ("MOVE_LEFT", "MOVE_RIGHT", "ATTACK", "MOVE_FORWARD", "MOVE_BACKWARD", "TURN_LEFT", "TURN_RIGHT"),
            ("HEALTH",),
            time_limit=525,
            description="reach the armour past six gunmen; + the way made, +1000 for the armour, -100 for dying",
            goal_reward=500.0,
            points="way",
        ),
        Scenario(
            "my_way_home",
            "my_way_home.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT"),
            (),
            time_limit=525,
            description="find the armour in a maze of rooms; +1 for it, -0.0001 a tic",
            goal_reward=0.5,
        ),
        Scenario(
            "predict_position",
            "predict_position.cfg",
            ("TURN_LEFT", "TURN_RIGHT", "ATTACK"),
            (),
            time_limit=75,
            description="one rocket for a monster that walks; +1 for hitting it, -0.001 a tic",
            goal_reward=0.5,
        ),
        Scenario(
            "freedoom",
            "freedoom2.cfg",
            BUTTONS,
            ("HEALTH", "ARMOR", "SELECTED_WEAPON_AMMO"),
            time_limit=1575,
            discrete=False,
            rewards=(("kill_reward", 1.0), ("map_exit_reward", 10.0), ("death_penalty", 10.0)),
            map="MAP01",
            description=(
                "free play for three minutes on any map of Freedoom or of your own WAD; "
                "+1 a kill, +10 the exit, -10 for dying"
            ),
            points="kills",
        ),
    )
}
# Maps of free play that the data are made of; every other one is unseen.
TRAINED_MAPS = ("MAP01", "MAP02", "MAP03", "MAP04", "MAP05", "MAP06", "E1M1", "E1M2", "E1M3", "E1M4")


def from_config(path: str | Path) -> Scenario:
    """A scenario from a ViZDoom configuration of the user's own; its name is that of the file.

    Buttons that the model does not have are never pressed; variables that it does not know are left out.

    Raises:
        ValueError: as for `load_configuration`, or if it has none of the nine buttons.
    """
    path = Path(path)
    if path.stem in SCENARIOS:
        raise UserError(
            f"{path} has the name of the scenario {path.stem!r} that comes with the package; give the file another one"
        )
    game = load_configuration(path.resolve())
    buttons = tuple(button.name for button in game.get_available_buttons() if button.name in BUTTONS)
    if not buttons:
        raise UserError(f"{path} has none of the buttons {', '.join(BUTTONS)}; add some to available_buttons")
    variables = tuple(v.name for v in game.get_available_game_variables() if v.name in VARIABLES)
    tics = game.get_episode_timeout() or 2100
    return Scenario(
        as_text(path.stem),
        str(path.resolve()),
        buttons,
        variables,
        time_limit=max(tics // Scenario.frame_skip, 1),
        description=f"the configuration {path.name}",
        points="return",
    )


def get_scenario(name: str | Path | Scenario, map: str | None = None, wad: str | Path | None = None) -> Scenario:
    """Look a scenario up.

    Args:
        name: one of `SCENARIOS`, or the path of a ViZDoom configuration (`*.cfg`); a scenario is returned as it is, or
            with another map.
        map: map of free play, e.g. "MAP07" of Freedoom 2 or "E1M3" of Freedoom 1.
        wad: a WAD of the user's own for free play: a whole game or an addition to one; its first map unless `map` says
            another.

    Raises:
        ValueError: if there is no such scenario, map or WAD; the message lists what exists.
    """
    if isinstance(name, Scenario):
        scenario = name
    elif isinstance(name, (str, Path)) and str(name).endswith(".cfg"):
        scenario = from_config(name)
    else:
        try:
            scenario = SCENARIOS[name]  # type: ignore[index]
        except (KeyError, TypeError):
            known = ", ".join(sorted(SCENARIOS))
            raise UserError(
                f"scenario {name!r} is unknown; choose from {known}, or give the path of a ViZDoom .cfg"
            ) from None
    if map is None and wad is None:
        return scenario
    if scenario.map is None:
        raise UserError(f"{scenario.name} has a map of its own: only the scenario 'freedoom' takes a map or a WAD")
    if map is not None and not re.fullmatch(r"[A-Za-z0-9_]{1,8}", map):
        raise UserError(f"map {map!r} is not the name of a map; it looks like MAP07 or E1M3")
    source = Path(wad) if wad is not None else shipped_wad(str(map))
    found = maps_in(source)
    chosen = (map or (found[0] if found else "")).upper()
    if chosen not in found:
        raise UserError(f"{source.name} has no map {chosen!r}; it has {', '.join(found) or 'none at all'}")
    return dataclasses.replace(scenario, map=chosen, wad=None if wad is None else str(source.resolve()))
