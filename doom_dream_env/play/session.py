"""A person or an agent plays a dream, the real game, or both side by side, 35 display frames a second.

No window is needed: `window` shows a session, `commands.record` films one without a display.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.agents import shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.quality import best_first
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.errors import UserError
from doom_dream_env.play.status import Picture, Status, ViewStatus
from doom_dream_env.play.views import Clip, DreamView, RealView, View
from doom_dream_env.policies import Policy
from doom_dream_env.scenarios import TICS_PER_SECOND, Buttons, get_scenario, press
from doom_dream_env.seeds import TRAINING
from doom_dream_env.world_model import WorldModel

MODES = ("dream", "real", "both")
MAX_TEMPERATURE = 2.0
LINGER = TICS_PER_SECOND  # display frames that the end of an episode is shown for
NOTICE = 3 * TICS_PER_SECOND  # the same for a message
SHADE = 0.4  # brightness of a picture whose episode has ended


class PlayScenario(NamedTuple):
    """Arguments of `get_scenario`; of free play, the map is always named."""

    name: str
    map: str | None = None
    wad: str | None = None


class Session:
    """Whoever plays, and what is played.

    Args:
        selected: what to begin with.
        model: the world model.
        mode: "dream", "real" or "both": side by side under the same keys, where the dream sees the first real frame and
            no other.
        temperature: 0 … 2.
        seed: of all random numbers; None: chance.
        start: frames of the user's own, uint8 (T, 120, 160, 3), that dreams of this first scenario begin with.
        agent: who plays first, by the names of `doom_dream_env.agents.minds`; None: a person.
        resync: in mode "both", the dream goes on from what the real game has come to every so many seconds; 0: never.
        save: folder to record a person's real play in.
        licence: of what is recorded, as for `HumanRecorder`.

    Attributes:
        selected: what is played; `scenario` is the same, looked up.
        selectable: everything that `next_scenario` goes through.
        agent: who plays; None: a person.
        agent_name: its name, or that of who would take over.
        pressed: the buttons that are down.
        phase: tics since the step began.

    Raises:
        ValueError: if the weights do not know the scenario and a dream is asked for, if the agent that is asked for
            cannot play it, or on a mode or a temperature that there is not.
    """

    def __init__(
        self,
        selected: PlayScenario,
        model: WorldModel,
        mode: str = "dream",
        temperature: float = 1.0,
        seed: int | None = None,
        start: npt.NDArray[np.uint8] | None = None,
        agent: str | None = None,
        resync: float = 0.0,
        save: Path | None = None,
        licence: str | None = None,
    ) -> None:
        scenario = get_scenario(*selected)
        if mode not in MODES:
            raise UserError(f"mode {mode!r} is unknown; choose from {', '.join(MODES)}")
        if not 0 <= temperature <= MAX_TEMPERATURE:
            raise UserError(f"temperature must be in 0…{MAX_TEMPERATURE:g}, got {temperature!r}")
        if resync < 0:
            raise UserError(f"resync must be 0 (never) or a number of seconds, got {resync!r}")
        if save is not None and mode == "dream":
            raise UserError("only real play is recorded: choose the mode real or both")
        if start is not None and mode != "dream":
            raise UserError("only a dream begins with a picture of your own: choose the mode dream")
        if mode != "real" and scenario.name not in model.config.scenarios:
            known = ", ".join(model.config.scenarios)
            raise UserError(f"these weights know {known}, not {scenario.name!r}: play it in mode real, or train on it")
        self.model = model
        self.temperature = temperature
        self.resync = resync
        self.save_folder = save
        self.licence = licence
        self._start = start
        self._rng = np.random.default_rng(seed)
        self._dream_seed: int | None = int(self._rng.integers(2**31))  # of the next dream; later ones go on from it
        self._agent_seed = int(self._rng.integers(2**31))

        self._dream: DreamView | None = None
        self._real: RealView | None = None
        self._saved: tuple[PlayScenario, dict[str, Any]] | None = None
        self.paused = False
        self._owed = 0  # tics of a single step still to come
        self._time = 0  # display frames
        self._notice = ""
        self._noticed = 0

        self.scenario = scenario
        self.selected = PlayScenario(selected.name, scenario.map, scenario.wad)
        self.selectable = self._all_scenarios()
        self.mode = mode
        self.agent_name = agent or "agent"
        self.agent = self._find_agent() if agent else None
        self._open(self.selected, mode)

    def _all_scenarios(self) -> list[PlayScenario]:
        """This scenario and all that the weights know, best dreams first; of free play the maps that they know."""
        maps = [PlayScenario(*place.split(":")) for place in self.model.initial_states if place.count(":") == 1]
        known: list[PlayScenario] = []
        for name in best_first(self.model.config.scenarios, self.model.source):
            known += [one for one in maps if one.name == name] or [PlayScenario(name)]
        return known if self.selected in known else [self.selected, *known]

    def _open(self, selected: PlayScenario, mode: str) -> None:
        if selected != self.selected:
            self.close()
            self._dream = None
        self.selected = selected
        self.scenario = get_scenario(*selected)
        self.mode = mode
        self.reset()

    # ---- time --------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def reset(self) -> None:
        """Begin anew."""
        real = self._running_game() if self.mode != "dream" else None
        if real:
            real.begin(self._draw_seed())
        if self.mode != "real":
            self._running_dream().begin(real.clip() if real else self._own_clip(), self._dream_seed)
            self._dream_seed = None
        self.phase = 0
        self._linger = LINGER
        self.pressed = press()

    def _draw_seed(self) -> int:
        return int(self._rng.integers(TRAINING.stop))  # what a person plays may become data

    def _running_game(self) -> RealView:
        if self._real is None:
            self._real = RealView(self.scenario, self.model, self.save_folder, self.licence)
        return self._real

    def _running_dream(self) -> DreamView:
        if self._dream is None:
            name, map, wad = self.selected
            batch = DreamBatch(1, name, temperature=self.temperature, weights=self.model, map=map, wad=wad)
            self._dream = DreamView(self.scenario, batch)
        return self._dream

    def _own_clip(self) -> Clip | None:
        """What a dream on its own begins with; None: an initial state that came with the weights."""
        if self._start is not None:
            return {"frames": self._start}
        if self.scenario.place in self.model.initial_states:
            return None
        real = self._running_game()
        real.begin(self._draw_seed())
        return real.clip()

    @property
    def views(self) -> list[View]:
        """What is shown, from left to right."""
        shown = [self._dream if self.mode != "real" else None, self._real if self.mode != "dream" else None]
        return [view for view in shown if view]

    @torch.inference_mode()
    def tick(self, buttons: Buttons) -> None:
        """Go on by one display frame of 1/35 s.

        Args:
            buttons: the nine that are down, (9,); an agent that plays presses its own.
        """
        self._time += 1
        if self.paused:
            if not self._owed:
                return
            self._owed -= 1
        if self.over:
            self._linger -= 1
            if not self._linger:
                self.reset()
            return
        if self.phase == 0:
            self._synchronise()
        live = [view for view in self.views if not view.ended]
        if self.agent is None:
            if self.phase == 0 or not self.recording:
                self.pressed = buttons
        elif self.phase == 0:
            batch = live[-1].batch  # of the real game where that goes on
            self.pressed = batch.buttons(self.agent(batch))[0].cpu().numpy().astype(np.uint8)
        for view in live:
            view.tick(self.pressed, self.phase)
        self.phase = (self.phase + 1) % self.scenario.frame_skip

    @property
    def over(self) -> bool:
        """Has everything that is shown ended?"""
        return all(view.ended for view in self.views)

    @property
    def recording(self) -> bool:
        """Is real play recorded? Then keys count for whole steps."""
        return self.save_folder is not None and self.mode != "dream"

    def _synchronise(self) -> None:
        """Let the dream go on from reality, where that is asked for and due."""
        if not self.resync or self.mode != "both":
            return
        assert self._real and self._dream
        every = max(round(self.resync / self.scenario.seconds_per_step), 1)
        if self._real.steps and self._real.steps % every == 0 and not self._real.ended:
            self._dream.synchronise(self._real.state, self._real.steps, self._real.reward)

    @torch.inference_mode()
    def pictures(self) -> list[Picture]:
        """What is to be seen now, one picture or two; one whose episode has ended is darkened."""
        return [(view.picture() * SHADE).astype(np.uint8) if view.ended else view.picture() for view in self.views]

    def status(self) -> Status:
        """What there is to say now."""
        seconds = self.scenario.seconds_per_step
        dream = self._dream if self.mode != "real" else None
        return Status(
            scenario=" ".join([self.scenario.name, *([self.scenario.map] if self.scenario.map else [])]),
            player="agent" if self.agent else "you",
            views=tuple(
                ViewStatus(view.title, view.variables, view.counted, view.steps * seconds, view.ended)
                for view in self.views
            ),
            temperature=self.temperature if dream else None,
            drift=dream.drift if dream else None,
            paused=self.paused,
            notice=self._notice if self._time < self._noticed + NOTICE else "",
        )

    # ---- commands ----------------------------------------------------------------------------------------------------

    def notify(self, text: str) -> None:
        """Show a message for three seconds."""
        self._notice = text
        self._noticed = self._time

    def pause(self) -> None:
        """Stop time, or let it go on."""
        self.paused = not self.paused
        self._owed = 0

    def single_step(self) -> None:
        """Pause, but go on to the end of the step, or by one whole step."""
        self.paused = True
        self._owed = self.scenario.frame_skip - self.phase

    def change_temperature(self, by: float) -> None:
        """Make dreams wilder or calmer, from the next step on."""
        if self.mode == "real":
            self.notify("only a dream has a temperature")
            return
        self.temperature = round(min(max(self.temperature + by, 0.0), MAX_TEMPERATURE), 1)
        if self._dream:
            self._dream.batch.temperature = self.temperature
        self.notify(f"temperature {self.temperature:.1f}")

    def _find_agent(self) -> Policy:
        if self.recording:
            raise UserError("a person's play is being recorded: the agent keeps out of it")
        return load_mind(self.agent_name, self.scenario, self.model, seed=self._agent_seed)

    @property
    def can_hand_over(self) -> bool:
        """May an agent play this, or does one?"""
        ships = self.agent_name != "agent" or self.scenario.name in shipped_agents(self.model.fingerprint)
        return ships and not self.recording

    def toggle_agent(self) -> None:
        """Hand over to the agent, or back."""
        try:
            self.agent = None if self.agent else self._find_agent()
        except (OSError, ValueError) as error:
            self.notify(str(error))

    @property
    def dreams(self) -> bool:
        """Can these weights dream of what is played?"""
        return self.scenario.name in self.model.config.scenarios

    def next_mode(self) -> None:
        """Dream, real game, both, and again."""
        if not self.dreams:
            self.notify(f"these weights cannot dream of {self.scenario.name}")
            return
        self._open(self.selected, MODES[(MODES.index(self.mode) + 1) % len(MODES)])
        if self.recording:
            self.agent = None

    def next_scenario(self, by: int) -> None:
        """Go to another scenario that the weights know."""
        self.choose(self.selectable[(self.selectable.index(self.selected) + by) % len(self.selectable)])

    def choose(self, selected: PlayScenario) -> None:
        """Go to one of `selectable`."""
        agent_plays = self.agent is not None
        self.agent = None
        self._start = None
        self._open(selected, self.mode)
        if agent_plays:
            self.toggle_agent()

    def save(self) -> None:
        """Keep the dream as it is at the last whole step."""
        if self.mode != "dream" or self._dream is None or self._dream.ended:
            self.notify("only a running dream can be saved, in mode dream")
            return
        self._saved = (self.selected, self._dream.save())
        self.notify("dream saved")

    def restore(self) -> None:
        """Go back to the dream that was saved in this scenario."""
        if self.mode != "dream" or self._dream is None or self._saved is None or self._saved[0] != self.selected:
            self.notify("there is no saved dream of this scenario to go back to, in mode dream")
            return
        self._dream.restore(self._saved[1])
        self.phase = 0
        self._linger = LINGER
        self.notify("back in the saved dream")

    def close(self) -> None:
        """Stop the real game, if there is one, and write what was recorded."""
        real, self._real = self._real, None
        if real:
            real.close()
