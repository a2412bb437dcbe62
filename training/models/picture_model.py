"""What the stage decoder trains: a picture model, its moving average, and the critic.

A picture model is the decoder alone, from states to pictures, or an autoencoder, from frames to pictures. The
autoencoder is a yardstick: how good could pictures be at this size, if the state were made for nothing but pictures?

Legend: N pictures, D state width.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model import WorldModelConfig
from doom_dream_env.world_model.decoder import Decoder
from doom_dream_env.world_model.encoder import Encoder
from doom_dream_env.world_model.files import read_checked
from training.data.annotations import OBJECT_MAP_SHAPE
from training.models.critic import Critic

AVERAGE = "module.average.module."  # of the names of the averaged tensors in a checkpoint


class PictureModel(nn.Module):
    """The decoder, for the autoencoder an encoder that is trained along, and a head that exists in training only.

    The head reads off the decoder's cells where objects stand. Few pixels show a fireball, and a pixel loss places it
    after all else; a cell that has to know of it can paint it.
    """

    def __init__(self, decoder: Decoder, encoder: Encoder | None = None) -> None:
        """Take parts, which are trained as they are and not copied."""
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder
        classes, rows, columns = OBJECT_MAP_SHAPE
        self.finer = rows // decoder.rows
        if (decoder.rows * self.finer, decoder.columns * self.finer) != (rows, columns):
            raise ValueError(f"a decoder of {decoder.rows}x{decoder.columns} cells does not fit {rows}x{columns} maps")
        self.objects = nn.Conv2d(decoder.cells.in_channels, classes * self.finer**2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, 120, 160), about 0…1, and logits of objects (N, 3, 12, 16).

        Args:
            x: states (N, D); with an encoder, uint8 frames (N, 120, 160, 3).
        """
        z = x if self.encoder is None else self.encoder(x)
        cells = self.decoder.place(z)
        return self.decoder.paint(cells, z), F.pixel_shuffle(self.objects(cells), self.finer)


class DecoderModules(nn.Module):
    """All that the stage decoder writes into its checkpoint.

    Attributes:
        picture_model: what learns.
        average: its moving average, which is what ships.
        critic: tells real pictures from decoded ones; it learns late or never (see `training.stages.decoder`).
    """

    def __init__(self, picture_model: PictureModel, critic: Critic, ema_decay: float) -> None:
        """Begin an average that remembers 1 / (1 − `ema_decay`) steps."""
        super().__init__()
        self.picture_model = picture_model
        # The average moves faster in the beginning, when there is little worth keeping: the decay after n steps is
        # n / (9 + n), until that reaches `ema_decay`. timm counts from its step 1, hence `update_after_step`.
        self.average = ModelEmaV3(
            picture_model, decay=ema_decay, use_warmup=True, warmup_gamma=9, warmup_power=1.0, update_after_step=-1
        )
        self.critic = critic

    @property
    def averaged(self) -> PictureModel:
        """The picture model with averaged weights."""
        return cast("PictureModel", self.average.module)

    def update_average(self, steps: int) -> None:
        """Move the average towards the picture model, which has made `steps` optimiser steps so far."""
        self.average.update(self.picture_model, steps)


def load_picture_model(path: Path, config: WorldModelConfig, *, autoencoder: bool = False) -> PictureModel:
    """The averaged picture model from a checkpoint of the stage decoder, in evaluation mode.

    Args:
        path: the checkpoint.
        config: sizes of the world model that it belongs to.
        autoencoder: is it an autoencoder or a decoder alone?

    Raises:
        ValueError: if the file is not of this size, or of a run that trained the other kind.
    """
    model = PictureModel(Decoder(config), Encoder(config) if autoencoder else None)
    try:
        _, found = read_checked(path)
        model.load_state_dict({key.removeprefix(AVERAGE): v for key, v in found.items() if key.startswith(AVERAGE)})
    except (OSError, ValueError, RuntimeError) as error:
        kind = "autoencoder" if autoencoder else "decoder"
        raise ValueError(
            f"{path} is no {kind} of these weights' size ({error}); the stage decoder makes them"
        ) from error
    return model.eval().requires_grad_(False)
