"""`WorldModel`: encode, observe, imagine, features, decode.

Legend: B batch, T time, D state width, E trunk width, V variables, H, W, 3 frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, SCENARIOS, VARIABLE_SCALES
from doom_dream_env.world_model import files
from doom_dream_env.world_model.config import WorldModelConfig
from doom_dream_env.world_model.decoder import Decoder
from doom_dream_env.world_model.encoder import Encoder
from doom_dream_env.world_model.heads import Dynamics
from doom_dream_env.world_model.manifold import Manifold
from doom_dream_env.world_model.predictor import Trunk
from doom_dream_env.world_model.state import DreamState, later

CLIP_PARTS = ("z", "actions", "variables", "age")


class WorldModel(nn.Module):
    """A latent world model of DOOM: LeWorldModel's lineage with variables, rewards, ends and a sampled future."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.trunk = Trunk(
            config.state_width,
            len(config.variables),
            len(config.scenarios),
            config.trunk_width,
            config.trunk_depth,
            config.trunk_heads,
            config.context,
        )
        self.dynamics = Dynamics(config)
        self.manifold = Manifold(len(config.scenarios), config.state_width)
        self.decoder = Decoder(config)
        self.register_buffer("scales", torch.tensor(VARIABLE_SCALES), persistent=False)
        masks = [*config.known, (True,) * len(config.variables)]  # the last one: scenario unknown
        self.register_buffer("masks", torch.tensor(masks, dtype=torch.float32), persistent=False)
        mortal = [name in SCENARIOS and SCENARIOS[name].mortal for name in config.scenarios]
        self.register_buffer("mortal", torch.tensor([*mortal, False]), persistent=False)
        prizes = [SCENARIOS[name].prize if name in SCENARIOS else torch.inf for name in config.scenarios]
        self.register_buffer("prizes", torch.tensor([*prizes, torch.inf]), persistent=False)
        for index, values in enumerate(config.deltas):
            self.register_buffer(f"deltas_{index}", torch.tensor(values, dtype=torch.float32), persistent=False)
            still = self.deltas(index).abs() == self.deltas(index).abs().min()
            # a variable that a world lacks does not change; nothing teaches the logits to say so
            self.register_buffer(f"possible_{index}", (self.masks[:, index, None] > 0) | still, persistent=False)
        # By `Scenario.starts`: real beginnings, (z, variables) of first frames; and real clips from anywhere in an episode,
        # (z, actions, variables, age of the first step).
        self.starts: dict[str, tuple[Tensor, Tensor]] = {}
        self.clips: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self.fingerprint, self.source = "untrained", ""

    scales: Tensor
    masks: Tensor
    mortal: Tensor
    prizes: Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.scales.device

    def deltas(self, index: int) -> Tensor:
        """The changes per step that variable `index` can make."""
        return getattr(self, f"deltas_{index}")

    def outcome_logits(self, g: Tensor, scenario: Tensor) -> list[Tensor]:
        """Per variable, logits (B, number of its deltas) given g (B, E); −inf for changes of what the world (B,) does not have."""
        logits = self.dynamics.outcome_logits(g)
        return [part.masked_fill(~getattr(self, f"possible_{i}")[scenario], -torch.inf) for i, part in enumerate(logits)]

    # ---- files -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, device: str | torch.device = "cpu") -> WorldModel:
        """Load weights, in evaluation mode.

        Args:
            name_or_path: None for the best that ship, the name of a shipped set, a folder, or a hub id (`owner/name`).
            device: where to put them.

        Raises:
            FileNotFoundError: if there are no such weights.
            ValueError: if they are damaged, or of another configuration or format version.
        """
        folder = files.find_weights(name_or_path)
        config = WorldModelConfig.from_dict(files.read_json(folder / files.CONFIG))
        manifest = files.check(folder)
        model = cls(config)
        tensors = {key: value.float() for key, value in files.read_weights(folder).items()}
        expected = {key: tuple(value.shape) for key, value in model.state_dict().items() if "num_batches" not in key}
        found = {key: tuple(value.shape) for key, value in tensors.items()}
        if expected != found:
            wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
            raise ValueError(
                f"weights in {folder} do not fit their config.json (first differences: {', '.join(wrong[:3])}); fetch both anew"
            )
        model.load_state_dict(tensors, strict=False)
        starts = files.read_tensors(folder, files.STARTS)
        model.starts = {
            name: (starts[f"{name}.z"].float().to(device), starts[f"{name}.variables"].float().to(device))
            for name in sorted(key.removesuffix(".z") for key in starts if key.endswith(".z"))
        }
        model.clips = {
            name: tuple(starts[f"{name}.clip_{part}"].float().to(device) for part in CLIP_PARTS)  # type: ignore[misc]
            for name in sorted(key.removesuffix(".clip_z") for key in starts if key.endswith(".clip_z"))
        }
        model.fingerprint = manifest["fingerprint"]
        model.source = folder.name if folder.parent == files.SHIPPED else str(folder.resolve())
        return model.to(device).eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, card: str = "") -> str:
        """Write half-precision safetensors, config.json, checksums and a model card; return the fingerprint."""
        tensors = {k: v.half().cpu().contiguous() for k, v in self.state_dict().items() if "num_batches" not in k}
        starts = {f"{n}.z": z.half().cpu() for n, (z, _) in self.starts.items()}
        starts |= {f"{n}.variables": v.half().cpu() for n, (_, v) in self.starts.items()}
        starts |= {
            f"{n}.clip_{part}": value.half().cpu().contiguous()
            for n, clip in self.clips.items()
            for part, value in zip(CLIP_PARTS, clip, strict=True)
        }
        self.source = str(Path(folder).resolve())
        self.fingerprint = files.write_weights(Path(folder), self.config.to_dict(), tensors, starts, card)
        return self.fingerprint

    # ---- verbs -----------------------------------------------------------------------------------------------------

    def scenario_index(self, scenario: str | Sequence[str] | Tensor | None, batch: int) -> Tensor:
        """Indices (B,) of one or B scenario names; None is the unknown world."""
        if isinstance(scenario, Tensor):
            return scenario.to(self.device)
        if scenario is None:
            return torch.full((batch,), len(self.config.scenarios), device=self.device)
        names = [scenario] * batch if isinstance(scenario, str) else list(scenario)
        for name in names:
            if name not in self.config.scenarios:
                raise ValueError(f"these weights know {', '.join(self.config.scenarios)}, not {name!r}")
        return torch.tensor([self.config.scenarios.index(name) for name in names], device=self.device)

    def encode(self, frames: Tensor | np.ndarray) -> Tensor:
        """Frames to states: uint8 (B, T, 120, 160, 3) → float32 (B, T, D).

        Raises:
            ValueError: on another shape.
            TypeError: on another dtype than uint8.
        """
        frames = torch.as_tensor(frames)
        if frames.dtype != torch.uint8:
            raise TypeError(f"frames must be uint8 RGB in 0…255, got {frames.dtype}")
        if frames.ndim != 5 or tuple(frames.shape[2:]) != FRAME_SHAPE:
            raise ValueError(f"frames must have shape (B, T, {', '.join(map(str, FRAME_SHAPE))}), got {tuple(frames.shape)}")
        flat = frames.flatten(0, 1)
        states = torch.cat([self.encoder(part.to(self.device)) for part in flat.split(256)])
        return states.reshape(*frames.shape[:2], -1)

    def check_action(self, action: Tensor | np.ndarray, batch: int) -> Tensor:
        """Nine 0/1 buttons (B, 9) as float32.

        Raises:
            ValueError: on another shape or values outside 0…1.
        """
        buttons = torch.as_tensor(action, device=self.device).to(torch.float32)
        if tuple(buttons.shape) != (batch, len(BUTTONS)):
            raise ValueError(f"action must have shape ({batch}, {len(BUTTONS)}), one 0/1 per button, got {tuple(buttons.shape)}")
        if not bool(((buttons >= 0) & (buttons <= 1)).all()):
            raise ValueError("action must be 0 (released) or 1 (pressed) for each of the nine buttons")
        return buttons

    def begin(self, z: Tensor, variables: Tensor, scenario: Tensor, start: bool = True) -> DreamState:
        """A dream that starts at states z (B, D) with game variables (B, V); `start`: the episode begins here."""
        c, batch = self.config, len(z)
        cache = torch.zeros(batch, c.trunk_depth, 2, c.context, c.trunk_width, device=self.device)
        none = torch.zeros(batch, dtype=torch.long, device=self.device)
        empty = DreamState(z, z[:, :0], variables, scenario, none - 1, cache, none)
        flags = torch.tensor([0.0, float(start)], device=self.device).expand(batch, 2)
        return self._advance(empty, z, variables, z.new_zeros(batch, len(BUTTONS)), flags, none if start else none - 1)

    def recall(self, z: Tensor, actions: Tensor, variables: Tensor, scenario: Tensor, age: Tensor) -> DreamState:
        """Dreams (B,) that remember T real steps from the middle of episodes, in one pass.

        Args:
            z: states (B, T, D).
            actions: what was pressed between them, (B, T − 1, 9).
            variables: game variables at each, (B, T, V).
            scenario: index of the world, (B,).
            age: steps since the episode began at the first of them, (B,); negative where unknown.
        """
        h, cache, length = self.trunk.prefill(self.tokens(z, actions, variables, scenario, age))
        now = later(age, z.shape[1] - 1).long()
        return DreamState(z[:, -1], h[:, -1], variables[:, -1], scenario, now, cache, length)

    def tokens(self, z: Tensor, actions: Tensor, variables: Tensor, scenario: Tensor, age: Tensor) -> Tensor:
        """Trunk tokens (B, T, E) of T steps in a row: the same facts as stepping sees.

        Args:
            z: states (B, T, D).
            actions: what was pressed between them, (B, T − 1, 9).
            variables: game variables at each, (B, T, V).
            scenario: index of the world, (B,).
            age: steps since the episode began at the first of them, (B,); 0: it begins there, negative: unknown.
        """
        batch, steps = z.shape[:2]
        scaled = variables / self.scales
        change = F.pad(scaled[:, 1:] - scaled[:, :-1], (0, 0, 1, 0))
        flags = z.new_zeros(batch, steps, 2)
        flags[:, 1:, 0] = 1.0
        flags[:, 0, 1] = (age == 0).to(z.dtype)
        ages = later(age[:, None], torch.arange(steps, device=z.device))
        pressed, worlds = F.pad(actions, (0, 0, 1, 0)), scenario[:, None].expand(batch, steps)
        return self.trunk.embed(z, pressed, scaled, change, worlds, flags, ages)

    def _advance(
        self, state: DreamState, z: Tensor, variables: Tensor, action: Tensor, flags: Tensor, age: Tensor | None = None
    ) -> DreamState:
        age = later(state.age, 1) if age is None else age
        change = (variables - state.variables) / self.scales
        token = self.trunk.embed(z, action, variables / self.scales, change, state.scenario, flags, age)
        h, cache = self.trunk.step(token, state.cache, state.length)
        length = (state.length + 1).clamp(max=self.config.context - 1)
        return DreamState(z, h, variables, state.scenario, age, cache, length)

    def observe(
        self,
        frames: Tensor | np.ndarray,
        actions: Tensor | np.ndarray | None = None,
        state: DreamState | None = None,
        variables: Tensor | np.ndarray | None = None,
        scenario: str | Sequence[str] | Tensor | None = None,
        start: bool = True,
    ) -> DreamState:
        """Take in real history, or one more real step onto `state`.

        Args:
            frames: uint8 (B, T, 120, 160, 3).
            actions: (B, T − 1, 9), what was pressed between them; with `state`, T is 1 and there is one action (B, 1, 9).
            state: the context to go on from.
            variables: game variables at each frame, (B, T, V); None: full health, full ammunition, unchanged.
            scenario: name or names; None: neutral heads. Ignored when `state` is given.
            start: the first frame is the first of its episode.

        Raises:
            ValueError: if the shapes do not fit together.
        """
        z = self.encode(frames)
        batch, steps = z.shape[:2]
        needed = steps if state is not None else steps - 1
        if state is not None and (steps != 1 or len(state) != batch):
            raise ValueError(f"with a state, give one frame and one action for each of its {len(state)} dreams, got {tuple(z.shape[:2])}")
        if actions is None:
            actions = torch.zeros(batch, 0, len(BUTTONS))
        pressed = torch.as_tensor(actions)
        if tuple(pressed.shape) != (batch, needed, len(BUTTONS)):
            raise ValueError(f"{steps} frames need actions of shape ({batch}, {needed}, {len(BUTTONS)}), got {tuple(pressed.shape)}")
        if variables is None:
            values = state.variables[:, None] if state is not None else self.scales.expand(batch, steps, -1)
        else:
            values = torch.as_tensor(variables, dtype=torch.float32, device=self.device)
            if tuple(values.shape) != (batch, steps, len(self.config.variables)):
                raise ValueError(f"variables must have shape ({batch}, {steps}, {len(self.config.variables)}), got {tuple(values.shape)}")
        first = 0
        if state is None:
            index = self.scenario_index(scenario, batch)
            state, first = self.begin(z[:, 0], values[:, 0] * self.masks[index], index, start), 1
        flags = torch.tensor([1.0, 0.0], device=self.device).expand(batch, 2)
        for t in range(first, steps):
            action = self.check_action(pressed[:, t - first], batch)
            state = self._advance(state, z[:, t], values[:, t] * self.masks[state.scenario], action, flags)
        return state

    def imagine(
        self, state: DreamState, action: Tensor | np.ndarray, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[DreamState, Tensor, Tensor]:
        """Dream one step.

        Args:
            state: B dreams.
            action: (B, 9) buttons.
            temperature: divides the log odds of the codes from which the next state is made; 0 gives the central future, 1 the
                learned distribution, more is wilder. Above 0 the game's own dice (hits, ends) always fall at their learned odds.
            generator: the dice, on the model's device.

        Returns:
            the next state, reward (B,), probability of going on (B,). The reward is the mean given the drawn change of
            the game variables; so is the probability, except at temperature 0, where it is the mean over all changes.
        """
        buttons = self.check_action(action, len(state))
        dynamics = self.dynamics
        g = dynamics.act(state.h, buttons)
        logits = self.outcome_logits(g, state.scenario)
        if temperature > 0:
            drawn = [torch.multinomial(part.softmax(-1), 1, generator=generator)[:, 0] for part in logits]
        else:
            drawn = [part.argmax(-1) for part in logits]
        c = dynamics.given_outcome(g, drawn)
        change = torch.stack([self.deltas(i)[index] for i, index in enumerate(drawn)], -1) * self.masks[state.scenario]
        variables = state.variables + change
        proceed, reward = self.ending(c, variables, state.scenario)
        if temperature > 0:
            c = c + dynamics.codes.sample(c, temperature, generator)
        else:
            proceed = 1 - self.end_risk(state, buttons)
        z = self.manifold(dynamics.next_state(state.z, c), state.scenario)
        flags = torch.tensor([1.0, 0.0], device=z.device).expand(len(z), 2)
        return self._advance(state, z, variables, buttons, flags), reward, proceed

    def ending(self, c: Tensor, variables: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of going on and mean reward, both (...,), given c (..., E), variables (..., V) after the step, world (...,).

        Two rules of the game are kept whatever the heads say: in some worlds whoever has health left is not dead, and in some the prize
        ends the episode, so the end is at least as likely as the prize. Without the second a dream pays again and again.
        """
        go_on, reward_logits = self.dynamics.ending(c, variables / self.scales)
        odds = reward_logits.softmax(-1)
        prize = (odds * (self.dynamics.rewards > self.prizes[scenario][..., None])).sum(-1)
        proceed = torch.minimum(go_on.sigmoid(), 1 - prize)
        alive = self.mortal[scenario] & (variables[..., 0] > 0)
        return torch.where(alive, 1.0, proceed), (odds * self.dynamics.rewards).sum(-1)

    def end_risk(self, state: DreamState, action: Tensor) -> Tensor:
        """Probability (B,) that `action` (B, 9) ends the episode: exact over all changes of the first variable."""
        return self.risk_from_features(state.h, action, state.variables, state.scenario)

    def risk_from_features(self, h: Tensor, action: Tensor, variables: Tensor, scenario: Tensor) -> Tensor:
        """`end_risk` from trunk features h (B, E), for use on whole windows."""
        dynamics, (first, *others) = self.dynamics, range(len(self.config.deltas))
        g = dynamics.act(h, action)
        logits = self.outcome_logits(g, scenario)
        size = logits[first].shape[-1]
        lanes = (*g.shape[:-1], size)  # B, S
        drawn = [torch.arange(size, device=g.device).expand(lanes)]
        drawn += [logits[i].argmax(-1)[..., None].expand(lanes) for i in others]
        c = dynamics.given_outcome(g[..., None, :].expand(*lanes, g.shape[-1]), drawn)
        change = torch.stack([self.deltas(i)[index] for i, index in enumerate(drawn)], -1)
        after = variables[..., None, :] + change * self.masks[scenario][..., None, :]
        proceed, _ = self.ending(c, after, scenario[..., None].expand(lanes))
        return (logits[first].softmax(-1) * (1 - proceed)).sum(-1)

    def features(self, state: DreamState) -> Tensor:
        """What an agent sees: [z, h, scaled variables], float32 (B, F)."""
        return torch.cat([state.z, state.h, state.variables / self.scales], -1)

    def decode(self, state: DreamState | Tensor) -> Tensor:
        """Pictures of states (B, D), or of a dream's newest ones: uint8 (B, 120, 160, 3)."""
        z = state.z if isinstance(state, DreamState) else state
        pixels = self.decoder(z).clamp(0, 1).mul(255).round()
        return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def drift(self, state: DreamState) -> Tensor:
        """How far the newest states are from the Gaussian they were trained to, (B,): |z|²/D − 1; 0 is typical."""
        return state.z.square().mean(-1) - 1
