"""A gallery as files: a picture with its sidecar, and a page that needs no server and no network."""

import base64
import html
import json
import string
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import atomic
from ..experiments import home, paper
from ..plot import COLORS, COLUMN, axes, differences, images, keep
from ..store import commit
from .scenes import Scene, Scenes
from .settings import GallerySettings
from .sheet import difference_png, sheet_png
from .sources import source_named

TEMPLATE = Path(__file__).parent / "gallery.html"


def exports() -> Path:
    """Where what a gallery makes goes, if nothing else is said."""
    return home() / "build" / "gallery"


def command(settings_file: str) -> str:
    """What makes the same files again, from the settings beside them."""
    return f"disperse gallery --settings {settings_file}"


def gallery_stem(scene: Scene) -> str:
    """Name of the files of a scene."""
    return f"gallery-{atomic.digest(scene.settings.model_dump(mode='json'), 8)}"


def export(scene: Scene, folder: Path, stem: str | None = None, *, stamp: str = "") -> dict[str, Path]:
    """Write a picture of the finished samples, its sidecar, and a page with the whole way to them.

    Args:
        scene: to be kept.
        folder: where to.
        stem: name of the files; one of the settings by default.
        stamp: printed across the picture, and in the heading of the page.

    Returns:
        ``picture``, ``settings`` (its sidecar, which holds the exact settings) and ``page``.
    """
    stem = gallery_stem(scene) if stem is None else stem
    facts: dict[str, Any] = {
        "settings": scene.settings.model_dump(mode="json"),
        "command": command(f"{stem}.json"),
        "commit": commit(),
        "runs": [
            {"label": spec.name, "seed": spec.seed, "fingerprint": spec.fingerprint, "spec": spec.identity}
            for spec in scene.specs
        ],
    }
    alt = f"Samples of {' and '.join(spec.name for spec in scene.specs)}: {scene.settings.describe()}"
    picture = keep(gallery_figure(scene), folder / stem, alt=alt, values=facts, stamp=stamp).path
    page = folder / f"{stem}.html"
    atomic.write_text(page, gallery_html(scene, command(f"{stem}.json"), stamp))
    return {"picture": picture, "settings": picture.with_suffix(".json"), "page": page}


def remake(settings: GallerySettings, folder: Path | None = None) -> dict[str, Path]:
    """Sample again what exported settings say, and write the same files; see ``export``.

    Raises:
        StorageError, CheckpointError: a run or its checkpoint isn't here.
        ConfigError: the settings don't fit the runs.
    """
    runs = {name: source_named(name) for name in settings.runs}
    return export(Scenes(runs).make(settings), folder or exports())


def gallery_figure(scene: Scene, columns: int = 10) -> Figure:
    """The finished samples side by side, and the difference where there are two runs."""
    shown = scene.images()
    panels, rows = len(shown) + (len(shown) == 2), -(-len(shown[0]) // columns)
    height = max(0.8 + COLUMN / 3 * rows / columns, 2.2)  # the colour bar's label needs as much
    every = np.atleast_1d(axes(1, panels, width=COLUMN * max(panels, 2) / 3, height=height))
    for ax, pixels, spec in zip(every, shown, scene.specs, strict=False):
        name, color = paper.name_of(spec.name), COLORS.get(spec.name, "black")
        images(ax, pixels, columns=columns, title=name, color=color)
    if len(shown) == 2:
        differences(every[2], *shown, columns=columns)
    figure: Figure = every[0].figure
    caption = textwrap.fill(scene.settings.describe(), int(14 * figure.get_figwidth()))
    figure.suptitle(caption, fontsize=10, x=0.01, ha="left")
    return figure


def gallery_html(scene: Scene, how: str, stamp: str = "") -> str:
    """One page with every frame in it, and a slider over them; ``stamp`` stands in its heading."""
    views = {
        name: [[_url(png) for png in _sheets(scene, frame, ends=ends)] for frame in range(scene.num_frames)]
        for name, ends in (("states", False), ("ends", True))
    }
    titles = [f"{paper.name_of(spec.name)}, training seed {spec.seed}" for spec in scene.specs]
    titles += ["right − left"] if len(titles) == 2 else []
    data = {"views": views, "titles": titles, "levels": [round(level, 4) for level in scene.ways[0].levels]}
    text = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return text.substitute(
        data=json.dumps(data).replace("</", "<\\/"),
        caption=html.escape(scene.settings.describe()),
        command=html.escape(how),
        stamp=html.escape(stamp and f"{stamp} · "),
        last=scene.num_frames - 1,
    )


def _sheets(scene: Scene, frame: int, *, ends: bool) -> list[bytes]:
    images = scene.images(frame, ends=ends)
    return [*map(sheet_png, images), *([difference_png(*images)] if len(images) == 2 else [])]


def _url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
