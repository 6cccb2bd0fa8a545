"""Where a model lies that copies nothing, and one that does nothing else."""

import numpy as np
import pytest

from disperse.data import digits
from disperse.evaluation import nearer_to_seen
from disperse.experiments.copying import copying_bounds

DIGITS = digits("train").images.flatten(1).double().numpy()
UNSEEN = digits("held-out").images.flatten(1).double().numpy()


@pytest.mark.parametrize("data", ["digits:160", "digits:450", "digits"])
def test_real_images_in_neither_set_are_near_a_half(data: str) -> None:
    real, copies = copying_bounds(data, "held-out")
    assert real.value == pytest.approx(0.5, abs=0.05)
    assert real.low < 0.5 < real.high
    assert real.value < copies <= 1


def test_a_small_set_is_compared_whole() -> None:
    real, copies = copying_bounds("digits:160", "held-out")
    assert copies == 1
    assert real.n == len(DIGITS) - 160


def test_of_a_large_set_copies_of_the_rest_do_not_count() -> None:
    """All training images as samples: those compared are their own nearest, the others are like new ones."""
    copies = copying_bounds("digits", "held-out")[1]
    measured = nearer_to_seen(DIGITS, digits("train").few(1000).images.flatten(1).double().numpy(), UNSEEN)
    assert measured.value == pytest.approx(copies, abs=1e-9)
    assert copies < 1
    assert len(np.unique(DIGITS, axis=0)) == len(DIGITS)  # else the count would be off
