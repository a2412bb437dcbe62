"""The page that dreams in a browser: its files, and a server for this machine."""

from doom_dream_env.web.serve import PageServer

__all__ = ["PageServer"]
