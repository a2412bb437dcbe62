"""Which keys do something in what is played now."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from doom_dream_env.play.keys import KEYS, presses
from doom_dream_env.play.session import Session
from doom_dream_env.scenarios import Scenario

# A row of the help, and the buttons that it tells of.
ACTIONS = (
    ("Forward, back", ("MOVE_FORWARD", "MOVE_BACKWARD")),
    ("Step left, right", ("MOVE_LEFT", "MOVE_RIGHT")),
    ("Turn left, right", ("TURN_LEFT", "TURN_RIGHT")),
    ("Attack", ("ATTACK",)),
    ("Use", ("USE",)),
    ("Run", ("SPEED",)),
)
SPELLED = {"COMMA": ",", "PERIOD": ".", "MOUSE": "left mouse button"}


def help_rows(session: Session) -> list[tuple[str, str]]:
    """Rows of keys and what they do; those that do nothing here are left out."""
    rows = [*_playing(session.scenario), ("Game pad", _pad(session.scenario))]
    if session.can_hand_over:
        rows.append(("Tab", "you or the agent"))
    if session.dreams:
        rows.append(("M", "dream, real game, both"))
    if len(session.selectable) > 1:
        rows += [("F2", "menu of worlds"), ("PageUp  PageDown", "another world")]
    rows += [("R", "begin anew"), ("P   N", "pause, one step")]
    if session.mode != "real":
        rows.append(("+   -", "temperature: a wilder or calmer dream"))
    if session.mode == "dream":
        rows.append(("F5   F9", "save the dream, go back to it"))
    return [
        *rows,
        ("V   F12 or C", "film, screenshot"),
        ("F11   [   ]", "full screen, smaller, larger"),
        ("F1 or H   Esc", "this help, quit"),
    ]


def _playing(scenario: Scenario) -> list[tuple[str, str]]:
    rows = []
    for what, buttons in ACTIONS:
        there = [_keys(button, scenario) for button in buttons if button in scenario.buttons]
        words = what.split(", ") if len(there) == len(buttons) else [what.split(", ")[0]]
        pairs = [" ".join(key for key in keys if key) for keys in zip_longest(*there)]
        if "MOVE_LEFT" in buttons and presses("ALT", scenario):
            pairs.append("Alt + left, right")
        if there:
            rows.append((", ".join(words), ",  ".join(pairs) if len(pairs) < 3 else "   ".join(pairs)))
    return rows


def _keys(button: str, scenario: Scenario) -> list[str]:
    names: Sequence[str] = [name for name in KEYS if presses(name, scenario) == {button}]
    return [SPELLED.get(name, name if len(name) == 1 else name.capitalize()) for name in names]


def _pad(scenario: Scenario) -> str:
    attack = ", A or right trigger: attack" if "ATTACK" in scenario.buttons else ""
    use = ", B: use" if "USE" in scenario.buttons else ""
    return f"sticks or cross{attack}{use}"
