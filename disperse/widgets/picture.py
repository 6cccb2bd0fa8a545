"""A sheet of images in the browser, whose images can be clicked."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from torch import Tensor

from .sheet import columns_of, sheet_png

HERE = Path(__file__).parent


class Sheet(anywidget.AnyWidget):
    """A sheet of images, drawn pixel for pixel; ``selected`` is the index of the one clicked, or −1."""

    _esm = HERE / "sheet.js"
    _css = HERE / "sheet.css"
    value = traitlets.Bytes(b"").tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    color = traitlets.Unicode("black").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Unicode("100%").tag(sync=True)
    columns = traitlets.Int(10).tag(sync=True)
    count = traitlets.Int(0).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    clickable = traitlets.Bool(False).tag(sync=True)

    def show(self, images: Tensor, png: bytes | None = None, **traits: Any) -> None:
        """Draw images (n, c, h, w) in [−1, 1], or ``png`` in their place; other traits change with them."""
        with self.hold_sync():
            self.columns, self.count = columns_of(len(images)), len(images)
            self.value = sheet_png(images) if png is None else png
            for name, value in traits.items():
                setattr(self, name, value)

    def clear(self) -> None:
        """Show nothing."""
        with self.hold_sync():
            self.value, self.title, self.count = b"", "", 0
