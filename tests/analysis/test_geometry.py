"""Measures of features against closed forms and loops."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import gammaln, ive

from disperse import tap
from disperse.analysis import cka, compare, linear_probe, measure, neighbour_accuracy, project
from disperse.analysis.geometry import (
    LARGEST,
    alive,
    cosines,
    effective_rank,
    geometry,
    mean_cosine,
    participation_ratio,
    relative_distance,
    rms,
    spectrum,
    squared_distance,
    uniformity,
)
from disperse.errors import ConfigError, NonFiniteError
from disperse.losses import DispersiveLoss
from disperse.rng import normal

Z = normal((7, 5), "geometry").double() + 0.5


def test_against_loops() -> None:
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    squares = [float((Z[i] - Z[j]).square().sum()) for i, j in pairs]
    assert squared_distance(Z) == pytest.approx(sum(squares) / len(pairs) / 5)
    norm = sum(float(row @ row) for row in Z) / 7
    assert relative_distance(Z) == pytest.approx(sum(squares) / len(pairs) / norm)
    units = [row / row.norm() for row in Z]
    energy = [math.exp(-2 * float((units[i] - units[j]).square().sum())) for i, j in pairs]
    assert uniformity(Z) == pytest.approx(math.log(sum(energy) / len(pairs)))
    expected = sorted(float(units[i] @ units[j]) for i in range(7) for j in range(i))
    assert sorted(cosines(Z).tolist()) == pytest.approx(expected)
    values = np.linalg.eigvalsh(np.cov(Z.numpy().T))
    assert participation_ratio(Z) == pytest.approx(values.sum() ** 2 / (values**2).sum())


def test_isotropic_gaussian_features() -> None:
    """Many rows, d dimensions: distance 2, ranks d, and the uniformity of the sphere by Bessel's function."""
    d, b = 8, 3000
    z = normal((b, d), "isotropic").double()
    assert squared_distance(z) == pytest.approx(2, rel=0.02)
    assert relative_distance(z) == pytest.approx(2, rel=0.01)
    assert effective_rank(z) == pytest.approx(d, rel=0.01)
    assert participation_ratio(z) == pytest.approx(d, rel=0.01)
    # E exp(κ cos) on the sphere is Γ(ν + 1) (2/κ)^ν I_ν(κ) with ν = d/2 − 1; ive has e^{−κ} in it.
    nu, kappa = d / 2 - 1, 4.0
    sphere = gammaln(nu + 1) + nu * math.log(2 / kappa) + math.log(ive(nu, kappa))
    assert uniformity(z) == pytest.approx(sphere, abs=0.01)
    wide = normal((300, 4096), "wide").double()
    assert uniformity(wide) == pytest.approx(-4, abs=0.01)


def test_duplicated_and_collapsed_features() -> None:
    """Every row twice: ranks and histograms as before; all rows alike: nothing is left but the offset."""
    twice = Z.repeat(2, 1)
    assert effective_rank(twice) == pytest.approx(effective_rank(Z))
    assert participation_ratio(twice) == pytest.approx(participation_ratio(Z))
    alike = geometry(Z[:1].repeat(6, 1))
    assert (alike.squared_distance, alike.relative_distance) == pytest.approx((0, 0), abs=1e-12)
    assert (alike.uniformity, alike.mean_cosine) == pytest.approx((0, 1), abs=1e-6)
    assert geometry(torch.zeros(4, 3)).relative_distance == 0


def test_what_each_measure_is_blind_to() -> None:
    """The claims of the docstrings: scale, a shared offset, and an outlier."""
    base, long = geometry(Z), geometry(10 * Z)
    assert long.squared_distance == pytest.approx(100 * base.squared_distance)
    for name in ("relative_distance", "uniformity", "mean_cosine", "effective_rank", "participation_ratio"):
        assert getattr(long, name) == pytest.approx(getattr(base, name))
    moved = geometry(Z + 50)
    assert moved.relative_distance < 0.01 * base.relative_distance
    assert moved.mean_cosine > 0.99
    assert moved.uniformity > -0.1
    assert moved.effective_rank == pytest.approx(base.effective_rank)
    assert cosines(Z + 50, centred=True).tolist() == pytest.approx(cosines(Z, centred=True).tolist())
    many = normal((200, 20), "many").double()
    many[0] *= 1000
    assert participation_ratio(many) < 1.1 < effective_rank(many)
    assert cosines(normal((50, 400), "centre").double(), centred=True).mean() == pytest.approx(
        -1 / 49, abs=2e-3
    )


def test_alive_is_the_weight_of_the_loss() -> None:
    loss = DispersiveLoss("hinge", eps=2.0)
    assert geometry(Z, loss).alive == loss.report(Z).off_diagonal_weight
    assert 0 < geometry(Z).alive < 1
    assert geometry(100 * Z).alive < 1e-6


