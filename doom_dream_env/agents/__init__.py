"""Agents that were trained in a dream. The best one of each scenario ships in a folder of its name beside this file."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from doom_dream_env.agents.agent import Agent, AgentCard, shipped_agents

__all__ = ["Agent", "AgentCard", "shipped_agents"]

# Imported when first used: how good a dream is can be said without torch.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"agent": ["Agent", "AgentCard", "shipped_agents"]})
