"""Samples of two runs on the same noise: choose, watch them form, keep what you see."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as w

from ..errors import ConfigError, DisperseError
from ..experiments import home, paper
from ..plot import COLORS
from ..spec import RunSpec
from .background import Newest
from .controls import STYLE, WIDTH, Controls
from .export import command, export, exports, gallery_stem
from .picture import Sheet
from .scenes import Scene, Scenes, nearest_training_images
from .settings import GallerySettings
from .sheet import difference_png

ALARM = "#b00020"
INVITATION = "Click a sample, or walk with the arrow keys: the training images nearest to it appear here."


class Gallery(w.VBox):
    """Choose runs, class, seeds, sampler, guidance; scrub through sampling and training; keep what you see.

    Samples are made in a thread of their own: a newer wish cancels the one before, and what was made lately
    is kept. ``scene`` is what is shown, ``controls.settings`` what is asked for.

    Args:
        runs: run folders to choose from, or specifications of runs that are trained here or published.
        first: settings to begin with; the first run and the next of its system by default.
        num, step: samples and checkpoint to begin with, where ``first`` isn't given; the newest by default.
        folder: where exports go; ``build/gallery`` by default.
        stamp: printed across exported pictures.

    Raises:
        ConfigError: no run has a network, or ``first`` asks for what isn't there.
    """

    def __init__(
        self,
        runs: Sequence[Path | RunSpec],
        *,
        first: GallerySettings | None = None,
        num: int = 40,
        step: int | None = None,
        folder: Path | None = None,
        stamp: str = "",
    ):
        self.folder, self.stamp = folder or exports(), stamp
        self.controls, self.newest = Controls(runs, self._ask), Newest()
        self.scenes = Scenes(self.controls.runs)
        self.scene: Scene | None = None
        self.error: Exception | None = None
        self.quiet, self.side = False, 0  # which sheet was clicked last
        self.controls.set(first or self.controls.default(num, step))
        self.cancel = w.Button(description="Cancel", icon="stop", disabled=True)
        self.keep = w.Button(description="Export", icon="download", disabled=True)
        self.bar = w.FloatProgress(min=0, max=1, layout=w.Layout(width="240px"))
        self.status = w.HTML()
        self.frame = w.SelectionSlider(
            description="noise → image", options=[("1.00", 0)], style=STYLE, layout=w.Layout(width="520px")
        )
        self.view = w.ToggleButtons(
            options=[("state xₜ", False), ("predicted end", True)],
            tooltips=["as far as the sampler has come", "where it is headed"],
        )
        self.pictures = [_sheet(clickable=True), _sheet(clickable=True), _sheet()]
        self.about, self.twins = w.HTML(INVITATION), Sheet(width="240px")
        self.how, self.written = w.HTML(), w.HTML()
        self.problems = w.HTML("<br>".join(map(html.escape, self.controls.problems)))
        self.frame.add_class("disperse-wide")
        for each in (self.frame, self.view):
            each.observe(self._draw, "value")
        for picture in self.pictures[:2]:
            picture.observe(self._clicked, "selected")
        self.cancel.on_click(self._cancelled)
        self.keep.on_click(self._exported)
        super().__init__([
            _columns(*self.controls.widgets), self.problems, _row(self.cancel, self.keep, self.bar),
            self.status, _row(self.frame, self.view), _row(*self.pictures), self.about, self.twins, self.how,
            self.written,
        ])  # fmt: skip
        self._ask()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until what was asked for is shown; for scripts and notebooks without a browser."""
        self.newest.wait(timeout_s)

    def export(self, stem: str | None = None) -> dict[str, Path]:
        """Write the samples that are shown: a picture of them finished, its sidecar, and a page of their way.

        The sidecar has the exact settings; see ``remake``.

        Raises:
            ConfigError: nothing is shown yet.
            StorageError: the folder can't be written.
        """
        scene = self.scene
        if scene is None:
            waiting = "nothing is sampled yet; wait until it is"
            raise ConfigError(f"gallery: {f'sampling failed: {self.error}' if self.error else waiting}")
        paths = export(scene, self.folder, stem, stamp=self.stamp)
        names = ", ".join(f"<code>{html.escape(path.name)}</code>" for path in paths.values())
        self.written.value = f"Written to <code>{html.escape(_from_home(self.folder))}</code>: {names}"
        return paths

    def _exported(self, _: w.Button) -> None:
        try:
            self.export()
        except DisperseError as error:
            self.written.value = f'<span style="color: {ALARM}">{html.escape(str(error))}</span>'

    def _ask(self) -> None:
        """Have the samples made that the controls ask for; those that are kept are shown at once."""
        self.newest.cancel()  # first: nothing of an older wish is shown from here on
        self.error = None
        settings = self.controls.settings
        if (scene := self.scenes.at_hand(settings)) is not None:
            self._show(scene)
            return
        self.cancel.disabled, self.bar.value = False, 0.0
        self._say("sampling …")
        self.newest.start(
            lambda told: self.scenes.make(settings, told),
            progress=self._progress,
            done=self._show,
            failed=self._failed,
        )

    def _progress(self, share: float) -> None:
        if share - self.bar.value >= 0.04:  # some twenty messages, not hundreds
            self.bar.value = share

    def _cancelled(self, _: w.Button) -> None:
        self.newest.cancel()
        self.cancel.disabled, self.bar.value = True, 0.0
        self._say("cancelled; what is shown is what was there before")

    def _failed(self, error: Exception) -> None:
        self.error = error
        self.cancel.disabled, self.bar.value = True, 0.0
        text = str(error) if isinstance(error, DisperseError) else f"{type(error).__name__}: {error}"
        self._say(text, color=ALARM)

    def _say(self, text: str, color: str = "inherit") -> None:
        self.status.value = f'<span role="status" style="color: {color}">{html.escape(text)}</span>'

    def _show(self, scene: Scene) -> None:
        self.scene = scene
        self.cancel.disabled, self.keep.disabled, self.bar.value = True, False, 1.0
        self.quiet = True
        # Whoever has scrubbed to a level stays there, unless the way has another number of frames.
        as_long = len(self.frame.options) == scene.num_frames
        frame = self.frame.value if as_long else scene.num_frames - 1
        # A level may stand twice, but names must differ: the number of the frame goes before it.
        self.frame.options = [(f"{k}: level {level:.2f}", k) for k, level in enumerate(scene.ways[0].levels)]
        self.frame.value = frame  # other options have put it to the first
        self.quiet = False
        self._say(scene.settings.describe())
        again = html.escape(command(_from_home(self.folder / f"{gallery_stem(scene)}.json")))
        self.how.value = f"After <b>Export</b>, the same files anywhere the runs are: <code>{again}</code>"
        self._draw()
        self._near(self.pictures[0].selected, min(self.side, len(scene.ways) - 1))

    def _draw(self, _: Any = None) -> None:
        """Draw the chosen frame; nothing is sampled for it."""
        with self.newest.lock:  # another scene may be on its way
            if self.quiet or self.scene is None:
                return
            self._draw_frame(self.scene)

    def _draw_frame(self, scene: Scene) -> None:
        images = scene.images(self.frame.value, ends=self.view.value)
        where = f"noise level {scene.ways[0].levels[self.frame.value]:.2f}"
        for picture, spec, own in zip(self.pictures, scene.specs, images, strict=False):
            name = f"{paper.name_of(spec.name)}, seed {spec.seed}"
            color = COLORS.get(spec.name, "#333333")
            picture.show(own, title=name, color=color, alt=f"{len(own)} samples of {name}, {where}")
        for picture in self.pictures[len(images) :]:
            picture.clear()
        if len(images) == 2:
            alt = "difference of the samples: purple where the right is darker, orange where it is brighter"
            self.pictures[2].show(images[0], difference_png(*images), title="right − left", alt=alt)

    def _clicked(self, change: dict[str, Any]) -> None:
        with self.newest.lock:
            if not self.quiet:
                self.side = self.pictures.index(change["owner"])
                self._near(change["new"], self.side)

    def _near(self, index: int, side: int) -> None:
        """Show the training images nearest to a sample, which is marked in both sheets."""
        scene = self.scene
        if scene is None or side >= len(scene.ways) or not 0 <= index < len(scene.labels):
            self.about.value = INVITATION
            self.twins.clear()
            return
        self.quiet = True
        for picture in self.pictures[:2]:
            picture.selected = index
        self.quiet = False
        spec, image = scene.specs[side], scene.images()[side][index]
        try:
            images, labels, differences = nearest_training_images(image, spec.data)
        except DisperseError as error:
            self.about.value = html.escape(str(error))
            self.twins.clear()
            return
        near = ", ".join(f"{d:.2f} (class {k})" for d, k in zip(differences, labels.tolist(), strict=True))
        self.about.value = (
            f"Training images nearest to sample seed {scene.settings.seeds[index]} of "
            f"{html.escape(paper.name_of(spec.name))}, asked for class {int(scene.labels[index])}. "
            f"Root mean square difference of the pixels (black against white: 2): {near}"
        )
        self.twins.show(images, alt="the nearest training images, nearest first")


def _from_home(folder: Path) -> str:
    return str(folder.relative_to(home()) if folder.is_relative_to(home()) else folder)


def _row(*widgets: w.Widget) -> w.Box:
    return w.Box(widgets, layout=w.Layout(flex_flow="row wrap", grid_gap="4px 16px", align_items="center"))


def _columns(*widgets: w.Widget) -> w.GridBox:
    """As many as there is room for; what stands in one begins at the same place."""
    columns = f"repeat(auto-fill, minmax(min({WIDTH}, 100%), {WIDTH}))"
    layout = w.Layout(grid_template_columns=columns, grid_gap="4px 16px", align_items="center")
    return w.GridBox(widgets, layout=layout)


def _sheet(**traits: Any) -> Sheet:
    """Three of them fit beside each other in a notebook, and grow where there is more room."""
    return Sheet(layout=w.Layout(flex="1 1 260px", max_width="360px", margin="4px 0"), **traits)
