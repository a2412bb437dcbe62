"""The menu of worlds, and how good the dream of each one is."""

from __future__ import annotations

from doom_dream_env.agents.quality import Quality, qualities
from doom_dream_env.play.session import Session


def world_rows(session: Session) -> list[tuple[str, str]]:
    """The name of each of `session.selectable`, and how good its dream is."""
    known = qualities(session.model.source)
    return [
        (" ".join(part for part in (one.name, one.map) if part), known.get(one.name, Quality()).text)
        for one in session.selectable
    ]
