"""Agents that were trained in a dream. The best one of each scenario ships in a folder of its name beside this file."""

from doom_dream_env.agents.agent import Agent, AgentCard, shipped_agents

__all__ = ["Agent", "AgentCard", "shipped_agents"]
