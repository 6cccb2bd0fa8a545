"""Interactive pieces for notebooks."""

from .export import remake
from .gallery import Gallery
from .live import LiveCurves
from .points import Points, points_html, points_scene
from .serve import serve
from .settings import GallerySettings, read_settings

__all__ = [
    "Gallery",
    "GallerySettings",
    "LiveCurves",
    "Points",
    "points_html",
    "points_scene",
    "read_settings",
    "remake",
    "serve",
]
