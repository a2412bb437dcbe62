"""`InverseDynamics`: gameplay pictures in, keys out.

    model = InverseDynamics.from_pretrained("runs/idm/weights")
    labels = model.label(frames)  # uint8 (T, 120, 160, 3), 8.75 a second → Labels

Legend: T frames, W width of a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from doom_dream_env.errors import UserError
from doom_dream_env.idm.config import IDM_PRESETS, IDMConfig
from doom_dream_env.idm.decoding import decode
from doom_dream_env.idm.labels import Labels
from doom_dream_env.idm.network import IDMOutput, Network
from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.files import CONFIG, read_checked, read_json, write_checked, write_json
from doom_dream_env.world_model.hub import find_folder
from doom_dream_env.world_model.origins import FREEDOOM, NOT_SAID, Origin, from_json

WEIGHTS = "idm.safetensors"
SHIPPED = Path(__file__).resolve().parent / "weights"
BLOCK = 256  # steps that are labelled together
FRAMES_AT_ONCE = 64  # that go through the convolutions together
LAG = 32  # steps beyond a block that decoding looks at: what comes later changes no key (its costs are a few nats)

Frames = npt.NDArray[np.uint8]


class InverseDynamics(nn.Module):
    """Reads the keys off gameplay pictures, with what comes before and after each (non-causally).

    Attributes:
        config: sizes, and the costs with which keys are decoded.
        network: the computation.
    """

    def __init__(self, config: IDMConfig = IDM_PRESETS["nano"]) -> None:
        super().__init__()
        self.config = config
        self.network = Network(config)

    def forward(self, frames: Tensor) -> IDMOutput:
        """uint8 (B, T, 120, 160, 3) → logits of what happened between each frame and the next one."""
        return self.network(frames)

    # ---- labelling ---------------------------------------------------------------------------------------------------

    def label(self, frames: Frames) -> Labels:
        """Label one stretch of play.

        Args:
            frames: uint8 (T, 120, 160, 3), 8.75 a second, in order, without a cut.

        Raises:
            ValueError: if the frames have another shape or type.
        """
        return Labels.joined(list(self.label_stream([frames])))

    def label_stream(self, chunks: Iterable[Frames]) -> Iterator[Labels]:
        """Label one stretch of play that comes in chunks, in bounded memory.

        Args:
            chunks: of frames that follow each other, each as in `label`, of any length.

        Yields:
            labels of consecutive steps; together they are those of `label`, whatever the chunks.

        Raises:
            ValueError: if the frames have another shape or type.
        """
        margin = self.config.margin + LAG
        tokens = torch.zeros(0, self.config.width)
        before = 0  # how many of the tokens are of steps that are labelled already
        for part, last in _with_last(self._tokens(chunks)):
            tokens = torch.cat([tokens, part])
            while len(tokens) - before >= BLOCK + margin or (last and len(tokens) > before):
                end = min(before + BLOCK, len(tokens))
                yield self._decoded(tokens[: end + margin]).part(before, end)
                dropped = max(end - margin, 0)
                tokens = tokens[dropped:]
                before = end - dropped

    @torch.inference_mode()
    def _tokens(self, chunks: Iterable[Frames]) -> Iterator[Tensor]:
        """What each frame and the next one show, (T, W) at a time; the last of all comes alone."""
        device = self.network.last.device
        training = self.training
        self.eval()
        kept: Frames | None = None  # the newest frame, whose next one has not come yet
        try:
            for chunk in chunks:
                check_frames(chunk)
                for begin in range(0, len(chunk), FRAMES_AT_ONCE):
                    part = chunk[begin : begin + FRAMES_AT_ONCE]
                    window = part if kept is None else np.concatenate([kept, part])
                    kept = window[-1:]
                    if len(window) > 1:
                        frames = torch.from_numpy(np.ascontiguousarray(window)).to(device)
                        yield self.network.tokens(frames[None])[0, :-1].float().cpu()
            if kept is not None:
                yield self.network.tokens(torch.from_numpy(kept).to(device)[None])[0].float().cpu()
        finally:
            self.train(training)

    @torch.inference_mode()
    def _decoded(self, tokens: Tensor) -> Labels:
        """Labels of tokens (T, W)."""
        x = tokens.to(self.network.last.device)[None]
        output = self.network.heads(self.network.temporal(x))
        single = IDMOutput(**{field.name: getattr(output, field.name)[0] for field in fields(output)})
        return decode(single, self.config.switch_costs)

    # ---- files -------------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, device: torch.device | str = "cpu") -> InverseDynamics:
        """Load weights.

        Args:
            folder: where `save_pretrained` put them, or a hub id (`owner/name`, `owner/name@revision`); None: those
                that ship with the package.
            device: where it shall compute.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: if a file is damaged or of another format version; the message names it.
        """
        if folder is None:
            found = sorted(SHIPPED.glob(f"*/{CONFIG}"))
            if not found:
                raise FileNotFoundError(
                    "no inverse dynamics weights ship with this installation; train some: python -m training idm, "
                    "and give their folder (runs/idm/weights)"
                )
            folder = found[0].parent
        folder = find_folder(folder, (CONFIG, WEIGHTS, "README.md"), read_files)
        config, tensors = read_files(folder)
        model = cls(config)
        try:
            model.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
            )
        except RuntimeError as error:
            raise UserError(f"{folder / WEIGHTS} does not fit its {CONFIG}: {error}; fetch both anew") from error
        return model.to(device).eval()

    def save_pretrained(self, folder: str | Path, origins: Iterable[Origin] = (NOT_SAID,)) -> None:
        """Write config.json and the weights in half precision, with a checksum; see `from_pretrained`.

        Args:
            folder: where to.
            origins: whose pictures it learned from.
        """
        folder = Path(folder)
        values = json.loads(json.dumps(self.config.to_dict()))
        half = {name: value.half() if value.is_floating_point() else value for name, value in self.state_dict().items()}
        about = {"config": values, "origins": [asdict(origin) for origin in origins]}
        write_checked(folder / WEIGHTS, half, {key: json.dumps(value, sort_keys=True) for key, value in about.items()})
        write_json(folder / CONFIG, values)


def read_files(folder: Path) -> tuple[IDMConfig, dict[str, Tensor]]:
    """Configuration and tensors of the weights in a folder.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or of another format version.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"no inverse dynamics weights in {folder}: {CONFIG} is missing; expected a folder that "
            "InverseDynamics.save_pretrained or python -m training idm has made"
        )
    values = read_json(folder / CONFIG)
    config = IDMConfig.from_dict(values)
    try:
        metadata, tensors = read_checked(folder / WEIGHTS)
    except ValueError as error:
        raise UserError(f"{error}; fetch it anew") from error
    if json.loads(metadata.get("config", "null")) != values:
        raise UserError(f"{folder / CONFIG} is not the one that {WEIGHTS} was written with; fetch both anew")
    return config, tensors


def origins_of(folder: Path) -> tuple[Origin, ...]:
    """Whose pictures the weights in a folder learned from. Those of earlier releases do not say it.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if the file is damaged.
    """
    said = read_checked(folder / WEIGHTS)[0].get("origins")
    return from_json(json.loads(said)) if said else (FREEDOOM if folder.parent == SHIPPED else NOT_SAID,)


def _with_last(parts: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each part, and whether it is the last one."""
    kept: Tensor | None = None
    for part in parts:
        if kept is not None:
            yield kept, False
        kept = part
    if kept is not None:
        yield kept, True


def check_frames(frames: Frames) -> None:
    """Are these frames that the model can look at?

    Raises:
        ValueError: if not.
    """
    shape = getattr(frames, "shape", None)
    dtype = getattr(frames, "dtype", None)
    if dtype != np.uint8 or shape is None or len(shape) != 4 or shape[1:] != FRAME_SHAPE:
        raise UserError(
            f"frames must be uint8 (T, {', '.join(map(str, FRAME_SHAPE))}), got {dtype} {shape}; "
            "resize them and keep RGB order"
        )
