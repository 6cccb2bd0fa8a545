"""What happens during a run."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..experiments import paper
from .theme import COLORS, log_axis, new_figure

PANELS = (
    ("diffusion", "diffusion loss", "Denoising"),
    ("regularizer_0", "dispersive loss", "Dispersion"),
    ("feature_rms", "feature rms at ¼ depth", "Norm"),
)


def training_figure(logs: dict[str, list[dict[str, Any]]]) -> Figure:
    """Diffusion loss, dispersive loss and feature norm over steps, label → rows of ``metrics.jsonl``."""
    figure, axes = new_figure(11, 3.4, columns=len(PANELS))
    for label, rows in logs.items():
        frame = pd.DataFrame(rows)
        color = COLORS.get(label, COLORS["infonce-l2"])
        for ax, (column, _, _) in zip(axes, PANELS, strict=True):
            if column in frame:
                ax.plot(frame.step, frame[column], color=color, alpha=0.25, linewidth=0.8)
                smooth = frame[column].rolling(max(len(frame) // 20, 1), min_periods=1).mean()
                ax.plot(frame.step, smooth, color=color, label=paper.NAMES.get(label, label))
    for ax, (column, ylabel, title) in zip(axes, PANELS, strict=True):
        ax.set(xlabel="training step", ylabel=ylabel, title=title)
        if column == "diffusion":
            ax.set_yscale("log")
            log_axis(ax.yaxis)
    axes[0].legend()
    return figure
