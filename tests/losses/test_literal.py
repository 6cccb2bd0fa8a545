"""The formulas as they are printed, against loops and against the functions that are used."""

import pytest
import torch

from disperse.losses import ContrastiveLoss, DispersiveLoss, literal
from disperse.rng import normal

NAMES = ("infonce-l2", "infonce-cosine", "hinge", "covariance")
Z = (0.5 * normal((6, 5), "literal")).double()
PLUS = Z + 0.3 * normal((6, 5), "literal, second view").double()


@pytest.mark.parametrize("name", NAMES)
def test_they_are_the_functions_that_are_used(name: str) -> None:
    assert literal.dispersive(name, Z) == pytest.approx(DispersiveLoss(name)(Z).item(), rel=1e-12)
    assert literal.contrastive(name, Z, PLUS) == pytest.approx(
        ContrastiveLoss(name)(Z, PLUS).item(), rel=1e-12
    )


def test_by_hand() -> None:
    """Two rows, one dimension: D = 4 of the pair, 0 of a row with itself; ends of the second view 1 apart."""
    z, plus = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    far, near = torch.tensor([-4.0, -1.0, -9.0]).exp(), torch.tensor(1.0)
    assert literal.dispersive("infonce-l2", z, tau=1.0) == pytest.approx(torch.log((1 + far[0]) / 2).item())
    assert literal.dispersive("hinge", z, eps=5.0) == pytest.approx((25 + 1) / 2)
    # Candidates of the first row: 1 and 3 are at D = 1 and 9; of the second: at 1 and 1.
    logs = torch.log(far[1] + far[2]) + torch.log(2 * far[1])
    assert literal.contrastive("infonce-l2", z, plus, tau=1.0) == pytest.approx((near + logs / 2).item())
    assert literal.contrastive("hinge", z, plus, eps=5.0) == pytest.approx(1 + (0 + 16) / 2)


def test_unknown_names() -> None:
    with pytest.raises(KeyError):
        literal.dispersive("l2", Z)
    with pytest.raises(KeyError):
        literal.contrastive("l2", Z, PLUS)
