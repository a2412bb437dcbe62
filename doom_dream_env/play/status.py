"""What a heads-up display says about a session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (120, 160, 3)


@dataclass(frozen=True)
class ViewStatus:
    """What is said about one picture.

    Attributes:
        title: "dream" or "real".
        variables: the scenario's game variables.
        points: what the scenario counts, e.g. "kills 3"; "" where that is only the time.
        seconds: since the episode began.
        ended: why it has ended; "" while it goes on.
    """

    title: str
    variables: dict[str, float]
    points: str
    seconds: float
    ended: str


@dataclass(frozen=True)
class Status:
    """What is said about a session.

    Attributes:
        scenario: its name, with the map in free play.
        player: "you" or "agent".
        views: of what is shown, from left to right.
        temperature: of the dream; None where no dream is shown.
        drift: how far it is from the states of training, the same.
        paused: whether time stands still.
        notice: a message about what was asked for last, or "".
        recording: whether a film is being made.
        fps: frames that were displayed per second, where there is a display.
    """

    scenario: str
    player: str
    views: tuple[ViewStatus, ...]
    temperature: float | None
    drift: float | None
    paused: bool
    notice: str
    recording: bool = False
    fps: float | None = None