def test_alive_is_of_whole_groups_and_all_else_of_all_rows() -> None:
    whole, grouped = (geometry(Z, DispersiveLoss(local_batch=group)) for group in (None, 3))
    by_hand = [DispersiveLoss().report(Z[rows]).off_diagonal_weight for rows in (slice(0, 3), slice(3, 6))]
    assert grouped.alive == pytest.approx(sum(by_hand) / 2)
    assert grouped.alive < whole.alive - 0.01  # fewer pairs to share the weight with a row's own
    assert dataclasses.replace(grouped, alive=whole.alive) == whole
    with pytest.raises(ConfigError, match="7 rows: expected at least local_batch = 8, a whole group"):
        geometry(Z, DispersiveLoss(local_batch=8))


@pytest.mark.parametrize("b", [2, 3, 9])
def test_the_most_uniform_directions_are_those_of_a_simplex(b: int) -> None:
    """−2t b/(b − 1): two antipodal rows have −8, and no rows are lower."""
    simplex = (torch.eye(b) - 1 / b).double()
    least = -4 * b / (b - 1)
    assert uniformity(simplex) == pytest.approx(least)
    assert uniformity(simplex, t=0.5) == pytest.approx(least / 4)
    assert uniformity(normal((b, 2000), "many directions", b).double()) > least


@pytest.mark.parametrize("point", [torch.zeros(4, 3), torch.full((8, 3), 0.25)])
def test_features_that_do_not_vary_count_as_one_direction(point: torch.Tensor) -> None:
    found = geometry(point)
    assert (found.effective_rank, found.participation_ratio) == (1, 1)
    assert participation_ratio(1e-90 * Z) == pytest.approx(participation_ratio(Z))


@pytest.mark.parametrize("bad", [torch.zeros(1, 5), torch.zeros(0, 5)])
def test_too_few_rows(bad: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="at least two rows"):
        geometry(bad)


def test_non_finite_features_and_shapes() -> None:
    broken = Z.clone()
    broken[2, 1] = math.nan
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        geometry(broken)
    spatial = normal((6, 2, 3, 4), "spatial")
    flat = dataclasses.asdict(geometry(spatial.flatten(1)))
    assert dataclasses.asdict(geometry(spatial)) == pytest.approx(flat)


MEASURES = [rms, squared_distance, relative_distance, uniformity, mean_cosine, cosines, effective_rank,
            participation_ratio, spectrum, alive]  # fmt: skip


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_each_measure_reads_tokens_as_one_row_of_each_sample(measure: Callable) -> None:
    tokens = normal((8, 5, 6), "tokens")
    flat = tokens.flatten(1).double()  # what float32 features are read as
    assert torch.equal(torch.as_tensor(measure(tokens)), torch.as_tensor(measure(flat)))
    if measure is cosines:
        assert torch.equal(cosines(tokens, centred=True), cosines(flat, centred=True))


def test_alive_reads_tokens_as_its_loss_does() -> None:
    tokens, loss = normal((8, 5, 6), "tokens"), DispersiveLoss(tokens="mean")
    found = alive(tokens.mean(dim=1))
    assert geometry(tokens, loss).alive == pytest.approx(found)
    assert geometry(tokens).alive < found - 0.05


CLASSES = torch.arange(8) % 2
READERS = {
    **{measure.__name__: measure for measure in MEASURES},
    "geometry": geometry,
    "measure": measure,
    "neighbour_accuracy": lambda z: neighbour_accuracy(z, CLASSES, neighbours=2),
    "linear_probe": lambda z: linear_probe(z, CLASSES, z, CLASSES),
    "cka": lambda z: cka(z, z),
    "compare": lambda z: compare(z, z, neighbours=2, repeats=2),
    "project": lambda z: project([z], "pca"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (torch.zeros(8), r"two rows .*got shape \(8,\); of one number per row pass features\[:, None\]"),
        (torch.tensor(1.0), r"at least two rows of at least one number, got shape \(\)"),
        (torch.zeros(8, 0), r"at least one number, got shape \(8, 0\)"),
        (torch.zeros(8, 3, 0), r"at least one number, got shape \(8, 3, 0\)"),
        (1e160 * normal((8, 3), "long").double(), r"entries up to 1e\+30.*got \d\.?\d?e\+160; divide them"),
        (tap(torch.nn.Sequential(torch.nn.Linear(3, 3)), "0"), r"got Tap; of a tap z pass z\.value"),
    ],
    ids=["(b,)", "()", "(b, 0)", "(b, n, 0)", "1e160", "tap"],
)
def test_what_no_measure_reads(name: str, bad: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        READERS[name](bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_the_largest_entries_are_read_by_every_measure(name: str) -> None:
    z = normal((8, 3), "long").double()
    found = READERS[name](LARGEST * z / z.abs().max())
    values = dataclasses.astuple(found) if dataclasses.is_dataclass(found) else (found,)
    assert all(np.isfinite(np.asarray(value, float)).all() for value in values if not isinstance(value, str))
