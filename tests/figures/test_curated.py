"""What is picked, and how far apart the images of a pair are."""

from pathlib import Path

import pytest
import torch

from disperse.errors import ConfigError
from disperse.experiments import Profile, item, run_folder
from disperse.figures import draw_curated, draw_from, draw_grids, draw_pairs, other_baseline, read_sidecar
from disperse.figures.curated import over_noises, pair_distances, pairs_figure, pick, pixel_distances
from disperse.figures.samples import Drawn
from disperse.training import train

from ..experiments.cases import TOY, toy

__all__ = ["toy"]


def made_up(label: str = "baseline", seed: int = 0, num: int = 60, shift: float = 0.0) -> Drawn:
    """Grey images, brighter from image to image; every seventh is seen as the class after its own."""
    cell = next(cell for cell in item("pair", "smoke", (seed,)) if cell.label == label)
    asked = torch.arange(num) % 10
    images = torch.linspace(-0.5, 0.5, num)[:, None, None, None].expand(num, 1, 8, 8) + shift
    # Within a class the surest is the one in the middle.
    sureness = -(torch.arange(num) // 10 - num // 20).abs().double()
    seen = torch.where(torch.arange(num) % 7 == 0, (asked + 1) % 10, asked)
    return Drawn(label, cell.spec, 1.0, images, asked, seen, sureness)


def test_the_surest_of_each_class_are_picked_best_first() -> None:
    drawn = made_up()
    assert pick(drawn, 6, 1) == list(range(30, 40))
    picks = pick(drawn, 6, 3)
    assert picks[:10] == list(range(30, 40))
    assert [seed % 10 for seed in picks] == 3 * list(range(10))
    assert set(picks[10:20]) == set(range(20, 30))  # of equals the first
    assert max(pick(drawn, 2, 1)) < 20  # from the first candidates alone
    assert sorted(pick(drawn, 6, 6)) == list(range(60))


@pytest.mark.parametrize(("candidates", "kept"), [(7, 1), (3, 4), (3, 0)])
def test_no_more_is_picked_than_there_is(candidates: int, kept: int) -> None:
    with pytest.raises(ConfigError, match="picks"):
        pick(made_up(), candidates, kept)


def test_picks_are_chosen_for_each_model_and_told(tmp_path: Path) -> None:
    base, term = made_up(), made_up("infonce-l2")
    term.sureness[30:40] -= 10
    picture = draw_curated([base, term], TOY, tmp_path, candidates=5, kept=2)
    assert picture.name == "samples_curated.png"
    facts = read_sidecar(picture)
    first, second = facts["runs"]
    assert first["picks"][:10] == list(range(30, 40))
    assert second["picks"][:10] == list(range(20, 30))
    assert facts["shared_picks"] == len(set(first["picks"]) & set(second["picks"]))
    assert first["agreement_of_candidates"]["n"] == 50
    assert first["agreement_of_candidates"]["low"] < first["agreement_of_candidates"]["value"] < 1
    assert first["agreement_of_picks"].keys() == {"value", "n"}  # picked by the judge: no interval
    assert (facts["candidates"], facts["kept"]) == (5, 2)


def test_the_caption_says_what_was_picked_by_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    monkeypatch.setattr(
        "disperse.figures.curated.save_drawn",
        lambda figure, stem, *_, **__: titles.append(figure.get_suptitle()) or stem,
    )
    draw_curated([made_up(), made_up("infonce-l2")], TOY, tmp_path, candidates=5, kept=2)
    assert "of 5 candidates for each class, the 2" in titles[0]
    assert "classifier" in titles[0]
    assert "20 of 20 are the same noise" in titles[0]


def test_pixel_distance_is_root_mean_square() -> None:
    black, white = -torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    assert pixel_distances(black, white) == [2, 2]
    white[1, :, :2] = -1  # half of the second is alike
    assert pixel_distances(black, white) == pytest.approx([2, 2**0.5])


def test_pairs_differ_by_the_term_the_seed_or_the_noise() -> None:
    base, term, other = made_up(), made_up("infonce-l2", shift=0.1), made_up(seed=1, shift=0.3)
    found = pair_distances(base, term, other, 50)
    assert {name: len(values) for name, values in found.items()} == {
        "with and without the term": 50, "two training seeds": 50, "two noises of one class": 20,
    }  # fmt: skip
    assert found["with and without the term"] == pytest.approx([0.1] * 50, abs=1e-6)
    assert found["two training seeds"] == pytest.approx([0.3] * 50, abs=1e-6)
    assert found["two noises of one class"] == pytest.approx([20 / 59] * 20, abs=1e-6)
    assert pair_distances(base, term, None, 19).keys() == {"with and without the term"}


def test_pairs_are_told_with_an_interval_over_noises(tmp_path: Path) -> None:
    base, term = made_up(), made_up("infonce-l2", shift=0.1)
    facts = read_sidecar(draw_pairs([base, term], TOY, tmp_path, num=40))
    assert facts["distances"]["with and without the term"]["n"] == 40
    assert "noises" in facts["distances"]["two noises of one class"]["method"]
    assert "two training seeds" not in facts["distances"]
    assert [run["seed"] for run in facts["runs"]] == [0, 0]
    same = read_sidecar(draw_pairs([base, term], TOY, tmp_path, other=base, num=40))
    assert same["distances"] == facts["distances"]
    facts = read_sidecar(draw_pairs([base, term], TOY, tmp_path, other=made_up(seed=1), num=1))
    assert facts["distances"]["two training seeds"] == {
        **facts["distances"]["two training seeds"], "n": 1, "low": None, "method": "none: one noise",
    }  # fmt: skip
    assert [run["seed"] for run in facts["runs"]] == [0, 0, 1]
    assert over_noises([1.0, 2.0]).method == "Student's t over noises"


def test_a_line_for_every_run_and_a_name_for_every_line() -> None:
    base, term, other = made_up(), made_up("infonce-l2"), made_up(seed=1)
    for third, names in ((None, 2), (other, 3)):
        figure = pairs_figure(base, term, third, pair_distances(base, term, third, 40), shown=20)
        above = figure.axes[0]
        assert above.images[0].get_array().shape == (9 * names - 1, 9 * 20 - 1)
        assert len(above.get_yticklabels()) == names
        assert len(figure.axes[1].get_yticklabels()) == names


def test_uncurated_grids_under_guidance(tmp_path: Path) -> None:
    drawn = [made_up(), made_up("infonce-l2")]
    facts = read_sidecar(draw_grids(drawn, TOY, tmp_path / "all", num=14))
    assert facts["sample_seeds"] == [0, 13]
    agreements = [run["agreement"] for run in facts["runs"]]
    assert [(a["value"], a["n"]) for a in agreements] == [(pytest.approx(12 / 14), 14)] * 2
    assert "no guidance" in facts["sampler"]


def test_a_real_run_is_drawn_and_another_only_if_it_is_there(toy: Profile, store: Path) -> None:
    assert other_baseline(toy, 1, 4) is None
    cell = next(cell for cell in item("pair", "toy", (1,)) if cell.label == "baseline")
    train(cell.spec.replace(device="cpu"), run_folder(cell.spec), progress=False)
    found = other_baseline(toy, 1, 12, guidance=2.0)
    assert found is not None
    assert found.asked.tolist() == [*range(10), 0, 1]
    assert found.images.shape == (12, 1, 8, 8)
    assert found.images.abs().max() <= 1
    assert (found.sureness <= 0).all()
    plain = draw_from(cell, toy, 12)
    assert not torch.equal(plain.images, found.images)  # guidance does something
    assert ((found.sureness.exp() <= 0.5) | (found.seen == found.asked)).all()
    assert "guidance 2" in read_sidecar(draw_grids([found], toy, store / "grid", num=12))["sampler"]
