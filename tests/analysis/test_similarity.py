"""CKA and CKNNA against loops, what they are blind to, and a null at its stated rate."""

import dataclasses

import numpy as np
import pytest
import torch

from disperse.analysis.similarity import cka, cknna, compare
from disperse.errors import ConfigError, NonFiniteError
from disperse.rng import normal

X = normal((40, 12), "similarity x").double()
Y = 0.7 * X @ normal((12, 20), "similarity map").double() + normal((40, 20), "similarity y").double()


def hsic_by_loops(k: np.ndarray, m: np.ndarray) -> float:
    """E over distinct quadruples of k_ij (m_ij + m_qr − 2 m_iq): the definition, without bias."""
    n, total, count = len(k), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
    return total / count


def centred(z: torch.Tensor) -> torch.Tensor:
    return z - z.mean(dim=0)


def test_cka_by_loops() -> None:
    x, y = X[:8], Y[:8]
    k, m = ((centred(z) @ centred(z).T).numpy() for z in (x, y))
    expected = hsic_by_loops(k, m) / np.sqrt(hsic_by_loops(k, k) * hsic_by_loops(m, m))
    assert cka(x, y) == pytest.approx(expected)


def test_cknna_by_loops() -> None:
    x, y, near = X[:9], Y[:9], 3
    kernels, masks = [], []
    for z in (x, y):
        unit = centred(z) / centred(z).norm(dim=1, keepdim=True)
        kernel = (unit @ unit.T).numpy()
        mask = np.zeros((9, 9))
        for i in range(9):
            order = sorted((j for j in range(9) if j != i), key=lambda j: -kernel[i, j])
            mask[i, order[:near]] = 1
        kernels.append(kernel)
        masks.append(mask)
    (k, m), (near_k, near_m) = kernels, masks
    both = near_k * near_m

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        """Song et al.'s estimator, as the authors of CKNNA use it on kernels that aren't symmetric."""
        n = len(a)
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        one = np.ones(n)
        return (np.trace(a @ b) + one @ a @ one * (one @ b @ one) / ((n - 1) * (n - 2))
                - 2 / (n - 2) * one @ a @ b @ one) / (n * (n - 3))  # fmt: skip

    expected = hsic(k * both, m * both) / np.sqrt(hsic(k * near_k, k * near_k) * hsic(m * near_m, m * near_m))
    assert cknna(x, y, neighbours=near) == pytest.approx(expected)


def test_the_same_up_to_rotation_and_scale() -> None:
    turn = torch.linalg.qr(normal((12, 12), "turn").double()).Q
    for measure in (cka, cknna):
        assert measure(X, X) == pytest.approx(1)
        assert measure(X, 3 * X @ turn + 2) == pytest.approx(1)
        assert measure(X, Y) == pytest.approx(measure(Y, X), abs=1e-12 if measure is cka else 0.01)
        assert 0.1 < measure(X, Y) < 0.95


def test_unrelated_wide_features_have_none() -> None:
    """Where the biased estimator would say 0.9."""
    x, y = (normal((40, 2000), "wide", name).double() for name in "xy")
    k, m = (centred(z) @ centred(z).T for z in (x, y))
    biased = (k * m).sum() / (k.norm() * m.norm())
    assert biased > 0.9
    assert abs(cka(x, y)) < 0.1


@pytest.mark.parametrize(("n", "expected"), [(40, 0.25), (100, 0.1), (500, 0.02)])
def test_unrelated_features_have_a_cknna_of_neighbours_over_rows(n: int, expected: float) -> None:
    values = [cknna(*(normal((n, 20), "chance", n, i, name) for name in "xy")) for i in range(10)]
    assert np.mean(values) == pytest.approx(expected, rel=0.2)


def test_planted_clusters_are_shared_and_one_loud_dimension_rules_cka() -> None:
    label = torch.arange(60) % 2
    near = torch.nn.functional.one_hot(label, 2).double() * 6
    x = torch.cat([near, normal((60, 10), "own x").double()], dim=1)
    y = torch.cat([near, normal((60, 10), "own y").double()], dim=1)
    alone = x[:, 2:], y[:, 2:]
    assert cka(x, y) > 0.6 > 0.2 > abs(cka(*alone))
    assert cknna(x, y) > cknna(*alone) + 0.1
    loud = 6 * normal((60, 1), "loud").double()
    assert cka(*(torch.cat([z, loud], dim=1) for z in alone)) > 0.8


@pytest.mark.parametrize("measure", ["cka", "cknna"])
def test_the_null_covers_at_its_rate(measure: str) -> None:
    """Of unrelated features one in ten has p ≤ 0.1: 200 tries, of which 8 to 33 (99.9%)."""
    found = [
        compare(normal((24, 4), "null x", i), normal((24, 4), "null y", i), measure=measure, neighbours=5,
                repeats=39, seed=i)
        for i in range(200)
    ]  # fmt: skip
    assert 8 <= sum(each.p <= 0.1 for each in found) <= 33
    assert min(each.p for each in found) >= 1 / 40


@pytest.mark.parametrize("measure", ["cka", "cknna"])
def test_the_interval_covers_the_value_of_many_samples(measure: str) -> None:
    """Of 80 draws of 60 samples the interval holds the value of 1500 in most; nominal 76, asked 66."""
    turn = normal((6, 6), "cover turn").double()

    def drawn(n: int, key: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = normal((n, 6), "cover", key).double()
        return x, x @ turn + 1.5 * normal((n, 6), "cover noise", key).double()

    share = 10 / 60
    truth = np.mean([cka(*drawn(1500, -1)) if measure == "cka"
                     else cknna(*drawn(1500, -1), neighbours=round(share * 1500))])  # fmt: skip
    found = [compare(*drawn(60, i), measure=measure, neighbours=10, repeats=60, seed=i) for i in range(80)]
    assert sum(each.low <= truth <= each.high for each in found) >= 66
    assert all(each.low <= each.value <= each.high and each.p <= 0.05 for each in found)


def test_cknna_of_all_neighbours_is_cka_of_directions_in_its_halves_too() -> None:
    """Rows of a half have fewer others than of the whole; none is its own neighbour."""
    x, y = X[:8], Y[:8]
    directions = [torch.nn.functional.normalize(centred(z), dim=1) for z in (x, y)]
    everyone = compare(x, y, neighbours=7, repeats=20)
    assert dataclasses.asdict(everyone) == pytest.approx(
        dataclasses.asdict(compare(*directions, measure="cka", repeats=20))
    )


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many rows of both"):
        cka(X, Y[:-1])
    with pytest.raises(ConfigError, match="neighbours = 40: expected 2 to 39"):
        cknna(X, Y, neighbours=40)
    with pytest.raises(ConfigError, match="at least 8 rows"):
        compare(X[:6], Y[:6], neighbours=2)
    for repeats in (0, 1, 2.5):
        with pytest.raises(ConfigError, match=rf"repeats = {repeats}: expected an integer ≥ 2"):
            compare(X, Y, repeats=repeats)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="measure"):
        compare(X, Y, measure="cca")  # type: ignore[arg-type]
    with pytest.raises(NonFiniteError):
        cka(X, Y * torch.inf)
