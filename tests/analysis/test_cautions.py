"""No measure without a word on how it misleads."""

import inspect

import pytest

from disperse import analysis
from disperse.analysis import levels
from disperse.losses import DispersionReport

NO_MEASURES = {"block_features", "descend", "probe_sets", "unlabelled_features"}


@pytest.mark.parametrize(
    "thing",
    [
        *(getattr(analysis, name) for name in analysis.__all__ if name not in NO_MEASURES),
        levels.gradients_by_level,
        DispersionReport,
    ],
    ids=lambda thing: thing.__name__,
)
def test_the_docstring_says_how_it_misleads(thing: object) -> None:
    assert "mislead" in (inspect.getdoc(thing) or "").lower()


@pytest.mark.parametrize("name", analysis.Geometry.__dataclass_fields__)
def test_each_measure_of_geometry_is_a_function_that_says_so(name: str) -> None:
    function = getattr(inspect.getmodule(analysis.geometry), name)
    assert name in analysis.__all__
    assert "misleads" in (inspect.getdoc(function) or "")
