"""What a gallery shows, as a file that makes the same picture again."""

import json
from pathlib import Path

import pytest

from disperse.errors import ConfigError, StorageError
from disperse.widgets import Gallery, GallerySettings, read_settings

SETTINGS = GallerySettings(runs=("a", "b"), step=2, weights="raw", solver="heun", num_steps=3)


def test_settings_come_back_from_their_file_bare_or_in_a_sidecar(tmp_path: Path) -> None:
    values = GallerySettings(
        runs=("a",), step=2, weights="raw", solver="heun", num_steps=3, guidance=2.5, guidance_interval=(0.25, 1.0),
        label=3,
    ).model_dump(mode="json")  # fmt: skip
    for name, content in (("bare", values), ("sidecar", {"item": "gallery", "settings": values})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        assert read_settings(path).model_dump(mode="json") == values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num": 0}, "num = 0"),
        ({"num": 101}, "num = 101"),
        ({"num_steps": 0}, "num_steps = 0"),
        ({"first_seed": -1}, "first_seed = -1"),
        ({"solver": "hun"}, "heun"),
        ({"guidance_interval": (0.8, 0.2)}, "guidance_interval"),
        ({"runs": ("../../etc",)}, "not a path"),
        ({"runs": ()}, "runs"),
        ({"run": "a"}, "run"),
        ({"guidance": float("nan")}, "guidance"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(change: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        GallerySettings.parse({**SETTINGS.model_dump(mode="json"), **change}, "settings")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "kind"), [("{", StorageError), ("[]", ConfigError), ("{}", ConfigError)])
def test_files_that_hold_no_settings(tmp_path: Path, text: str, kind: type[Exception]) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(kind):
        read_settings(path)
    with pytest.raises(StorageError, match="cannot be read"):
        read_settings(tmp_path / "none.json")


def test_settings_that_no_control_shows_stay_as_they_were_given(runs: list[Path]) -> None:
    first = Gallery(runs, num=4).controls.settings.replace(precision="bf16", solver="euler", num_steps=2)
    gallery = Gallery(runs, first=first)
    gallery.controls.guidance.value = 2.0
    gallery.wait(60)
    assert gallery.scene is not None, gallery.status.value
    assert gallery.scene.settings == first.replace(guidance=2.0)
