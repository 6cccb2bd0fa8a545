"""A closer look at trained runs: which, how, and that nothing is computed twice."""

import pytest

from disperse.errors import ConfigError
from disperse.experiments import (
    LOOKS,
    PROFILES,
    Cell,
    Profile,
    finished,
    item,
    look,
    look_at_finished,
    look_cells,
    publish,
    run_folder,
    seen_by,
)
from disperse.experiments.looks import few_steps, guided

from .cases import TOY, record, toy

__all__ = ["toy"]


def pair() -> list[Cell]:
    return item("pair", "toy", (0,))


def test_protocols_of_every_look_differ_from_the_profiles_own(toy: Profile) -> None:
    for row in PROFILES.values():
        assert all(row.protocol_of(kind).sampler.nfe for kind in ("sit", "dit", "meanflow"))
        for own in LOOKS.values():
            for kind in ("sit", "dit", "meanflow"):
                found = [protocol.hash for protocol in own.protocols(row, kind)]
                assert all(protocol.sampler.nfe for protocol in own.protocols(row, kind))  # can be sampled
                assert len(set(found)) == len(found)
                own_protocol = row.protocol_of(kind)
                assert own_protocol.hash not in found or own_protocol.guided_samples == 0
    assert [p.sampler.nfe for p in few_steps(TOY, "sit")] == [1, 2, 4, 8, 16]
    assert [p.sampler.nfe for p in few_steps(TOY, "meanflow")] == [1, 2, 4]
    assert guided(TOY, "meanflow") == []
    assert {c.label for c in pair() if LOOKS["sampler"].wants(c)} == {"baseline", "infonce-l2"}
    assert [p.guidance for p in guided(TOY, "dit")] == [1.5]


def test_a_look_trains_what_is_missing_once_and_compares_with_training(toy: Profile) -> None:
    cells = pair()
    found = look("against_training", cells, toy)
    assert [r["name"] for r in found] == ["baseline", "infonce-l2"]
    for each in found:
        assert each["step"] == toy.num_steps
        assert 0 <= each["metrics"]["nearer_to_seen"]["value"] <= 1
        assert len(each["levels"]) == 10
    assert "levels" not in finished("toy", 1)[0]
    again = look("against_training", cells, toy)
    assert again == found  # read, not computed: the dates are the same
    look_at_finished("toy", 1)
    assert len(finished("toy", 1)) > len(found)
    assert all(run_folder(cell.spec).exists() for cell in cells)
    with pytest.raises(ConfigError, match=r"against-training.*against_training"):
        look("against-training", cells, toy)


def test_published_looks_are_used_and_chosen(toy: Profile) -> None:
    cells = item("pair", "toy", (0, 1))
    own = [record(c.spec, s, toy.protocol) for c in cells for s in (*c.spec.milestones, c.spec.num_steps)]
    (protocol,) = guided(toy, "sit")
    looks = [record(c.spec, c.spec.num_steps, protocol, fd=0.5) for c in cells if c.spec.seed == 1]
    publish("toy", own + looks)
    chosen = look_cells("systems", "toy", 0, items=("pair",))
    assert [(c.label, c.spec.seed) for c in chosen] == [("baseline", 1), ("infonce-l2", 1)]
    found = look("systems", chosen, toy, source="published")
    assert [r["metrics"]["fd"]["value"] for r in found] == [0.5, 0.5]
    assert seen_by("systems", found, chosen[0], toy) == found[:1]
    assert [c.spec.seed for c in look_cells("systems", "toy", 2, items=("pair",))] == [0, 0, 1, 1]
    # Nothing published under this look: seed 0.
    assert {c.spec.seed for c in look_cells("one_step", "toy", 0, items=("pair",))} == {0}


def test_a_kind_of_run_that_a_look_passes_over_is_not_chosen(toy: Profile) -> None:
    """Nor does it stand for its item: DiT is trained although MeanFlow lacks nothing."""
    assert not {c.label for c in look_cells("one_step", "toy", 0)} & {"dit-baseline", "dit-infonce-l2"}
    assert {c.label for c in look_cells("systems", "toy", 0, items=("systems_tour",))} == {
        "dit-baseline", "dit-infonce-l2",
    }  # fmt: skip
    assert {c.label for c in look_cells("one_step", "toy", 0, items=("systems_tour",))} == {
        "meanflow-baseline", "meanflow-infonce-l2",
    }  # fmt: skip
