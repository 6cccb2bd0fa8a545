"""Samples for a gallery: the same noise, kept while there is room, interruptible."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from disperse.data import load_data
from disperse.errors import ConfigError
from disperse.sampling import sample
from disperse.training import load_model
from disperse.widgets.background import Newest
from disperse.widgets.scenes import Cancelled, Scenes, nearest_training_images
from disperse.widgets.settings import GallerySettings
from disperse.widgets.sources import source_of


def settings(runs: list[Path], **changes: object) -> GallerySettings:
    values = {
        "runs": [path.name for path in runs], "step": 4, "weights": "raw", "solver": "euler", "num_steps": 3,
        "num": 4,
    }  # fmt: skip
    return GallerySettings.parse({**values, **changes})


def scenes_of(runs: list[Path], **more: int) -> Scenes:
    return Scenes({path.name: source_of(path) for path in runs}, **more)


def at_hand(scenes: Scenes, settings: GallerySettings) -> bool:
    return scenes.at_hand(settings) is not None


def test_both_runs_start_from_the_same_noise_and_end_where_sample_does(runs: list[Path]) -> None:
    scene = scenes_of(runs).make(settings(runs[:2], first_seed=7, label=3, guidance=2.0))
    left, right = scene.ways
    assert torch.equal(left.states[0], right.states[0])
    assert not torch.equal(left.states[-1], right.states[-1])
    model = load_model(runs[1], step=4, weights="raw")
    expected = sample(model, range(7, 11), 3, solver="euler", num_steps=3, guidance=2.0)
    assert torch.equal(scene.images()[1], expected)
    assert scene.num_frames == 4
    assert torch.equal(scene.images(0, ends=True)[0], left.ends[0])


def test_classes_come_in_turn_by_sample_seed(runs: list[Path]) -> None:
    scene = scenes_of(runs).make(settings(runs[:1], first_seed=8))
    assert scene.labels.tolist() == [8, 9, 0, 1]


def test_another_checkpoint_is_another_picture(runs: list[Path]) -> None:
    early, late = (scenes_of(runs).make(settings(runs[:1], step=step)) for step in (2, 4))
    assert not torch.equal(early.images()[0], late.images()[0])


def test_what_was_sampled_is_kept_run_by_run(runs: list[Path]) -> None:
    scenes = scenes_of(runs)
    both, one = settings(runs[:2]), settings(runs[1:2])
    assert not at_hand(scenes, both)
    made = scenes.make(both)
    assert at_hand(scenes, both)
    assert at_hand(scenes, one)
    assert scenes.make(one).ways[0] is made.ways[1]
    assert not at_hand(scenes, settings(runs[:2], guidance=2.0))


def test_no_more_is_kept_than_there_is_room_for(runs: list[Path]) -> None:
    scenes = scenes_of(runs, room=1)
    for seed in range(3):
        scenes.make(settings(runs[:1], first_seed=seed))
        assert len(scenes.kept) == 1
    assert at_hand(scenes, settings(runs[:1], first_seed=2))
    assert not at_hand(scenes, settings(runs[:1], first_seed=0))


def test_progress_goes_to_one_over_both_runs(runs: list[Path]) -> None:
    shares: list[float] = []
    scenes_of(runs).make(settings(runs[:2]), shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] <= 1
    assert any(0.5 < share < 0.9 for share in shares)


def test_runs_of_two_systems_share_no_sampler(runs: list[Path]) -> None:
    with pytest.raises(ConfigError, match="one system"):
        scenes_of(runs).make(settings([runs[0], runs[2]]))


def test_the_nearest_of_a_training_image_is_itself() -> None:
    train = load_data("digits", "train")
    images, labels, differences = nearest_training_images(train.images[41], "digits")
    assert torch.equal(images[0], train.images[41])
    assert labels[0] == train.labels[41]
    assert differences[0] == 0
    assert differences == sorted(differences)
    assert 0 < differences[1] < 2


def endless_job() -> tuple[threading.Event, Callable[[Callable[[float], None]], None]]:
    """A job that ends only when it is cancelled, and what says that it runs."""
    running = threading.Event()

    def job(progress: Callable[[float], None]) -> None:
        running.set()
        while True:
            progress(0.5)

    return running, job


def test_a_newer_job_cancels_the_one_before() -> None:
    newest, told = Newest(), []
    running, endless = endless_job()

    def start(job: object, name: str) -> None:
        newest.start(
            job, progress=lambda share: None, done=lambda result: told.append((name, result)),
            failed=lambda error: told.append((name, error)),
        )  # type: ignore[arg-type]  # fmt: skip

    start(endless, "old")
    assert running.wait(30)
    start(lambda progress: 42, "new")
    newest.wait(30)
    assert told == [("new", 42)]


def test_a_cancelled_job_says_nothing_and_a_failed_one_why() -> None:
    newest, told = Newest(), []
    running, endless = endless_job()

    def fails(progress: object) -> None:
        raise ValueError("no")

    options = {"progress": lambda share: None, "done": told.append, "failed": told.append}
    newest.start(endless, **options)  # type: ignore[arg-type]
    assert running.wait(30)
    newest.cancel()
    newest.wait(30)
    assert told == []
    newest.start(fails, **options)  # type: ignore[arg-type]
    newest.wait(30)
    assert [str(error) for error in told] == ["no"]


def test_a_cancelled_scene_leaves_nothing_half_made(runs: list[Path]) -> None:
    scenes = scenes_of(runs)

    def stop(share: float) -> None:
        if share > 0.2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        scenes.make(settings(runs[:1]), stop)
    assert not scenes.kept
