"""Policy improvement by rollouts: follow an agent, unless dreams agree that another action now is better.

Legend: n environments, P things to try, K dreams of each, H steps, A actions, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.agents.agent import Agent
from doom_dream_env.agents.planning.config import ImprovementConfig
from doom_dream_env.agents.planning.objectives import DreamedStep
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.planner import Planner
from doom_dream_env.agents.planning.rollout import Luck
from doom_dream_env.world_model import DreamState


class ImprovementPlanner(Planner):
    """One step of policy improvement at every decision (Tesauro and Galperin 1996; Bertsekas' rollout algorithm).

    Tries every action, held for a while, with the agent playing on behind it, and the agent alone, all under the same
    luck. An action is taken in place of the agent's own only if its dreams are better by more than chance explains:
    the best of several noisy means is flattered, and a planner that trusts it plays worse than the agent that it began
    with. Arguments as for `Planner`, with an `ImprovementConfig`; the proposal is the agent that is followed.

    Raises:
        ValueError: as `Planner`, or if the scenario has no action table, or nobody is there to follow.
    """

    settings = ImprovementConfig
    config: ImprovementConfig
    proposal: Agent

    def _prepare(self) -> None:
        if not self.scenario.discrete:
            raise ValueError(f"{self.scenario.name} has no action table to go through: use another kind of planner")
        if not isinstance(self.proposal, Agent):
            raise ValueError("this planner improves an agent: give one as its proposal (Agent.load)")
        actions = len(self.scenario.action_table())
        tried = [(action, hold) for hold in sorted(set(self.config.hold)) for action in range(actions)]
        # The first one is the agent alone, who is not held to anything.
        self.first = torch.tensor([0, *(action for action, _ in tried)], device=self.device)
        self.held = torch.tensor([0, *(hold for _, hold in tried)], device=self.device)

    @property
    def _dreams_at_once(self) -> int:
        return len(self.first) * self.config.dreams

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        seen: list[Tensor] = []
        envs = torch.arange(len(state), device=self.device)
        options = self.groups.exists.shape[1]
        own = self.proposal.logits(self.model.features(state)).softmax(-1).to(self.device)
        while True:
            scores, pressed = self._rollouts(state)
            seen.append(scores)
            every = torch.cat(seen, -1)  # n, P, dreams of all rounds
            ahead = every - every[:, :1]
            mean = ahead.mean(-1)
            doubt = ahead.std(-1) / every.shape[-1] ** 0.5
            better = mean > self.config.confidence * doubt
            better[:, 0] = True  # The agent is as good as itself.
            best = mean.masked_fill(~better, -torch.inf).argmax(1)
            choices = pressed[envs, best]
            probabilities = F.one_hot(choices, options).float()
            probabilities[:, 0] = torch.where((best == 0)[:, None], own, probabilities[:, 0])
            yield Plan(choices[..., None], every.mean(-1)[envs, best], probabilities[:, :, None])

    @torch.no_grad()
    def _rollouts(self, state: DreamState) -> tuple[Tensor, Tensor]:
        """Scores (n, P, K) of all that is tried, and what is pressed in the first dream of each, (n, P, H)."""
        config = self.config
        n, count = len(state), len(self.first)
        dreams = config.dreams if config.temperature > 0 else 1
        luck = Luck.draw(self.model, state, dreams, config.horizon, self.generator, config.temperature)
        # Lanes come environment by environment, then by what is tried, K dreams of each.
        lanes = torch.arange(n * dreams, device=self.device).reshape(n, 1, dreams).expand(n, count, dreams).flatten()
        dream = luck.states[lanes]
        first = self.first[:, None].expand(n, count, dreams).flatten()
        held = self.held[:, None].expand(n, count, dreams).flatten()
        total = torch.zeros(len(lanes), device=self.device)
        alive = torch.ones_like(total)
        pressed = []
        for step in range(config.horizon):
            logits = self.proposal.logits(self.model.features(dream)).to(self.device)
            uniform = torch.rand(n * dreams, logits.shape[1], generator=self.generator, device=self.device)
            gumbel = -(-uniform.clamp(1e-9, 1 - 1e-7).log()).log()
            action = torch.where(held > step, first, (logits + gumbel[lanes]).argmax(-1))
            pressed.append(action.reshape(n, count, dreams)[..., 0])
            buttons = self.groups.buttons(action[:, None])
            noise = luck.noise[step].flatten(0, 1)[lanes]
            after, reward, continues = self.model.imagine(dream, buttons, config.temperature, noise=noise)
            still_alive = alive * continues
            total = total + self.objective.gain(DreamedStep(step, dream, buttons, after, reward, alive, still_alive))
            dream, alive = after, still_alive
        total = total + self.objective.end(config.horizon, dream, alive)
        return total.reshape(n, count, dreams), torch.stack(pressed, -1)
