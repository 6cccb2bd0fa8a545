"""Numbers of seeds in words."""

import pytest

from disperse.figures.seeds import pair_counts


@pytest.mark.parametrize(
    ("base", "own", "paired", "text"),
    [(3, 3, 3, "3"), (3, 2, 2, "3 and 2, paired 2"), (3, 3, 2, "3 and 3, paired 2"), (2, 0, 0, "2"), (0, 1, 0, "1")],
)  # fmt: skip
def test_seeds_of_a_pair(base: int, own: int, paired: int, text: str) -> None:
    assert pair_counts(base, own, paired) == text
