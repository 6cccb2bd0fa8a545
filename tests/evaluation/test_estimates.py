"""Distances and intervals against closed forms, hand values and simulation."""

import warnings

import numpy as np
import pytest
from scipy import linalg

from disperse.errors import ConfigError, NonFiniteError
from disperse.evaluation import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    log_ratio,
    mean_over_seeds,
    nearer_to_seen,
    nearest,
    neighbours,
    precision_recall,
    proportion,
    within,
)
from disperse.rng import stream


def gaussian(mean: object, covariance: object) -> Gaussian:
    return Gaussian(np.asarray(mean, float), np.asarray(covariance, float), 0)


def wishart(key: int, d: int, rank: int) -> np.ndarray:
    a = stream("wishart", key).standard_normal((d, rank))
    return a @ a.T / rank


def test_fit_by_hand() -> None:
    fitted = fit_gaussian(np.array([[0.0, 1], [2, 1], [4, 4]]))
    assert fitted.mean.tolist() == [2, 2]
    assert fitted.covariance.tolist() == [[4, 3], [3, 3]]  # divided by n − 1
    assert fitted.n == 3
    one = fit_gaussian(np.array([[1.0], [3.0]]))
    assert one.covariance.tolist() == [[2]]
    single = fit_gaussian(np.ones((2, 1), np.float32))
    assert single.mean.dtype == single.covariance.dtype == np.float64
    with pytest.raises(ConfigError, match="n ≥ 2"):
        fit_gaussian(np.zeros((1, 3)))
    with pytest.raises(NonFiniteError):
        fit_gaussian(np.array([[0.0, np.nan], [1, 2]]))


def test_distance_is_computed_in_float64() -> None:
    """A shift of a millionth beside a mean of 1000 is lost in float32."""
    eye = np.eye(4)
    got = frechet_distance(gaussian(np.full(4, 1000.0), eye), gaussian(np.full(4, 1000.000001), eye))
    assert got == pytest.approx(4e-12, rel=0.01, abs=1e-14)


@pytest.mark.parametrize("d", [1, 2, 64])
def test_distance_of_scaled_and_shifted_spheres(d: int) -> None:
    for shift, scale in ((0.0, 1.0), (3.0, 1.0), (0.0, 5.0), (2.0, 0.1)):
        other = gaussian(np.full(d, shift), scale**2 * np.eye(d))
        expected = d * shift**2 + d * (1 - scale) ** 2
        assert frechet_distance(gaussian(np.zeros(d), np.eye(d)), other) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("key", range(4))
def test_distance_of_covariances_that_do_not_commute(key: int) -> None:
    a, b = gaussian(np.zeros(16), wishart(key, 16, 20)), gaussian(np.ones(16), wishart(key + 9, 16, 20))
    assert np.abs(a.covariance @ b.covariance - b.covariance @ a.covariance).max() > 0.1
    root = linalg.sqrtm(a.covariance @ b.covariance)
    expected = 16 + np.trace(a.covariance + b.covariance) - 2 * np.trace(root).real
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_on_orthogonal_planes() -> None:
    a = gaussian(np.zeros(4), np.diag([4.0, 9, 0, 0]))
    b = gaussian(np.zeros(4), np.diag([0.0, 0, 1, 16]))
    assert frechet_distance(a, b) == pytest.approx(4 + 9 + 1 + 16)  # nothing in common
    c = gaussian(np.zeros(4), np.diag([1.0, 1, 0, 0]))
    assert frechet_distance(a, c) == pytest.approx((2 - 1) ** 2 + (3 - 1) ** 2)
    flat = gaussian(np.zeros(4), np.zeros((4, 4)))
    assert frechet_distance(flat, flat) == 0
    few = fit_gaussian(stream("few").standard_normal((5, 30)))  # rank 4 of 30
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_a_rotation_of_both_changes_nothing() -> None:
    rotation = np.linalg.qr(stream("rotation").standard_normal((6, 6)))[0]
    a, b = gaussian(np.arange(6), wishart(1, 6, 9)), gaussian(np.ones(6), wishart(2, 6, 9))
    turned = [gaussian(rotation @ g.mean, rotation @ g.covariance @ rotation.T) for g in (a, b)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(a, b), rel=1e-10)


