"""What a gallery shows: a strict, frozen description that makes the same picture anywhere the runs are."""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator

from ..errors import ConfigError, StorageError
from ..sampling import Sampled

MOST = 100  # samples at once: a page full


class GallerySettings(Sampled):
    """Samples of one or two runs from the same noise.

    Attributes:
        runs: one or two run folders by name, left and right, of one system.
        step: checkpoint of training.
        weights: ``"raw"`` or an average that the runs keep.
        label: class of all samples; None: sample seed modulo the number of classes.
        first_seed, num: sample seeds first_seed to first_seed + num − 1, 1 ≤ num ≤ 100.
    """

    ALWAYS = (*Sampled.ALWAYS, "guidance_interval")

    runs: tuple[str, ...] = Field(min_length=1, max_length=2)
    step: int = Field(ge=0)
    weights: str
    label: int | None = Field(default=None, ge=0)
    first_seed: int = Field(default=0, ge=0)
    num: int = Field(default=40, ge=1, le=MOST)

    @field_validator("runs")
    @classmethod
    def _names_alone(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        for run in runs:
            if Path(run).name != run:
                raise ValueError(f"{run!r}: expected the name of a run folder, not a path")
        return runs

    @property
    def seeds(self) -> range:
        """Of the samples."""
        return range(self.first_seed, self.first_seed + self.num)

    def alone(self, run: str) -> Self:
        """The same of one run."""
        return self.replace(runs=(run,))

    def describe(self) -> str:
        """One line for a caption."""
        who = "seed mod number of classes" if self.label is None else f"class {self.label}"
        weights = "raw weights" if self.weights == "raw" else f"EMA {self.weights}"
        return (
            f"step {self.step}, {weights}; sample seeds {self.seeds[0]}–{self.seeds[-1]}, {who}; "
            f"{self.sampler.describe()}"
        )


def read_settings(path: Path) -> GallerySettings:
    """Settings from a JSON file: as a gallery exports them, or bare.

    Raises:
        StorageError: it can't be read.
        ConfigError: it holds something else; the message names the field.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from None
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):
        values = values["settings"]
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected an object with the settings of a gallery")
    return GallerySettings.parse(values, "settings")
