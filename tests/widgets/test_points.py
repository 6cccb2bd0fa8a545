"""Points in the plane that show their images."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from disperse.figures import save
from disperse.widgets import Points, points_html, points_scene


def drawn(folder: Path) -> tuple[Path, torch.Tensor]:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 40, 2))
    points[1, 7] = 1e6  # far from the rest, as densMAP has them
    facts = {
        "runs": [{"label": label, "seed": 3, "step": 40} for label in ("baseline", "infonce-l2")],
        "block": 2, "level": 0.5, "n": 40, "weights": "power-0.1", "split": "held-out",
        "labels": [100 * (k % 4) for k in range(40)],
        "coordinates": {"umap": points.tolist(), "densmap": points.tolist()},
    }  # fmt: skip
    return save(Figure(), folder / "plane", facts, source="from a test"), torch.rand(40, 1, 8, 8) * 2 - 1


def test_a_scene_holds_every_plane_every_image_and_limits_that_show_most(tmp_path: Path) -> None:
    scene = points_scene(*drawn(tmp_path))
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
    assert "block 2 (counted from 0) makes of 40 held-out images at noise level 0.5" in scene["caption"]
    assert "training seed 3, step 40, weights power-0.1" in scene["caption"]
    assert Points(scene=scene).selected == []


def test_large_pictures_are_shown_small(tmp_path: Path) -> None:
    plane, _ = drawn(tmp_path)
    pictures = torch.randint(-128, 128, (40, 3, 256, 256)) / 128  # their means are exact in any order
    scene = points_scene(plane, pictures)
    assert scene["cell"] == 64
    means = pictures.unflatten(3, (64, 4)).unflatten(2, (64, 4)).mean((3, 5))
    assert scene["sprite"] == points_scene(plane, means)["sprite"]


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    scene = points_scene(*drawn(tmp_path))
    page = points_html(scene, "A title & more", "how", tmp_path / "page.html").read_text()
    assert "A title &amp; more" in page
    assert not re.search(r"https?://|@import", page)
    assert "export default" not in page
    (held,) = re.findall(r"const values = \{ scene: (.*), selected", page)
    assert json.loads(held) == scene
