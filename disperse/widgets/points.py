"""Points of features in the plane that show their images, in a notebook and as a page of their own."""

import base64
import html
import json
import string
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .. import atomic
from ..experiments import paper
from ..figures import COLORS, read_sidecar
from ..figures.representations import TITLES, plane_limits
from ..figures.theme import class_colors
from .sheet import columns_of, sheet_png

HERE = Path(__file__).parent
CELL = 64  # most pixels of an image's side


class Points(anywidget.AnyWidget):
    """Features of the same images in several planes.

    Attributes:
        scene: what is drawn: planes with their points, labels, palette, and the images as one sheet; and a
            caption of all that.
        selected: indices of the images that were drawn around.
        hovered: index of the image under the pointer, or −1.
    """

    _esm = HERE / "points.js"
    _css = HERE / "points.css"
    scene = traitlets.Dict().tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True)


def points_scene(plane: Path, images: Tensor) -> dict[str, Any]:
    """What ``Points`` draws of a published picture of planes: its sidecar's coordinates, and the images.

    Args:
        plane: the picture.
        images: that its features are of, in order, as pictures (n, c, h, w) in [−1, 1]; large ones are shown
            at 64 × 64.
    """
    facts = read_sidecar(plane)
    planes = []
    for number, run in enumerate(facts["runs"]):
        for method, models in facts["coordinates"].items():
            low, high = plane_limits(models)
            planes.append({
                "title": f"{TITLES[method]}, {paper.name_of(run['label'])}",
                "color": COLORS[run["label"]],
                "points": np.clip(models[number], low, high).tolist(),  # those far out lie at the edge
                "low": low,
                "high": high,
            })  # fmt: skip
    small = images if images.shape[-1] <= CELL else adaptive_avg_pool2d(images, CELL)
    sheet = base64.b64encode(sheet_png(small)).decode()
    run, classes = facts["runs"][0], sorted(set(facts["labels"]))
    split = "training" if facts["split"] == "train" else facts["split"]
    what = f"What block {facts['block']} (counted from 0) makes of {facts['n']} {split} images"
    whose = f"training seed {run['seed']}, step {run['step']}, weights {facts['weights']}"
    return {
        "caption": f"{what} at noise level {facts['level']:g}; {whose}. One fit projects all models.",
        "planes": planes,
        "labels": facts["labels"],
        "palette": dict(zip(map(str, classes), class_colors(len(classes)), strict=True)),
        "sprite": f"data:image/png;base64,{sheet}",
        "cell": small.shape[-1],
        "columns": columns_of(len(images)),
    }


def points_html(scene: dict[str, Any], title: str, caption: str, path: Path) -> Path:
    """Write the planes as one page that needs no server and no network; hover and lasso work there too."""
    script = (HERE / "points.js").read_text(encoding="utf-8").replace("export default { render };", "")
    page = string.Template((HERE / "points.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        caption=html.escape(caption),
        css=(HERE / "points.css").read_text(encoding="utf-8"),
        script=script,
        scene=json.dumps(scene).replace("</", "<\\/"),
    )
    atomic.write_text(path, page)
    return path