def test_jackknife_interval_covers_the_distance_of_the_model() -> None:
    """A mean shifted by 1 in two dimensions: the distance is 2 plus a bias that 400 samples make small."""
    reference, covered = gaussian([1.0, 1.0], np.eye(2)), 0
    for repeat in range(100):
        rows = stream("coverage", repeat).standard_normal((400, 2))
        estimate = frechet_with_interval(rows, reference)
        covered += estimate.low <= 2 <= estimate.high
        assert (estimate.n, estimate.level) == (400, 0.95)
    assert 89 <= covered <= 100  # 95 expected, standard error 2.2


def test_jackknife_equals_a_literal_loop() -> None:
    rows, reference = stream("loop").standard_normal((40, 3)), gaussian(np.zeros(3), np.eye(3))
    left = [
        frechet_distance(fit_gaussian(np.array([r for i, r in enumerate(rows) if i // 10 != g])), reference)
        for g in range(4)
    ]
    error = np.sqrt(3 / 4 * sum((v - np.mean(left)) ** 2 for v in left))
    estimate = frechet_with_interval(rows, reference, groups=4)
    assert estimate.high - estimate.value == pytest.approx(3.182446 * error, rel=1e-6)  # t of 3 at 97.5%
    assert "4 groups" in estimate.method


def test_fewer_samples_than_groups_are_left_out_one_by_one() -> None:
    rows, reference = stream("few rows").standard_normal((6, 2)), gaussian([3.0, 0.0], np.eye(2))
    assert frechet_with_interval(rows, reference) == frechet_with_interval(rows, reference, groups=6)
    for n in (0, 1, 2):
        with pytest.raises(ConfigError, match="n ≥ 3"):
            frechet_with_interval(rows[:n], reference)
    with pytest.raises(ConfigError, match="groups = 1"):
        frechet_with_interval(rows, reference, groups=1)
    with pytest.raises(NonFiniteError):
        frechet_with_interval(np.full((6, 2), np.inf), reference)


def test_wilson_by_hand() -> None:
    z2 = 1.959963984540054**2
    for k, n in ((0, 10), (10, 10), (3, 17), (1, 1)):
        centre = (k + z2 / 2) / (n + z2)
        reach = np.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
        got = proportion(k, n)
        assert (got.value, got.n, got.method) == (k / n, n, "Wilson")
        assert (got.low, got.high) == (
            pytest.approx(centre - reach, abs=1e-12),
            pytest.approx(centre + reach),
        )
    for k, n in ((0, 0), (3, 2), (-1, 4)):
        with pytest.raises(ConfigError, match="proportion"):
            proportion(k, n)


def test_mean_over_seeds_by_hand() -> None:
    got = mean_over_seeds([1.0, 3.0])
    assert (got.value, got.n) == (2, 2)
    assert got.high == pytest.approx(2 + 12.706205)  # t of 1 at 97.5%, standard error 1
    assert got.low == pytest.approx(2 - 12.706205)
    alone = mean_over_seeds([3.0])
    assert (alone.value, alone.n) == (3, 1)
    assert np.isnan([alone.low, alone.high]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error, not NumPy's warning on the way
        with pytest.raises(ConfigError, match="no value"):
            mean_over_seeds([])


def test_an_interval_ends_with_the_range_of_its_measure() -> None:
    wide = mean_over_seeds([0.5, 0.9, 1.0])
    cut = within(wide, 0.0, 1.0)
    assert (cut.value, cut.n, cut.method) == (wide.value, 3, wide.method)
    assert (cut.low, cut.high) == (wide.low, 1.0)
    assert within(wide, 0.5, 2.0) == within(wide, 0.5, 9.0)
    assert within(wide, -9.0, 9.0) == wide
    alone = within(mean_over_seeds([0.5]), 0.0, 1.0)
    assert alone.value == 0.5
    assert np.isnan([alone.low, alone.high]).all()


def test_log_ratio_pairs_by_seed() -> None:
    baseline = {0: 1.0, 1: 10.0, 2: 100.0}
    halved = {seed: value / 2 for seed, value in baseline.items()}
    got = log_ratio(dict(reversed(halved.items())) | {9: 1e9}, baseline)
    assert (got.value, got.n) == (pytest.approx(np.log(0.5)), 3)
    assert got.high - got.low < 1e-9  # unpaired, the spread would be a factor of 100
    assert log_ratio(baseline, halved).value == pytest.approx(np.log(2))
    with pytest.raises(ConfigError, match="no seed in common"):
        log_ratio({0: 1.0}, {1: 1.0})
    for values in ({0: 0.0}, {0: -1.0}):
        with pytest.raises(ConfigError, match="seed 0"):
            log_ratio(values, {0: 1.0})
        with pytest.raises(ConfigError, match="seed 0"):
            log_ratio({0: 1.0}, values)


def test_a_dropped_mode_costs_recall_and_an_invented_one_precision() -> None:
    modes = [stream("modes", i).standard_normal((60, 4)) + 40 * i for i in range(4)]
    real = np.concatenate(modes)
    fresh = [stream("fresh", i).standard_normal((60, 4)) + 40 * i for i in range(5)]
    for samples, low, high in ((np.concatenate(fresh[:3]), 0, 1), (np.concatenate(fresh), 1, 0)):
        precision, recall = precision_recall(samples, real)
        full = precision_recall(np.concatenate(fresh[:4]), real)
        assert precision.value == pytest.approx(full[0].value * (1 if low == 0 else 0.8), abs=0.05)
        assert recall.value == pytest.approx(full[1].value * (0.75 if high == 1 else 1), abs=0.05)
        assert (precision.n, recall.n) == (len(samples), len(real))


def test_precision_and_recall_by_hand() -> None:
    real = np.array([[0.0], [1.0], [10.0]])  # radii to the first neighbour: 1, 1, 9
    samples = np.array([[-1.0], [2.5], [19.5], [5.0]])  # radii: 3.5, 2.5, 14.5, 2.5
    precision, recall = precision_recall(samples, real, k=1)
    assert precision.value == 3 / 4  # −1 is on the edge of 0's ball, 2.5 and 5 in 10's; 19.5 in none
    assert recall.value == 3 / 3
    assert precision_recall(samples[:2], real, k=1)[1].value == 2 / 3
    assert [e.value for e in precision_recall(real, real, k=2)] == [1, 1]
    assert [e.value for e in precision_recall(real, real + 1e6, k=2)] == [0, 0]


@pytest.mark.parametrize("k", [0, -1, 3, 5])
def test_neighbours_out_of_range(k: int) -> None:
    points = np.arange(6.0).reshape(3, 2)
    with pytest.raises(ConfigError, match=f"k = {k}"):
        precision_recall(points, points, k=k)


def test_copies_of_training_images_are_nearer_to_them() -> None:
    """Of points that are all copies the share is 1, of strangers ½; only as many as there are of both count."""
    draw = stream("copies")
    seen, unseen = draw.standard_normal((300, 5)), draw.standard_normal((100, 5))
    assert nearer_to_seen(seen[::3], seen, unseen).value == 1
    assert nearer_to_seen(unseen, seen, unseen).value == 0
    strangers = nearer_to_seen(draw.standard_normal((1500, 5)), seen, unseen)
    assert strangers.value == pytest.approx(0.5, abs=0.05)
    assert (strangers.n, strangers.low < strangers.value < strangers.high) == (1500, True)
    copies_of_the_rest = nearer_to_seen(np.delete(seen, np.s_[::3], axis=0), seen, unseen)
    assert copies_of_the_rest.value < 0.65


def test_a_set_in_an_order_of_its_own_is_compared_as_a_whole() -> None:
    """Images that drift along the set, as one writer follows another: strangers stay at ½."""
    draw = stream("drift")
    seen, unseen, strangers = (
        np.column_stack([np.linspace(0, 100, n), draw.standard_normal(n)]) for n in (1000, 250, 2000)
    )
    assert nearer_to_seen(strangers, seen, unseen).value == pytest.approx(0.5, abs=0.05)
    assert nearer_to_seen(strangers, seen[:250], unseen).value < 0.3


def test_the_nearest_is_found_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    points, others = (
        np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 9.0]]),
        np.array([[9.0, 9.0], [3.0, 4.0], [1.0, 8.0]]),
    )
    for rows in (1000, 2):
        monkeypatch.setattr(neighbours, "ROWS", rows)
        index, distance = nearest(points, others)
        assert index.tolist() == [1, 1, 2]
        assert distance == pytest.approx([5, 5**0.5, 1])
