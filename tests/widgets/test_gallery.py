"""The gallery without a browser: every control does what it says."""

import gc
import io
import json
import shutil
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from disperse import cli
from disperse.data import load_data
from disperse.errors import ConfigError, StorageError
from disperse.widgets import Gallery, read_settings, remake, serve
from disperse.widgets.export import gallery_html
from disperse.widgets.gallery import INVITATION
from disperse.widgets.scenes import Scene
from disperse.widgets.sources import loaded


@pytest.fixture
def gallery(runs: list[Path], tmp_path: Path) -> Gallery:
    made = Gallery(runs, num=4, folder=tmp_path)
    made.controls.quiet = True
    made.controls.solver.value, made.controls.num_steps.value = "euler", 5
    made.controls.quiet = False
    made._ask()
    made.wait(60)
    return made


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_it_begins_with_the_first_run_and_its_partner(runs: list[Path]) -> None:
    gallery = Gallery(runs, num=10)
    gallery.wait(60)
    settings = gallery.controls.settings
    assert settings.runs == (runs[0].name, runs[1].name)
    assert (settings.step, settings.first_seed, settings.num) == (4, 0, 10)
    assert gallery.scene is not None, gallery.status.value
    assert gallery.scene.settings == settings
    assert gallery.pictures[0].title == "baseline, seed 0"
    assert gallery.pictures[2].title == "right − left"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("step", 2, "step"), ("weights", "raw", "weights"), ("label", 3, "label"), ("first_seed", 5, "first_seed"),
        ("num", 10, "num"), ("solver", "heun", "solver"), ("num_steps", 2, "num_steps"),
        ("guidance", 2.0, "guidance"),
    ],
)  # fmt: skip
def test_every_control_makes_another_picture(gallery: Gallery, name: str, value: object, field: str) -> None:
    before = gallery.pictures[0].value
    getattr(gallery.controls, name).value = value
    gallery.wait(60)
    assert gallery.scene is not None
    assert getattr(gallery.scene.settings, field) == value
    assert gallery.pictures[0].value != before


def test_guidance_acts_between_the_levels_that_were_chosen(gallery: Gallery) -> None:
    gallery.controls.guidance.value = 3.0
    gallery.wait(60)
    everywhere = gallery.pictures[0].value
    gallery.controls.interval.value = (0.0, 0.5)
    gallery.wait(60)
    assert gallery.scene is not None
    assert gallery.scene.settings.guidance_interval == (0.0, 0.5)
    assert gallery.pictures[0].value != everywhere


def test_other_runs_offer_what_goes_with_them(gallery: Gallery, runs: list[Path]) -> None:
    controls = gallery.controls
    controls.left.value = runs[2].name
    gallery.wait(60)
    assert controls.settings.runs == (runs[2].name,)
    assert (controls.solver.value, controls.num_steps.value) == ("meanflow", 1)
    assert len(controls.right.options) == 1
    assert gallery.pictures[1].count == gallery.pictures[2].count == 0
    controls.left.value = runs[1].name
    gallery.wait(60)
    assert controls.solver.value == "heun"
    controls.right.value = runs[0].name
    gallery.wait(60)
    assert gallery.pictures[1].title == "baseline, seed 0"
    controls.solver.value = "dopri5"
    gallery.wait(60)
    assert gallery.scene is not None
    assert gallery.scene.num_frames == 13


def test_scrubbing_shows_states_and_ends_and_samples_nothing(gallery: Gallery) -> None:
    assert gallery.scene is not None
    scene = gallery.scene
    image = gallery.pictures[0].value
    gallery.frame.value = 0
    noise = gallery.pictures[0].value
    assert noise != image
    gallery.view.value = True
    assert gallery.pictures[0].value not in (noise, image)
    assert "noise level 1.00" in gallery.pictures[0].alt
    gallery.frame.value = scene.num_frames - 1
    assert gallery.pictures[0].value == image
    assert gallery.scene is scene


