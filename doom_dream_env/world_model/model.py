"""`WorldModel`: encode, observe, imagine, features, decode, draw.

Legend: B batch, T time, D state width, E trunk width, F feature width, V variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model import files
from doom_dream_env.world_model.checks import checked_buttons, checked_frames, checked_history, checked_variables
from doom_dream_env.world_model.codes import BELOW_ONE
from doom_dream_env.world_model.config import WorldModelConfig
from doom_dream_env.world_model.decoder import CODES, UNKNOWN, Decoder
from doom_dream_env.world_model.dynamics import Dynamics
from doom_dream_env.world_model.encoder import Encoder
from doom_dream_env.world_model.manifold import Manifold
from doom_dream_env.world_model.origins import NOT_SAID, Origin
from doom_dream_env.world_model.outcomes import OutcomeRule, most_likely, sampled
from doom_dream_env.world_model.state import DreamState, advance_elapsed
from doom_dream_env.world_model.trunk import Tape, Trunk, step_flags

ENCODE_AT_ONCE = 256  # frames; more at once need memory and are no faster


class WorldModel(nn.Module):
    """A latent world model of DOOM: LeWorldModel's lineage with variables, rewards, terminations and a sampled future.

    Attributes:
        config: sizes, scenarios, supports.
        encoder, trunk, dynamics, manifold, decoder: frames to states; what it remembers of the last steps; what an
            action brings; where real states are; states to pictures.
        initial_states: states and variables of first frames, to begin dreams from, by `Scenario.place`.
        context_clips: a dozen steps each from anywhere in an episode, to begin dreams in the middle, likewise.
        fingerprint: tells weights apart; agents name the one they were trained in.
        source: name of the shipped set or folder that the weights came from.
        origins: whose pictures they were trained on.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.trunk = Trunk(config)
        self.dynamics = Dynamics(config)
        self.manifold = Manifold(len(config.scenarios), config.state_width)
        self.decoder = Decoder(config)
        self.initial_states: files.InitialStates = {}
        self.context_clips: files.ContextClips = {}
        self.fingerprint = "untrained"
        self.source = ""
        self.origins: tuple[Origin, ...] = (NOT_SAID,)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.scales.device

    @property
    def scales(self) -> Tensor:
        """What game variables are divided by before the model sees them, (V,)."""
        return self.dynamics.scales

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WorldModel:
        """What `to` and its like do with the weights, they do with what dreams begin with as well."""
        super()._apply(fn, recurse)
        for places in (self.initial_states, self.context_clips):
            places.update({place: tuple(map(fn, parts)) for place, parts in places.items()})  # type: ignore[misc]
        return self

    # ---- files -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, device: str | torch.device = "cpu", *, revision: str | None = None
    ) -> WorldModel:
        """Load weights, in evaluation mode.

        Args:
            name_or_path: None for the best that ship, the name of a shipped set, a folder, or a hub id (`owner/name`).
            device: where to put them.
            revision: of a hub id: a branch, tag or commit.

        Raises:
            FileNotFoundError: if there are no such weights.
            ValueError: if they are damaged, or of another configuration or format version.
        """
        folder = files.find_weights(name_or_path, revision)
        model = cls(WorldModelConfig.from_dict(files.read_json(folder / files.CONFIG)))
        model.fingerprint = files.check(folder)["fingerprint"]
        tensors = {key: value.float() for key, value in files.read_weights(folder).items()}
        expected, found = ({key: v.shape for key, v in part.items()} for part in (model._saved_tensors(), tensors))
        if wrong := sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)):
            raise UserError(f"weights in {folder} do not fit their config.json ({', '.join(wrong[:3])}); fetch both")
        model.load_state_dict(tensors, strict=False)
        model.initial_states, model.context_clips = files.read_initial_states(folder)
        model.origins = files.origins_of(folder)
        model.source = folder.name if folder.parent == files.SHIPPED else str(folder.resolve())
        return model.to(device).eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, card: str = "") -> str:
        """Write half-precision safetensors, config.json, checksums and a model card; return the fingerprint."""
        self.source = str(Path(folder).resolve())
        self.fingerprint = files.write_weights(
            Path(folder),
            self.config.to_dict(),
            self._saved_tensors(),
            self.initial_states,
            self.context_clips,
            card,
            self.origins,
        )
        return self.fingerprint

    def _saved_tensors(self) -> dict[str, Tensor]:
        """The tensors that are saved, by name: all but BatchNorm's counters, which nothing reads."""
        return {key: value for key, value in self.state_dict().items() if "num_batches" not in key}

    # ---- what goes in ----------------------------------------------------------------------------------------------

    def scenario_index(self, scenario: str | Sequence[str] | Tensor | None, batch: int) -> Tensor:
        """Indices (B,) of one or B scenario names; None is the unknown scenario.

        Raises:
            ValueError: on a name that these weights do not know.
        """
        if isinstance(scenario, Tensor):
            return scenario.to(self.device)
        if scenario is None:
            return torch.full((batch,), len(self.config.scenarios), device=self.device)
        names = [scenario] * batch if isinstance(scenario, str) else list(scenario)
        for name in names:
            if name not in self.config.scenarios:
                raise UserError(f"these weights know {', '.join(self.config.scenarios)}, not {name!r}")
        return torch.tensor([self.config.scenarios.index(name) for name in names], device=self.device)

    def encode(self, frames: Tensor | np.ndarray) -> Tensor:
        """Frames to states: uint8 (B, T, 120, 160, 3) → float32 (B, T, D).

        Raises:
            ValueError: on another shape.
            TypeError: on another dtype than uint8.
        """
        frames = checked_frames(frames)
        parts = frames.flatten(0, 1).split(ENCODE_AT_ONCE)
        states = torch.cat([self.encoder(part.to(self.device)) for part in parts])
        return states.reshape(*frames.shape[:2], -1)

    # ---- from real steps to a dream --------------------------------------------------------------------------------

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
            actions: what was pressed between them, (B, T − 1, 9); with `state`, T is 1 and there is one action
                (B, 1, 9).
            state: the context to go on from.
            variables: game variables at each frame, (B, T, V); None: full health, full ammunition, unchanged.
            scenario: name or names; None: neutral heads. Ignored when `state` is given.
            start: the first frame is the first of its episode.

        Raises:
            ValueError: if the shapes do not fit together.
        """
        z = self.encode(frames)
        batch, steps = z.shape[:2]
        if state is not None and (steps != 1 or len(state) != batch):
            raise UserError(
                f"with a state, give one frame and one action for each of its {len(state)} dreams, "
                f"got {tuple(z.shape[:2])}"
            )
        pressed = checked_history(actions, batch, steps if state is not None else steps - 1, steps)
        if variables is None:
            values = state.variables[:, None] if state is not None else self.scales.expand(batch, steps, -1)
        else:
            values = checked_variables(variables, (batch, steps, len(self.config.variables)), self.device)
        index = self.scenario_index(scenario, batch) if state is None else state.scenario
        values = values * self.dynamics.variable_mask[index][:, None]
        begun = 0  # frames that are in the state already
        if state is None:
            state = self.begin(z[:, 0], values[:, 0], index, start)
            begun = 1
        for t in range(begun, steps):
            state = self.advance(
                state, z[:, t], values[:, t], checked_buttons(pressed[:, t - begun], batch, self.device)
            )
        return state

    def begin(self, z: Tensor, variables: Tensor, scenario: Tensor, start: bool = True) -> DreamState:
        """A dream that begins at given states.

        Args:
            z: states (B, D).
            variables: game variables in the game's units, (B, V).
            scenario: index of the scenario, (B,).
            start: the episode begins here; otherwise how long it has lasted is unknown.
        """
        c = self.config
        batch = len(z)
        zero = torch.zeros(batch, dtype=torch.long, device=self.device)
        elapsed = zero if start else zero - 1
        cache = z.new_zeros(batch, c.trunk_depth, 2, c.context, c.trunk_width)
        empty = DreamState(z, z[:, :0], variables, scenario, elapsed, cache, zero)
        nothing_pressed = z.new_zeros(batch, len(BUTTONS))
        flags = step_flags(batch, action_known=False, episode_start=start, device=self.device)
        return self._step_trunk(empty, z, variables, nothing_pressed, flags, elapsed)

    def prefill(self, z: Tensor, actions: Tensor, variables: Tensor, scenario: Tensor, elapsed: Tensor) -> DreamState:
        """Dreams (B,) that remember T real steps from the middle of episodes, in one pass.

        Args:
            z: states (B, T, D).
            actions: what was pressed between them, (B, T − 1, 9).
            variables: game variables at each, in the game's units, (B, T, V).
            scenario: index of the scenario, (B,).
            elapsed: steps since the episode began at the first of them, (B,); negative where unknown.
        """
        h, cache, length = self.trunk.prefill(self.tokens(z, actions, variables, scenario, elapsed))
        now = advance_elapsed(elapsed, z.shape[1] - 1).long()
        return DreamState(z[:, -1], h[:, -1], variables[:, -1], scenario, now, cache, length)

    def tokens(self, z: Tensor, actions: Tensor, variables: Tensor, scenario: Tensor, elapsed: Tensor) -> Tensor:
        """Trunk tokens (B, T, E) of T steps in a row: what stepping with `advance` sees, all at once.

        Args:
            z: states (B, T, D).
            actions: what was pressed between them, (B, T − 1, 9).
            variables: game variables at each, in the game's units, (B, T, V).
            scenario: index of the scenario, (B,).
            elapsed: steps since the episode began at the first of them, (B,); 0: it begins there, negative: unknown.
        """
        batch, steps = z.shape[:2]
        scaled = variables / self.scales
        change = F.pad(scaled[:, 1:] - scaled[:, :-1], (0, 0, 1, 0))
        pressed = F.pad(actions, (0, 0, 1, 0))
        flags = z.new_zeros(batch, steps, 2)
        flags[:, 1:, 0] = 1.0  # the action that led here is known
        flags[:, 0, 1] = (elapsed == 0).to(z.dtype)  # the episode begins here
        elapsed_at = advance_elapsed(elapsed[:, None], torch.arange(steps, device=z.device))
        scenarios = scenario[:, None].expand(batch, steps)
        return self.trunk.embed(z, pressed, scaled, change, scenarios, flags, elapsed_at)

    # ---- dreaming --------------------------------------------------------------------------------------------------

    def imagine(
        self,
        state: DreamState,
        action: Tensor | np.ndarray,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        tape: Tape | None = None,
    ) -> tuple[DreamState, Tensor, Tensor]:
        """Dream one step.

        Args:
            state: B dreams.
            action: (B, 9) buttons.
            temperature: divides the log probabilities of the codes; 0: the mean next state. The game's
                own chances (hits, terminations) keep their learned probabilities above 0, but for `harm` and `healing`.
            generator: on the model's device; None: torch's own.
            noise: the step's chance itself, uniform in 0…1, (B, V + G), as `Dynamics.draw_noise` draws it; then no
                generator is asked. Dreams with equal noise have equal luck, whatever their actions are.
            tape: of whoever alone holds the state: its cache is kept there, and the given state has been used up.

        Returns:
            the next state, reward (B,), probability that the episode goes on (B,). Both are means given the chosen
            change of the game variables; at temperature 0 the probability is the mean over all changes.
        """
        # Not `len(state)`, which would fix the batch of an exported graph.
        buttons = checked_buttons(action, state.z.shape[0], self.device)
        dynamics = self.dynamics
        choose: OutcomeRule = most_likely
        luck = None
        if temperature > 0:
            noise = dynamics.draw_noise(len(state), generator) if noise is None else noise
            noise = noise * BELOW_ONE
            chances = len(self.config.variables)
            choose = sampled(noise[:, :chances], dynamics.odds[state.scenario])
            luck = noise[:, chances:]
        step = dynamics.transition(state.h, buttons, state.scenario, choose)
        variables = dynamics.changed_variables(state.variables, step.outcome, state.scenario)
        continues, reward = dynamics.continue_and_reward(step.condition, variables, state.scenario)
        code = None
        if luck is not None:
            code = dynamics.codes.sample(step.condition, temperature, luck)
        else:
            continues = 1 - dynamics.termination_probability(state.h, buttons, state.variables, state.scenario)
        z = self.manifold(dynamics.next_state(state.z, step.condition, code), state.scenario)
        return self.advance(state, z, variables, buttons, tape), reward, continues

    def advance(
        self, state: DreamState, z: Tensor, variables: Tensor, action: Tensor, tape: Tape | None = None
    ) -> DreamState:
        """Add one given step, real or dreamed, to what the dreams remember.

        Args:
            state: B dreams.
            z: their next states, (B, D).
            variables: game variables there, in the game's units, (B, V).
            action: the buttons that led there, float32 (B, 9).
            tape: as for `imagine`.
        """
        flags = step_flags(z.shape[0], action_known=True, episode_start=False, device=z.device)
        return self._step_trunk(state, z, variables, action, flags, advance_elapsed(state.elapsed, 1), tape)

    def _step_trunk(
        self,
        state: DreamState,
        z: Tensor,
        variables: Tensor,
        action: Tensor,
        flags: Tensor,
        elapsed: Tensor,
        tape: Tape | None = None,
    ) -> DreamState:
        change = (variables - state.variables) / self.scales
        token = self.trunk.embed(z, action, variables / self.scales, change, state.scenario, flags, elapsed)
        h, cache = self.trunk.step(token, state.cache, state.length, tape)
        length = (state.length + 1).clamp(max=self.config.context - 1)
        return DreamState(z, h, variables, state.scenario, elapsed, cache, length)

    def termination_probability(self, state: DreamState, action: Tensor) -> Tensor:
        """Probability (B,) that an action (B, 9) ends the episode: exact over all changes of the first variable."""
        return self.dynamics.termination_probability(state.h, action, state.variables, state.scenario)

    # ---- what comes out --------------------------------------------------------------------------------------------

    def features(self, state: DreamState) -> Tensor:
        """What an agent sees: [z, h, scaled variables], float32 (B, F)."""
        return torch.cat([state.z, state.h, state.variables / self.scales], -1)

    def decode(self, state: DreamState | Tensor) -> Tensor:
        """The surest pictures of states (B, D), or of a dream's newest ones: uint8 (B, 120, 160, 3)."""
        z = state.z if isinstance(state, DreamState) else state
        return self.paint(self.decoder.surest(z))

    def draw(
        self,
        state: DreamState | Tensor,
        codes: Tensor | None = None,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Drawn pictures of states: what the state leaves open is somewhere definite, and stays what it was.

        Args:
            state: states (B, D), or a dream.
            codes: of the pictures before, int64 (B, 24, 32); a negative number where nothing is known. None: nowhere.
            action: buttons that were pressed since then, (B, 9); None: none.
            generator: on the model's device; None: torch's own.
            noise: the chance itself, uniform in 0…1, (B, *`Decoder.noise_shape`); then no generator is asked.

        Returns:
            pictures, uint8 (B, 120, 160, 3), and their codes, which go into the next drawing.

        Raises:
            ValueError: if codes or noise are of another shape.
        """
        z = state.z if isinstance(state, DreamState) else state
        batch = z.shape[0]
        shape = self.decoder.noise_shape
        if noise is None:
            noise = torch.rand(batch, *shape, generator=generator, device=z.device)
        if codes is None:
            codes = torch.full((batch, *CODES), UNKNOWN, device=z.device)
        for name, value, expected in (("codes", codes, CODES), ("noise", noise, shape)):
            if tuple(value.shape[1:]) != expected or value.shape[0] != batch:
                raise UserError(f"{name} must have shape {(batch, *expected)}, got {tuple(value.shape)}")
        pressed = z.new_zeros(batch, len(BUTTONS)) if action is None else checked_buttons(action, batch, self.device)
        found = self.decoder.draw(z, codes, pressed, noise)
        return self.paint(found), found

    def paint(self, codes: Tensor) -> Tensor:
        """Pictures uint8 (B, 120, 160, 3) of codes (B, 24, 32), as `draw` returns them."""
        pixels = self.decoder.paint(codes).mul(255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous()

    def drift(self, state: DreamState) -> Tensor:
        """How far the newest states are from the Gaussian they were trained to, (B,): |z|²/D − 1; 0 is typical."""
        return state.z.square().mean(-1) - 1
