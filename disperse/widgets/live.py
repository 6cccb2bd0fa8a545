"""Curves and samples that move while a run trains, in a notebook."""

import io
import time
from pathlib import Path
from typing import Any

from IPython.display import DisplayHandle, Image, display
from torch import Tensor

from ..errors import StorageError
from ..experiments import paper
from ..plot import training
from ..sampling import SamplerConfig, sample
from ..spec import RunSpec
from ..training import latest_step, load_model

SEEDS = 60  # as many rows of ten as fit beside the curves


class LiveCurves:
    """Redraws the training curves as rows arrive; give it to ``train(..., on_log=LiveCurves(spec))``.

    Pictures rather than widgets, so that the last one stays in a notebook that was executed without a
    browser. Nothing that it draws at random touches the run: samples are keyed by their seeds.

    Args:
        spec: of the run.
        label: colour and name of the curve; the run's name by default.
        folder: of the run; with it, samples of each new checkpoint stand beside the curves, the same
            seeds every time.
        guidance: of the samples.
        interval_s: shortest time between two pictures, so that drawing hardly slows training; the last one,
            at the end, is drawn in any case.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        label: str | None = None,
        folder: Path | None = None,
        guidance: float = 1.5,
        interval_s: float = 5.0,
    ):
        self.spec = spec
        self.label = label or spec.name
        self.folder = folder
        self.guidance = guidance
        self.interval_s = interval_s
        self.rows: list[dict[str, Any]] = []
        self.handle: DisplayHandle | None = None
        self.drawn = -float("inf")
        self.sampled: int | None = None
        self.grid: Tensor | None = None
        self.caption = ""

    def __call__(self, rows: list[dict[str, Any]]) -> None:
        """Take new rows of ``metrics.jsonl``."""
        self.rows += rows
        over = bool(rows) and rows[-1]["step"] + self.spec.log_interval > self.spec.num_steps
        if len(self.rows) < 2 or (time.monotonic() - self.drawn < self.interval_s and not over):
            return
        if self.folder is not None:
            self._sample(self.folder)
        buffer = io.BytesIO()
        figure = training(
            {self.label: self.rows}, {self.label: self.spec}, pixels=self.grid, caption=self.caption
        )
        figure.savefig(buffer, format="png", dpi=80)
        name = paper.NAMES.get(self.label, self.label)
        alt = f"Training curves of {name} up to step {self.rows[-1]['step']:.0f} of {self.spec.num_steps}"
        alt += f", and samples of step {self.sampled}" if self.sampled is not None else ""
        picture = Image(data=buffer.getvalue(), alt=alt)
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
        self.drawn = time.monotonic()

    def _sample(self, folder: Path) -> None:
        """Sample from the newest checkpoint, once."""
        try:
            step = latest_step(folder)
        except StorageError:  # none yet
            return
        if step == self.sampled:
            return
        model = load_model(folder, step=step, device=self.spec.device)
        # Half of the system's usual steps where it integrates: these are to look at, not to measure.
        usual = SamplerConfig.for_system(model.objective.kind)
        config = usual.replace(num_steps=max(usual.num_steps // 2, 1), guidance=self.guidance)
        labels = [seed % min(model.config.num_classes, 10) for seed in range(SEEDS)]
        self.grid = sample(model, range(SEEDS), labels, config)
        weights = f"EMA {self.spec.ema[0]}" if self.spec.ema else "raw weights"
        self.caption = f"step {step}, seeds 0–{SEEDS - 1}\n{config.describe()}\n{weights}"
        self.sampled = step
