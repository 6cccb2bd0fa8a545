"""Values and gradients: against loops, the released code, finite differences and sums by hand."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from disperse.losses import (
    PRESETS,
    DispersiveLoss,
    cosine_similarities,
    covariance,
    hinge,
    infonce_cosine,
    infonce_l2,
    squared_distances,
)

from ..reference import dispersive_autograd
from ..reference.dispersive_loops import LOOPS, cosine, squared_l2
from .cases import DIAGONALS, NAMES, Options, every_option, features, function, value_and_gradient

RELEASE = Path(__file__).parents[1] / "reference" / "dispersive_release.safetensors"
SHAPES = [(2, 1), (2, 5), (7, 3), (9, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options"), every_option())
def test_value_matches_loops(name: str, options: Options, shape: tuple[int, int]) -> None:
    z = features(*shape, seed=sum(shape))
    expected = LOOPS[name](z.numpy(), **options)
    got = function(name)(z, **options)
    assert got.shape == ()
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    # The same numbers in float32, so that only the arithmetic differs.
    single = z.float()
    expected = LOOPS[name](single.double().numpy(), **options)
    got = function(name)(single, **options)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("name", "options"), every_option())
def test_gradient_matches_explicit_differences(name: str, options: Options) -> None:
    z = features(6, 10, seed=3)
    value, gradient = dispersive_autograd.value_and_gradient(name, z, **options)
    assert value.item() == pytest.approx(LOOPS[name](z.numpy(), **options), rel=1e-12, abs=1e-14)
    ours = value_and_gradient(name, z, **options)[1]
    torch.testing.assert_close(ours, gradient, rtol=1e-10, atol=1e-14)
    # Against the largest entry: one that nearly cancels has no digits of its own.
    ours = value_and_gradient(name, z.float(), **options)[1].double()
    single = dispersive_autograd.value_and_gradient(name, z.float(), **options)[1]
    assert (ours - single).abs().max() <= 1e-5 * single.abs().max() + 1e-12


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_are_groups(name: str, diagonal: str) -> None:
    z = features(2, 3, 5, 4)
    got = function(name)(z, diagonal=diagonal)
    assert got.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            expected = LOOPS[name](z[i, j].numpy(), diagonal=diagonal)
            assert got[i, j].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_documented_defaults() -> None:
    z = features(5, 4)
    kept = {"diagonal": "keep", "scale": "dim"}
    assert infonce_l2(z).item() == infonce_l2(z, tau=0.5, **kept).item()
    assert infonce_cosine(z).item() == infonce_cosine(z, tau=0.5, **kept).item()
    assert hinge(z).item() == hinge(z, eps=1.0, **kept).item()
    assert covariance(z).item() == covariance(z, **kept).item()
    assert DispersiveLoss()(z).item() == pytest.approx(infonce_l2(z).item(), rel=1e-14)


def test_pairwise_matrices_match_loops() -> None:
    z = features(7, 5)
    z[4] = z[1]
    z[5] = 0
    distances, cosines = squared_distances(z), cosine_similarities(z)
    for i, a in enumerate(z.numpy()):
        for j, b in enumerate(z.numpy()):
            assert distances[i, j].item() == pytest.approx(squared_l2(a, b), rel=1e-12, abs=1e-14)
            assert cosines[i, j].item() == pytest.approx(cosine(a, b), rel=1e-12, abs=1e-14)
    assert distances.diagonal().eq(0).all()
    assert cosines.diagonal().eq(1).all()


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("scale", ["dim", "none"])
@pytest.mark.parametrize("constant", [[2], [0, 2], [0, 1, 2], [0, 1, 2, 3]])
def test_constant_dimensions_are_left_out(constant: list[int], scale: str, diagonal: str) -> None:
    z = features(6, 4)
    z[:, constant] = torch.tensor([3.0, 0.1, -7.0, 0.0], dtype=torch.float64)[constant]
    expected = LOOPS["covariance"](z.numpy(), diagonal=diagonal, scale=scale)
    value, gradient = value_and_gradient("covariance", z, diagonal=diagonal, scale=scale)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert gradient[:, constant].eq(0).all()


@pytest.mark.parametrize("tensors", ["common", "small", "wide"])
def test_release_preset_matches_released_code(tensors: str) -> None:
    reference = load_file(RELEASE)
    z = reference[f"{tensors}.z"].requires_grad_()
    value = DispersiveLoss.from_preset("release")(z)
    (gradient,) = torch.autograd.grad(value, z)
    expected = reference[f"{tensors}.grad"]
    assert value.item() == pytest.approx(reference[f"{tensors}.loss"].item(), rel=1e-5)
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()
    assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_presets_are_the_published_settings() -> None:
    paper, release = PRESETS["paper"], PRESETS["release"]
    assert (paper.variant, paper.tau, paper.lam, paper.local_batch) == ("infonce-l2", 0.5, 0.5, 16)
    assert (release.variant, release.tau, release.lam) == ("infonce-l2", 1.0, 0.25)
    assert release.local_batch == 32
    for name, preset in PRESETS.items():
        loss = DispersiveLoss.from_preset(name, local_batch=4)
        assert (loss.tau, loss.diagonal, loss.scale) == (preset.tau, "keep", "dim")
        assert (loss.tokens, loss.local_batch) == ("flatten", 4)


@pytest.mark.parametrize(("name", "options"), every_option())
def test_gradcheck_first_and_second_order(name: str, options: Options) -> None:
    z = features(4, 3, seed=5).requires_grad_()
    if name == "hinge":
        # On a kink the second derivative does not exist; here no pair is near one.
        size = 3 if options["scale"] == "dim" else 1
        pairs = squared_distances(z.detach())[~torch.eye(4, dtype=torch.bool)] / size
        assert (pairs - float(options["eps"])).abs().min() > 1e-3

    def call(x: Tensor) -> Tensor:
        return function(name)(x, **options)

    assert torch.autograd.gradcheck(call, z)
    assert torch.autograd.gradgradcheck(call, z)


def check(name: str, z: Tensor, value: float, gradient: list[list[float]], **options: object) -> None:
    """Compare with a value and gradient worked out on paper."""
    got, slope = value_and_gradient(name, z, **options)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(slope, torch.tensor(gradient, dtype=torch.float64), rtol=1e-8, atol=1e-12)


def column(*values: float) -> Tensor:
    """Points on a line, shape (b, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_infonce_l2_by_hand() -> None:
    # D = 1, tau = 1/2: log((2 + 2e^-2)/4), slope -2 e^-2/(1 + e^-2) in D, and dD/dz = -2, 2.
    slope = 0.47681168808847
    check("infonce-l2", column(0, 1), -0.566219169516973, [[slope], [-slope]])
    # Masked: -D/tau, with no floor.
    check("infonce-l2", column(0, 1), -2.0, [[4], [-4]], diagonal="mask")
    # Three points, tau = 1: D = 1, 9, 4; weights e^-1, e^-9, e^-4 over 3 pairs.
    a, b, c = math.exp(-1), math.exp(-9), math.exp(-4)
    total = a + b + c
    slopes = [[(2 * a + 6 * b) / total], [(-2 * a + 4 * c) / total], [(-6 * b - 4 * c) / total]]
    value = math.log(total / 3)
    check("infonce-l2", column(0, 1, 3), value, slopes, tau=1.0, diagonal="mask")
    # Two dimensions: the scale halves the distance 1 of (0, 0) and (1, 0).
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double()
    check("infonce-l2", z, -1.0, [[2, 0], [-2, 0]], diagonal="mask")
    check("infonce-l2", z, -2.0, [[4, 0], [-4, 0]], diagonal="mask", scale="none")


def test_infonce_cosine_by_hand() -> None:
    # cos = 0, tau = 1: log((e + 1)/2), slope 1/(e + 1) in cos; dcos/dz is the other unit row over ‖z‖.
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
    slope = 0.268941421369995
    check("infonce-cosine", z, 0.620114506958278, [[0, slope / 2], [slope, 0]], tau=1.0)
    check("infonce-cosine", z, 0.0, [[0, 0.5], [1, 0]], tau=1.0, diagonal="mask")
    # Opposite rows: cos = -1, and nowhere to go.
    z = torch.tensor([[1.0, 0.0], [-3.0, 0.0]]).double()
    check("infonce-cosine", z, -2.0, [[0, 0], [0, 0]], diagonal="mask")


def test_hinge_by_hand() -> None:
    # D = 1/4, 4, 9/4 with eps = 1: one pair violates, by 3/4.
    z = column(0, 0.5, 2)
    check("hinge", z, (3 + 2 * 0.5625) / 9, [[1 / 3], [-1 / 3], [0]])
    check("hinge", z, 0.1875, [[0.5], [-0.5], [0]], diagonal="mask")
    # eps = 3: D = 9/4 violates too, by 3/4; D = 1/4 by 11/4.
    first, second = 2.75, 0.75
    slopes = [[2 * first / 3], [-2 * first / 3 + 6 * second / 3], [-6 * second / 3]]
    value = (first**2 + second**2) / 3
    check("hinge", z, value, slopes, eps=3.0, diagonal="mask")


def test_covariance_by_hand() -> None:
    # x = (-1, 0, 1), y = (0, 0, 3): correlation 3/sqrt(12), squared 3/4.
    z = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 3.0]]).double()
    slopes = [[0.25, -0.25], [-0.5, 0.25], [0.25, 0.0]]
    half = [[v / 2 for v in row] for row in slopes]
    double = [[v * 2 for v in row] for row in slopes]
    check("covariance", z, 0.75, slopes, diagonal="mask")
    check("covariance", z, 1.5, double, diagonal="mask", scale="none")
    check("covariance", z, 3.5 / 4, half)
    check("covariance", z, 3.5, double, scale="none")
