"""What is said of points in the plane, where it is known."""

import pytest
import torch

from disperse.analysis import measure_plane
from disperse.losses import DispersiveLoss

SQUARE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_a_square() -> None:
    found = measure_plane(SQUARE, DispersiveLoss("infonce-cosine"))
    assert found["largest_gap"] == pytest.approx(90)
    assert found["loss"] == pytest.approx(found["floor"])  # equal angles are the floor in the plane
    assert found["nearest"] == pytest.approx(1)
    assert found["inside_margin"] == 0
    assert measure_plane(0.9 * SQUARE, DispersiveLoss("hinge"))["inside_margin"] == 4
    assert measure_plane(SQUARE, DispersiveLoss("infonce-l2"))["correlation"] == pytest.approx(0, abs=1e-6)
