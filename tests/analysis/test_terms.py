"""How alive a term is: by hand on a model whose features are known, and zero where there is nothing to pull."""

import pytest

from disperse.analysis import measure_blocks, measure_terms
from disperse.data import ImageSet, digits
from disperse.models import DiffusionTransformer, build_model
from disperse.regularizers import DispersiveSpec
from disperse.spec import RunSpec

DATA = ImageSet(digits("held-out").images[:64], digits("held-out").labels[:64])


def spec(**term: object) -> RunSpec:
    return RunSpec(regularizers=(DispersiveSpec(blocks=(1,), **term),), batch_size=32)


def test_the_ratio_is_proportional_to_lambda_and_the_loss_does_not_depend_on_it(
    model: DiffusionTransformer,
) -> None:
    (one,), (two,) = (measure_terms(model, spec(lam=lam), DATA) for lam in (0.25, 0.5))
    assert one["gradient_ratio"] > 0
    assert two["gradient_ratio"] == pytest.approx(2 * one["gradient_ratio"], rel=1e-5)
    assert {k: v for k, v in one.items() if k != "gradient_ratio"} == {
        k: v for k, v in two.items() if k != "gradient_ratio"
    }
    assert (one["term"], one["block"]) == (0, 1)
    assert one["floor"] <= one["value"] <= 0


def test_a_loss_at_its_floor_pulls_on_nothing(model: DiffusionTransformer) -> None:
    """With a tiny τ every pair is far apart: saturated, no weight off the diagonal, no gradient."""
    (row,) = measure_terms(model, spec(tau=1e-5), DATA)
    assert row["saturation"] == pytest.approx(1, abs=1e-6)
    assert row["off_diagonal_weight"] < 1e-6
    assert row["gradient_ratio"] < 1e-6


def test_a_new_model_pulls_on_nothing_yet() -> None:
    """Its last layer is zero, so that its own loss has no gradient at any block, and the ratio no value."""
    new = build_model("SiT-Nano/2", depth=3).eval().requires_grad_(False)
    (row,) = measure_terms(new, spec(), DATA)
    assert row["gradient_ratio"] is None
    assert row["value"] < 0


def test_groups_are_those_of_training_and_a_baseline_has_no_terms(model: DiffusionTransformer) -> None:
    (row,) = measure_terms(model, spec(local_batch=8), DATA)
    assert row["floor"] == pytest.approx(-2.0794415, rel=1e-6)  # −log 8
    assert measure_terms(model, RunSpec(), DATA) == []
    assert len(measure_terms(model, RunSpec(regularizers=(DispersiveSpec(blocks="all"),)), DATA)) == 3


def test_a_set_smaller_than_a_batch_is_one_batch(model: DiffusionTransformer) -> None:
    few = ImageSet(DATA.images[:21], DATA.labels[:21])
    assert measure_terms(model, spec(local_batch=8), few)[0]["value"] < 0


def test_update_rms_is_what_a_block_adds(model: DiffusionTransformer) -> None:
    rows = measure_blocks(model, DATA, levels=(0.5,))
    assert rows[0]["update_rms"] is None
    assert rows[1]["update_rms"] > 0
    idle = build_model("SiT-Nano/2", depth=3)  # a new block is the identity
    assert [row["update_rms"] for row in measure_blocks(idle, DATA, levels=(0.5,))] == [None, 0.0, 0.0]