@pytest.mark.parametrize(("name", "value"), [("step", 2), ("guidance", 2.0), ("label", 3)])
def test_the_same_level_of_other_samples(gallery: Gallery, name: str, value: object) -> None:
    """Sampled or kept, they are shown where the reader has scrubbed to."""
    control = getattr(gallery.controls, name)
    usual = control.value
    gallery.view.value = True
    gallery.frame.value = 3
    before = gallery.pictures[0].value
    control.value = value
    gallery.wait(60)
    assert gallery.scene is not None
    assert getattr(gallery.scene.settings, name) == value
    assert gallery.frame.value == 3
    assert "noise level 0.40" in gallery.pictures[0].alt
    assert gallery.pictures[0].value != before
    control.value = usual
    assert gallery.frame.value == 3
    assert gallery.pictures[0].value == before


def test_a_way_of_another_length_is_shown_at_its_end(gallery: Gallery) -> None:
    for frame, num_steps in ((3, 10), (1, 2)):
        gallery.frame.value = frame
        gallery.controls.num_steps.value = num_steps
        gallery.wait(60)
        assert len(gallery.frame.options) == num_steps + 1
        assert gallery.frame.value == num_steps
        assert "noise level 0.00" in gallery.pictures[0].alt


def test_what_was_shown_lately_comes_back_without_the_thread(gallery: Gallery) -> None:
    before = gallery.pictures[0].value
    gallery.controls.guidance.value = 2.0
    gallery.wait(60)
    gallery.controls.guidance.value = 1.0
    assert gallery.pictures[0].value == before  # at once


def test_the_difference_is_drawn_where_there_is_one(gallery: Gallery, runs: list[Path]) -> None:
    gallery.controls.right.value = runs[0].name
    gallery.wait(60)
    assert gallery.pictures[1].count == 0
    gallery.controls.right.value = runs[1].name
    gallery.wait(60)
    assert gallery.scene is not None
    left, right = gallery.scene.images()
    shown = pixels(gallery.pictures[2].value)
    h = left.shape[-1]
    first = (right - left)[0, 0]
    at = int(first.abs().argmax())
    red, _, blue = shown[:h, :h].reshape(-1, 3)[at].astype(int)
    assert (red > blue) == bool(first.flatten()[at] > 0)  # orange where the right is brighter


def test_a_click_shows_the_nearest_training_images(gallery: Gallery) -> None:
    assert gallery.about.value == INVITATION
    gallery.pictures[1].selected = 2
    assert gallery.pictures[0].selected == 2
    assert "sample seed 2 of InfoNCE" in gallery.about.value
    assert gallery.twins.count == 5
    gallery.controls.first_seed.value = 9
    gallery.wait(60)
    assert "sample seed 11 of InfoNCE" in gallery.about.value  # of the run that was clicked
    gallery.pictures[0].selected = 1
    assert "sample seed 10 of baseline" in gallery.about.value


def test_the_bar_rises_while_samples_are_made(gallery: Gallery) -> None:
    values: list[float] = []
    gallery.bar.observe(lambda change: values.append(change["new"]), "value")
    gallery.controls.num_steps.value = 50
    gallery.wait(60)
    first, *between, last = values
    assert (first, last) == (0, 1)
    assert 10 < len(between) <= 25  # a message to the browser each, fewer than there are steps
    assert between == sorted(set(between))
    assert 0 < between[0] < 0.1
    assert 0.9 < between[-1] < 1


def test_cancel_keeps_what_is_shown(gallery: Gallery) -> None:
    before = gallery.pictures[0].value
    gallery.controls.num_steps.value = 250
    gallery.cancel.click()
    gallery.wait(60)
    assert gallery.pictures[0].value == before
    assert "cancelled" in gallery.status.value
    assert gallery.cancel.disabled


