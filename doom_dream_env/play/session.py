"""A person or an agent plays a dream, the real game, or both side by side, 35 display frames a second; no window is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.play.sides import Clip, DreamSide, Picture, RealSide, Side
from doom_dream_env.play.status import SideStatus, Status
from doom_dream_env.scenarios import TICS_PER_SECOND, Buttons, get_scenario, press
from doom_dream_env.world_model import WorldModel

MODES = ("dream", "real", "both")
HOTTEST = 2.0
LINGER = TICS_PER_SECOND  # display frames that the end of an episode is shown for
NOTICE = 3 * TICS_PER_SECOND  # the same for a message
SHADE = 0.4  # brightness of a side that has ended


class World(NamedTuple):
    """Arguments of `get_scenario`; of free play, the map is always named."""

    name: str
    map: str | None = None
    wad: str | None = None


class Session:
    """Whoever plays, and what is played.

    Args:
        world: to begin with.
        model: the world model.
        mode: "dream", "real" or "both": side by side under the same keys, where the dream sees the first real frame and no other.
        temperature: 0…2.
        seed: of all dice; None: chance.
        start: frames of the user's own, uint8 (T, 120, 160, 3), that dreams of this first world begin with.
        agent: an agent plays first.
        resync: in mode "both", the dream goes on from what the real game has come to every so many seconds; 0: never.
        save: folder to record a person's real play in.

    Raises:
        ValueError: if the weights do not know the world and a dream is asked for, if no agent ships for it and one is asked for, or on
            a mode or a temperature that there is not.
    """

    def __init__(
        self,
        world: World,
        model: WorldModel,
        mode: str = "dream",
        temperature: float = 1.0,
        seed: int | None = None,
        start: npt.NDArray[np.uint8] | None = None,
        agent: bool = False,
        resync: float = 0.0,
        save: Path | None = None,
    ) -> None:
        scenario = get_scenario(*world)
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is unknown; choose from {', '.join(MODES)}")
        if not 0 <= temperature <= HOTTEST:
            raise ValueError(f"temperature must be in 0…{HOTTEST:g}, got {temperature!r}")
        if resync < 0:
            raise ValueError(f"resync must be 0 (never) or a number of seconds, got {resync!r}")
        if save is not None and mode == "dream":
            raise ValueError("only real play is recorded: choose the mode real or both")
        if start is not None and mode != "dream":
            raise ValueError("only a dream begins with a picture of your own: choose the mode dream")
        self.model, self.temperature, self.resync, self.save_folder = model, temperature, resync, save
        if mode != "real" and scenario.name not in model.config.scenarios:
            known = ", ".join(model.config.scenarios)
            raise ValueError(f"these weights know {known}, not {scenario.name!r}: play it in mode real, or train on it")
        self._dice = np.random.default_rng(seed)
        self._seed: int | None = int(self._dice.integers(2**31))  # of the next dream
        self._agent_dice = torch.Generator().manual_seed(int(self._dice.integers(2**31)))
        self._dream: DreamSide | None = None
        self._real: RealSide | None = None
        self._saved: tuple[World, dict[str, Any]] | None = None
        self.paused, self._owed = False, 0  # tics of a single step still to come
        self._time, self._notice, self._noticed = 0, "", 0
        self._start = start
        self.world = World(world.name, scenario.map, scenario.wad)
        self.worlds = self._worlds()
        self.scenario, self.mode = scenario, mode
        self.agent = self._find_agent() if agent else None
        self._open(self.world, mode)

    def _worlds(self) -> list[World]:
        """This world and every one that the weights know, of free play the maps that they have beginnings of."""
        maps = [World(*key.split(":")) for key in self.model.starts if key.count(":") == 1]
        known = [w for name in self.model.config.scenarios for w in [m for m in maps if m.name == name] or [World(name)]]
        return known if self.world in known else [self.world, *known]

    def _open(self, world: World, mode: str) -> None:
        if world != self.world:
            self.close()
            self._dream = None
        self.world, self.scenario, self.mode = world, get_scenario(*world), mode
        self.reset()

    # ---- time ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def reset(self) -> None:
        """Begin anew."""
        real = self._running_game() if self.mode != "dream" else None
        if real:
            real.begin(self._draw_seed())
        if self.mode != "real":
            if self._dream is None:
                batch = DreamBatch(1, self.world.name, self.temperature, weights=self.model, map=self.world.map, wad=self.world.wad)
                self._dream = DreamSide(self.scenario, batch)
            self._dream.begin(real.clip() if real else self._beginning(), self._seed)
            self._seed = None
        self.phase, self._linger = 0, LINGER
        self.pressed = press()

    def _draw_seed(self) -> int:
        return int(self._dice.integers(50_000))  # those of training: what a person plays may become data

    def _running_game(self) -> RealSide:
        if self._real is None:
            self._real = RealSide(self.scenario, self.model, self.save_folder)
        return self._real

    def _beginning(self) -> Clip | None:
        """What a dream on its own begins with; None: one of the beginnings that came with the weights."""
        if self._start is not None:
            return {"frames": self._start}
        if self.scenario.starts in self.model.starts:
            return None
        real = self._running_game()
        real.begin(self._draw_seed())
        return real.clip()

    @property
    def sides(self) -> list[Side]:
        """What is shown, from left to right."""
        shown = [self._dream if self.mode != "real" else None, self._real if self.mode != "dream" else None]
        return [side for side in shown if side]

    @torch.inference_mode()
    def tick(self, buttons: Buttons) -> None:
        """Go on by one display frame of 1/35 s, with these nine buttons down; an agent that plays presses its own."""
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
        live = [side for side in self.sides if not side.ended]
        if self.phase == 0 and self.agent:
            chosen = int(self.agent.act(live[-1].features, generator=self._agent_dice)[0])  # of the real game where that goes on
            self.pressed = self.scenario.action_table()[chosen]
        if not self.agent and (self.phase == 0 or not self.recording):
            self.pressed = buttons
        for side in live:
            side.tick(self.pressed, self.phase)
        self.phase = (self.phase + 1) % self.scenario.frame_skip

    @property
    def over(self) -> bool:
        """Has everything that is shown ended?"""
        return all(side.ended for side in self.sides)

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
        """What is to be seen now, one picture or two; a side that has ended is darkened."""
        return [side.picture() if not side.ended else (side.picture() * SHADE).astype(np.uint8) for side in self.sides]

    def status(self) -> Status:
        """What there is to say now."""
        step = self.scenario.seconds_per_step
        sides = tuple(SideStatus(side.title, side.variables, side.reward, side.steps * step, side.ended) for side in self.sides)
        dream = self._dream if self.mode != "real" else None
        return Status(
            world=" ".join([self.scenario.name, *([self.scenario.map] if self.scenario.map else [])]),
            player="agent" if self.agent else "you",
            sides=sides,
            temperature=self.temperature if dream else None,
            drift=dream.drift if dream else None,
            paused=self.paused,
            notice=self._notice if self._time < self._noticed + NOTICE else "",
        )

    # ---- commands --------------------------------------------------------------------------------------------------

    def notify(self, text: str) -> None:
        """Show a message for three seconds."""
        self._notice, self._noticed = text, self._time

    def pause(self) -> None:
        """Stop time, or let it go on."""
        self.paused, self._owed = not self.paused, 0

    def single_step(self) -> None:
        """Pause, but go on to the end of the step, or by one whole step."""
        self.paused, self._owed = True, self.scenario.frame_skip - self.phase

    def change_temperature(self, by: float) -> None:
        """Make dreams wilder or calmer, from the next step on."""
        self.temperature = round(min(max(self.temperature + by, 0.0), HOTTEST), 1)
        if self._dream:
            self._dream.batch.temperature = self.temperature
        self.notify(f"temperature {self.temperature:.1f}")

    def _find_agent(self) -> Agent:
        known = shipped_agents(self.model.fingerprint)
        if self.recording:
            raise ValueError("a person's play is being recorded: the agent keeps out of it")
        if self.scenario.name not in known:
            raise ValueError(f"no agent ships for {self.scenario.name} and these weights; one does for {', '.join(known) or 'no world'}")
        return Agent.load(self.scenario.name, self.model.fingerprint)

    def toggle_agent(self) -> None:
        """Hand over to the agent that ships for this world and these weights, or back."""
        try:
            self.agent = None if self.agent else self._find_agent()
        except ValueError as error:
            self.notify(str(error))

    def next_mode(self) -> None:
        """Dream, real game, both, and again."""
        if self.scenario.name not in self.model.config.scenarios:
            self.notify(f"these weights cannot dream of {self.scenario.name}")
            return
        self._open(self.world, MODES[(MODES.index(self.mode) + 1) % len(MODES)])
        if self.agent and self.recording:
            self.agent = None

    def next_world(self, by: int) -> None:
        """Go to another world that the weights know."""
        played, self.agent, self._start = self.agent, None, None
        self._open(self.worlds[(self.worlds.index(self.world) + by) % len(self.worlds)], self.mode)
        if played:
            self.toggle_agent()

    def save(self) -> None:
        """Keep the dream as it is at the last whole step."""
        if self.mode != "dream" or self._dream is None or self._dream.ended:
            self.notify("only a running dream can be saved, in mode dream")
            return
        self._saved = self.world, self._dream.save()
        self.notify("dream saved")

    def restore(self) -> None:
        """Go back to the dream that was saved in this world."""
        if self.mode != "dream" or self._dream is None or self._saved is None or self._saved[0] != self.world:
            self.notify("there is no saved dream of this world to go back to, in mode dream")
            return
        self._dream.restore(self._saved[1])
        self.phase, self._linger = 0, LINGER
        self.notify("back in the saved dream")

    def close(self) -> None:
        """Stop the real game, if there is one, and write what was recorded."""
        if self._real:
            self._real.close()
            self._real = None
