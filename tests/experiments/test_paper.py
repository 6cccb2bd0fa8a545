"""Published numbers stand where the tables look for them."""

import pytest

from disperse.experiments.paper import VARIANTS_CHANGE


def test_changes_of_the_variants_are_found_by_variant_and_view() -> None:
    assert len(VARIANTS_CHANGE) == 12
    assert VARIANTS_CHANGE["infonce-l2", "one"] == pytest.approx(32.35 / 36.49 - 1)
    assert VARIANTS_CHANGE["covariance", "independent"] == pytest.approx(37.85 / 36.49 - 1)
    assert VARIANTS_CHANGE["hinge", "restricted"] < 0
