"""The menu of worlds, and how good the dream of each one is."""

from __future__ import annotations

from doom_dream_env.play.session import Session
from doom_dream_env.world_model import WorldModel, files

SECOND = "skill_8"  # of the scorecard: one minus the error after eight steps, 0.9 s, over that of "nothing changes"


def dream_quality(model: WorldModel) -> dict[str, float]:
    """How much of the next second the dreams of each scenario foretell, at most 1; empty without a scorecard."""
    try:
        card = files.read_json(files.find_weights(model.source) / "scorecard.json")
        return {name: float(figures[SECOND]) for name, figures in card["worlds"].items() if SECOND in figures}
    except (FileNotFoundError, KeyError, ValueError):
        return {}  # weights may be without one


def world_rows(session: Session) -> list[tuple[str, str]]:
    """The name of each of `session.selectable`, and how good its dream is where that is known."""
    quality = dream_quality(session.model)
    return [
        (
            " ".join(part for part in (one.name, one.map) if part),
            f"foretells {max(quality[one.name], 0):.0%} of the next second" if one.name in quality else "",
        )
        for one in session.selectable
    ]
