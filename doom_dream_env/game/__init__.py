"""The real game: `Game` is one running ViZDoom, `recording` keeps what is played in it."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from doom_dream_env.game.game import Game

__all__ = ["Game"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"game": ["Game"]})
