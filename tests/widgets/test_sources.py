"""Where the networks of a gallery come from: this machine's runs, and published files."""

import shutil
from pathlib import Path

import pytest
import torch

from disperse.errors import StorageError
from disperse.experiments import profile, publish, publish_network, published_networks
from disperse.training import read_spec
from disperse.widgets import Gallery, read_settings, remake
from disperse.widgets.sources import NoNetworkError, has_network, source_named, source_of


def test_a_run_of_the_store_by_folder_name_or_specification(runs: list[Path]) -> None:
    source = source_of(runs[0])
    assert (source.path, source.steps) == (runs[0], (2, 4))
    assert source.weights == (*source.spec.ema, "raw")
    assert source_named(runs[0].name) == source_of(source.spec) == source
    assert has_network(source.spec)
    assert not has_network(source.spec.replace(num_steps=3, milestones=()))
    assert not has_network(source.spec.replace(seed=9))
    with pytest.raises(NoNetworkError, match="none was trained here, and none is published"):
        source_of(source.spec.replace(seed=9))
    with pytest.raises(StorageError, match="nowhere"):
        source_named("nowhere")


def test_published_networks_are_shown_where_nothing_was_trained(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pictures as of the run to the precision that they are kept in, and the same files again."""
    specs = [read_spec(path).replace(num_steps=4, milestones=()) for path in runs[:2]]
    usual = Gallery(runs[:2], num=4)
    usual.wait(60)
    records = [
        {"name": s.name, "fingerprint": s.fingerprint, "step": 4, "seed": 0, "spec": s.identity,
         "protocol": profile("smoke").protocol.model_dump(mode="json"), "metrics": {}, "blocks": []}
        for s in specs
    ]  # fmt: skip
    publish("smoke", records)
    for spec in specs:
        publish_network(spec, "smoke")
    shutil.move(runs[0].parents[1] / "figures", tmp_path / "fresh" / "figures")
    monkeypatch.setenv("DISPERSE_HOME", str(tmp_path / "fresh"))
    assert [spec.run_id for spec in published_networks("smoke")] == [spec.run_id for spec in specs]
    gallery = Gallery([*specs, specs[0].replace(seed=9)], num=4, folder=tmp_path)
    gallery.wait(60)
    assert gallery.scene is not None, gallery.status.value
    assert gallery.controls.weights.options == ("power-0.1",)
    assert list(gallery.controls.runs) == [path.name for path in runs[:2]]
    assert gallery.scene.settings == usual.scene.settings
    for mine, theirs in zip(gallery.scene.images(), usual.scene.images(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.02)
    again = remake(read_settings(gallery.export()["settings"]), tmp_path / "again")
    assert again["picture"].read_bytes() == (tmp_path / again["picture"].name).read_bytes()