def test_a_failure_is_said_in_the_status_line(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StorageError("the checkpoint is gone")

    monkeypatch.setattr(gallery.scenes, "make", broken)
    gallery.controls.first_seed.value = 77
    gallery.wait(60)
    assert "the checkpoint is gone" in gallery.status.value


def test_export_makes_the_same_files_again(gallery: Gallery, tmp_path: Path) -> None:
    gallery.controls.guidance.value = 2.0
    gallery.wait(60)
    gallery.keep.click()
    (settings,) = tmp_path.glob("gallery-*.json")
    assert settings.stem in gallery.written.value
    assert f"disperse gallery --settings {settings}<" in gallery.how.value
    page = settings.with_suffix(".html").read_text()
    assert "src=" not in page.split("<script>")[0]  # nothing is fetched
    assert page.count("data:image/png;base64") == 2 * 6 * 3  # state and end, six frames, three sheets
    assert "<h1>Samples from" in page
    assert "<h1>SMOKE · Samples from" in gallery_html(gallery.scene, "how", stamp="SMOKE")
    again = remake(read_settings(settings), tmp_path / "again")
    assert again["page"].read_text() == page
    assert settings.with_suffix(".png").read_bytes() == again["picture"].read_bytes()
    facts, fresh = (json.loads(path.read_text()) for path in (settings, again["settings"]))
    assert facts == fresh
    assert facts["settings"]["guidance"] == 2.0
    assert cli.main(["gallery", "--settings", str(settings), "--out", str(tmp_path / "cli")]) == 0
    assert (tmp_path / "cli" / f"{settings.stem}.html").read_text() == page


def test_settings_of_elsewhere_are_refused_with_what_there_is(runs: list[Path], gallery: Gallery) -> None:
    settings = gallery.controls.settings
    for change, said in (
        ({"runs": ("nowhere-123",)}, "no run 'nowhere-123'"), ({"step": 3}, "training step = 3: expected one of 2, 4"),
        ({"weights": "power-0.2"}, "weights = 'power-0.2'"), ({"label": 10}, "class = 10"),
        ({"guidance": 7.5}, "guidance = 7.5: expected 0 to 5"),
        ({"first_seed": 2 * 10**9}, "first seed = 2000000000: expected 0 to 1e"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Gallery(runs, first=settings.model_copy(update=change))


def test_without_a_run_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="disperse train"):
        Gallery([])


@pytest.mark.parametrize("spec", ["{", '{"numerics": 1}'], ids=["damaged", "of an older version"])
def test_a_run_that_cannot_be_read_is_said_and_hides_no_other(
    runs: list[Path], tmp_path: Path, spec: str
) -> None:
    broken = tmp_path / "broken-0123"
    (broken / "checkpoints" / "step_00000002").mkdir(parents=True)
    (broken / "checkpoints" / "step_00000002" / "manifest.json").write_text("{}")
    (broken / "spec.json").write_text(spec)
    gallery = Gallery([broken, *runs], num=4)
    gallery.wait(60)
    assert len(gallery.controls.runs) == 3
    assert "broken-0123" in gallery.problems.value


def test_runs_may_lie_anywhere_and_be_gone_later(runs: list[Path], tmp_path: Path) -> None:
    elsewhere = [Path(shutil.copytree(path, tmp_path / "kept" / path.name)) for path in runs[:2]]
    for path, copy in zip(runs, elsewhere, strict=False):
        copy.rename(copy.with_name(f"my-{path.name}"))
    elsewhere = sorted((tmp_path / "kept").iterdir())
    gallery = Gallery(elsewhere, num=4, folder=tmp_path)
    gallery.wait(60)
    assert gallery.scene is not None, gallery.status.value
    first = gallery.pictures[0].value
    gallery.controls.first_seed.value = 5
    gallery.wait(60)
    shutil.rmtree(tmp_path / "kept")
    loaded.cache_clear()
    gallery.controls.first_seed.value = 0
    assert gallery.pictures[0].value == first  # it needs no file
    gallery.controls.step.value = 2
    gallery.wait(60)
    assert "kept/my-" in gallery.status.value


def test_an_older_job_that_ends_meanwhile_changes_nothing(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends just after the newer wish has been said, before its job begins."""
    say, shown = gallery._say, []
    end, monkeypatched = threading.Event(), gallery.scenes.make

    def late(*given: Any) -> Scene:
        end.wait(60)
        return monkeypatched(*given)

    monkeypatch.setattr(gallery.scenes, "make", late)
    gallery.controls.first_seed.value = 21
    older = gallery.newest.future
    monkeypatch.setattr(gallery.scenes, "make", monkeypatched)

    def waits(text: str, **more: str) -> None:
        if text.startswith("sampling"):
            end.set()
            older.result(60)
        shown.append(text)
        say(text, **more)

    monkeypatch.setattr(gallery, "_say", waits)
    gallery.controls.first_seed.value = 22
    gallery.wait(60)
    assert [text for text in shown if "seeds 21" in text] == []
    assert "seeds 22–25" in shown[-1]


def test_what_cannot_be_written_or_looked_up_is_said(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    gallery.folder = tmp_path / "file"
    gallery.keep.click()
    assert "cannot be written" in gallery.written.value
    monkeypatch.setattr(
        "disperse.widgets.gallery.nearest_training_images",
        lambda *_: load_data("imagenet256-latents", "test"),
    )
    gallery.pictures[0].selected = 1
    assert gallery.twins.count == 0
    assert gallery.about.value not in ("", INVITATION)


def test_why_nothing_could_be_sampled_is_said_to_scripts_too(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / runs[0].name))
    for weights in (run / "checkpoints").rglob("*.safetensors"):
        weights.write_bytes(b"no")
    gallery = Gallery([run], num=4, folder=tmp_path)
    gallery.wait(60)
    with pytest.raises(ConfigError, match=r"sampling failed: .*step_00000004"):
        gallery.export()


def live_bytes() -> int:
    """Of all tensors that something still refers to; tracemalloc sees none of it."""
    gc.collect()
    found = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.layout == torch.strided]
    return sum(each.untyped_storage().nbytes() for each in found)


def test_two_hundred_turns_need_no_more_memory_than_twenty(gallery: Gallery) -> None:
    gallery.scenes.room = 20_000  # a dozen scenes: it is full soon
    gallery.controls.num_steps.value = 1
    gallery.wait(60)

    def turn(number: int) -> None:
        gallery.controls.first_seed.value = number
        gallery.wait(60)
        gallery.frame.value = number % 2  # to and fro: another frame is drawn in each turn

    tracemalloc.start()
    try:
        for number in range(20):
            turn(number + 1)
        tensors, before = live_bytes(), tracemalloc.get_traced_memory()[0]
        for number in range(20, 200):
            turn(number + 1)
        tensors, grown = live_bytes() - tensors, tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 300_000
    assert tensors < 20_000  # 180 scenes would be ten times as much
    assert sum(way.states.nbytes + way.ends.nbytes for way in gallery.scenes.kept.values()) <= 20_000


def test_a_page_trains_nothing(runs: list[Path]) -> None:
    with pytest.raises(
        StorageError,
        match="nor published; train it with disperse train --profile smoke --variant none --seed 3",
    ):
        serve("smoke", seed=3)
    with pytest.raises(ConfigError, match="port"):
        serve("smoke", port=0)


def test_sheets_are_pixel_for_pixel(gallery: Gallery) -> None:
    assert gallery.scene is not None
    image = gallery.scene.images()[0][1, 0].clamp(-1, 1)
    shown = pixels(gallery.pictures[0].value)
    h, w = image.shape
    torch.testing.assert_close(
        torch.tensor(shown[:h, w + 1 : 2 * w + 1]).float() / 127.5 - 1, image, rtol=0, atol=0.01
    )
