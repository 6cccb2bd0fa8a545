"""Points of features in the plane that show their images, in a notebook and as a page of their own."""

import base64
import html
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .. import atomic
from ..plot.maps import plane_limits
from ..plot.theme import class_colors, color_of
from .sheet import columns_of, sheet_png

HERE = Path(__file__).parent
CELL = 64  # most pixels of an image's side
TITLES = {"pca": "PCA", "umap": "UMAP", "densmap": "densMAP"}


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


def points_scene(
    planes: Mapping[str, Any], names: Mapping[str, str], labels: Sequence[int], images: Tensor, caption: str
) -> dict[str, Any]:
    """What ``Points`` draws: every model's features by every method, and the images that they are of.

    Args:
        planes: method → coordinates (models, n, 2), of one fit to all models: they share one scale.
        names: of the models, in their order → what they are called; one with a fixed colour has it.
        labels: n classes.
        images: as pictures (n, c, h, w) in [−1, 1]; large ones are shown at 64 × 64.
        caption: of all planes.
    """
    drawn = []
    for number, (name, title) in enumerate(names.items()):
        for method, models in planes.items():
            low, high = plane_limits(models)
            drawn.append({
                "title": f"{TITLES.get(method, method)}, {title}",
                "color": color_of(name, number),
                "points": np.clip(models[number], low, high).tolist(),  # those far out lie at the edge
                "low": low,
                "high": high,
            })  # fmt: skip
    small = images if images.shape[-1] <= CELL else adaptive_avg_pool2d(images, CELL)
    sheet = base64.b64encode(sheet_png(small)).decode()
    classes = sorted(set(labels))
    return {
        "caption": caption,
        "planes": drawn,
        "labels": list(labels),
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
