"""Points in the plane that show their images."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from disperse.widgets import Points, points_html, points_scene

NAMES = {"baseline": "baseline", "infonce-l2": "InfoNCE, ℓ2"}


def scene_of(images: torch.Tensor | None = None) -> dict[str, Any]:
    points = np.random.default_rng(0).normal(size=(2, 40, 2))
    points[1, 7] = 1e6  # far from the rest, as densMAP has them
    labels = [100 * (k % 4) for k in range(40)]
    pictures = torch.rand(40, 1, 8, 8) * 2 - 1 if images is None else images
    return points_scene({"umap": points, "densmap": points}, NAMES, labels, pictures, "block 2 of 40 images")


def test_a_scene_holds_every_plane_every_image_and_limits_that_show_most() -> None:
    scene = scene_of()
    assert [plane["title"] for plane in scene["planes"]] == [
        "UMAP, baseline", "densMAP, baseline", "UMAP, InfoNCE, ℓ2", "densMAP, InfoNCE, ℓ2",
    ]  # fmt: skip
    assert all(len(plane["points"]) == 40 for plane in scene["planes"])
    assert len(scene["labels"]) == 40
    assert list(scene["palette"]) == ["0", "100", "200", "300"]
    assert len(set(scene["palette"].values())) == 4
    for plane in scene["planes"]:
        assert max(map(abs, plane["low"] + plane["high"])) < 10
        points = np.array(plane["points"])
        assert (points >= plane["low"]).all()
        assert (points <= plane["high"]).all()
    assert [plane["color"] for plane in scene["planes"][1:3]] == ["#4d4d4d", "#0072b2"]
    assert scene["caption"] == "block 2 of 40 images"
    assert Points(scene=scene).selected == []


def test_large_pictures_are_shown_small() -> None:
    pictures = torch.randint(-128, 128, (40, 3, 256, 256)) / 128  # their means are exact in any order
    scene = scene_of(pictures)
    assert scene["cell"] == 64
    means = pictures.unflatten(3, (64, 4)).unflatten(2, (64, 4)).mean((3, 5))
    assert scene["sprite"] == scene_of(means)["sprite"]


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    scene = scene_of()
    page = points_html(scene, "A title & more", "how", tmp_path / "page.html").read_text()
    assert "A title &amp; more" in page
    assert not re.search(r"https?://|@import", page)
    assert "export default" not in page
    (held,) = re.findall(r"const values = \{ scene: (.*), selected", page)
    assert json.loads(held) == scene
