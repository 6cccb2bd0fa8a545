"""Curves that move while a run trains, in a notebook."""

import io
import time
from typing import Any

from IPython.display import DisplayHandle, Image, display

from ..figures import training_figure


class LiveCurves:
    """Redraws the training curves as rows arrive; give it to ``train(..., on_log=LiveCurves(label))``.

    Args:
        label: name and colour of the curve.
        interval_s: shortest time between two pictures, so that drawing never slows training.
    """

    def __init__(self, label: str, *, interval_s: float = 3.0):
        self.label = label
        self.interval_s = interval_s
        self.rows: list[dict[str, Any]] = []
        self.handle: DisplayHandle | None = None
        self.drawn = -float("inf")

    def __call__(self, rows: list[dict[str, Any]]) -> None:
        """Take new rows of ``metrics.jsonl``."""
        self.rows += rows
        if len(self.rows) < 2 or time.monotonic() - self.drawn < self.interval_s:
            return
        buffer = io.BytesIO()
        training_figure({self.label: self.rows}).savefig(buffer, format="png", dpi=80)
        picture = Image(data=buffer.getvalue())
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
        self.drawn = time.monotonic()
