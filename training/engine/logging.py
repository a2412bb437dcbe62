"""What a run reports: TensorBoard, and one line of JSON per report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from training.engine.compute import Compute

LOG = "log.jsonl"


class RunLog:
    """Writes numbers and pictures of a run into a folder; does nothing on other ranks than the main one."""

    def __init__(self, folder: Path, compute: Compute) -> None:
        self.path = folder / LOG
        self.writer = None
        if compute.main:
            from torch.utils.tensorboard import SummaryWriter

            folder.mkdir(parents=True, exist_ok=True)
            self.writer = SummaryWriter(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record named numbers.

        Raises:
            OSError: if the disk is full; the message names the folder.
        """
        if self.writer is None:
            return
        line = {"step": step} | {name: round(value, 5) for name, value in values.items()}
        try:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(error.errno, f"could not write to {self.path.parent}: {error.strerror or error}") from error

    def pictures(self, step: int, name: str, pictures: Tensor) -> None:
        """Record pictures (N, 3, H, W) in 0…1 side by side."""
        if self.writer is not None:
            self.writer.add_images(name, pictures.clamp(0, 1), step)
