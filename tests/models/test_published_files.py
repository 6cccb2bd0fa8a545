"""Checkpoints of the published projects: read safely, inferred, checked name by name, kept verified."""

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from disperse import sample
from disperse.errors import CheckpointError, ConfigError
from disperse.models import build_model, from_config
from disperse.models.checkpoints import (
    digest_tensors,
    export_checkpoint,
    import_checkpoint,
    infer_config,
    load_model_file,
    save_model,
)
from disperse.objectives import DiTSpec, MeanFlowSpec, SiTSpec
from disperse.rng import normal

SMALL = {"input_size": 8, "hidden_size": 384, "depth": 2, "num_heads": 6, "num_classes": 7}


def weights(system: str = "SiT", patch: int = 2) -> dict[str, Tensor]:
    model = build_model(f"{system}-B/{patch}", **SMALL)
    return {k: v + 0.01 * normal(v.shape, "weights", k) for k, v in model.state_dict().items()}


def equal(model: torch.nn.Module, tensors: dict[str, Tensor]) -> bool:
    state = model.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[k], tensors[k]) for k in state)


FORMS: dict[str, Any] = {
    "plain": lambda w: w,
    "ema": lambda w: {"model": {k: v + 1 for k, v in w.items()}, "ema": w, "opt": {"state": {}},
                      "args": argparse.Namespace(model="SiT-B/2", lr=1e-4)},
    "ddp": lambda w: {f"module.{k}": v for k, v in w.items()},
    "compiled": lambda w: {"model": {f"_orig_mod.{k}": v for k, v in w.items()}},
    "both": lambda w: {"ema": {f"module._orig_mod.{k}": v for k, v in w.items()}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file(form: str, tmp_path: Path) -> None:
    expected = weights()
    torch.save(FORMS[form](expected), tmp_path / "file.pt")
    imported = import_checkpoint(tmp_path / "file.pt", system="sit")
    assert equal(imported.model, expected)
    assert imported.weights == {"plain": "plain", "ddp": "plain", "compiled": "model"}.get(form, "ema")
    assert not imported.model.training


def test_the_entry_that_is_asked_for(tmp_path: Path) -> None:
    expected = weights()
    torch.save(FORMS["ema"](expected), tmp_path / "file.pt")
    imported = import_checkpoint(tmp_path / "file.pt", system="sit", weights="model")
    assert equal(imported.model, {k: v + 1 for k, v in expected.items()})
    with pytest.raises(ConfigError, match=r'weights = .emma.* did you mean "ema"'):
        import_checkpoint(tmp_path / "file.pt", system="sit", weights="emma")
    torch.save(expected, tmp_path / "plain.pt")
    with pytest.raises(ConfigError, match="weights = 'ema': expected one of plain"):
        import_checkpoint(tmp_path / "plain.pt", system="sit", weights="ema")


@pytest.mark.parametrize(
    ("system", "patch", "kind"), [("SiT", 4, SiTSpec()), ("DiT", 2, DiTSpec()), ("MF", 4, MeanFlowSpec())]
)
def test_the_network_is_inferred(system: str, patch: int, kind: Any, tmp_path: Path) -> None:
    expected = weights(system, patch)
    save_file(expected, tmp_path / "file.safetensors")
    named = {"SiT": "sit", "DiT": "dit", "MF": None}[system]
    model = import_checkpoint(tmp_path / "file.safetensors", system=named).model
    assert model.config == build_model(f"{system}-B/{patch}", device="meta", **SMALL).config
    assert model.objective == kind
    assert equal(model, expected)


def test_ports_of_meanflow_and_repa(tmp_path: Path) -> None:
    ours = weights("MF")
    theirs = {k.replace("r_embedder", "h_embedder"): v for k, v in ours.items()}
    torch.save(theirs, tmp_path / "mf.pt")
    imported = import_checkpoint(tmp_path / "mf.pt")
    assert equal(imported.model, ours)
    assert any("h_embedder" in note for note in imported.notes)
    ours = weights()
    torch.save({**ours, "projectors.0.0.weight": torch.zeros(3, 3)}, tmp_path / "repa.pt")
    imported = import_checkpoint(tmp_path / "repa.pt", system="sit")
    assert equal(imported.model, ours)
    assert imported.model.objective == SiTSpec(reversed_time=True)
    assert any("projectors" in note for note in imported.notes)
    plain = import_checkpoint(tmp_path / "repa.pt", system="sit", reversed_time=False).model
    assert plain.objective == SiTSpec()


def test_there_and_back_and_sampled(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "theirs.pt")
    model = import_checkpoint(tmp_path / "theirs.pt", system="sit").model
    save_model(model, tmp_path / "ours.safetensors", file="theirs.pt")
    again = load_model_file(tmp_path / "ours.safetensors")
    assert equal(again, weights())
    assert (again.config, again.objective) == (model.config, model.objective)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    export_checkpoint(again, tmp_path / "back.pt")
    assert torch.load(tmp_path / "back.pt", weights_only=True).keys() == {"model", "ema"}
    assert equal(import_checkpoint(tmp_path / "back.pt", system="sit").model, weights())
    images = [sample(m, range(2), num_steps=2) for m in (model, again)]
    assert torch.equal(*images)


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["code.pt", "code.safetensors"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_never_run(name: str, how: str, tmp_path: Path) -> None:
    content = {"model": weights(), "opt": Canary(tmp_path / "canary")}
    if how == "torch":
        torch.save(content, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(tmp_path / name, system="sit")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()
    with pytest.raises(CheckpointError):
        load_model_file(tmp_path / name)
    assert not (tmp_path / "canary").exists()


def drop(w: dict[str, Tensor]) -> dict[str, Tensor]:
    del w["blocks.1.mlp.fc2.bias"]
    return w


CHANGES: dict[str, tuple[Any, str]] = {
    "missing": (drop, r"missing blocks\.1\.mlp\.fc2\.bias"),
    "extra": (lambda w: {**w, "blocks.0.norm.weight": torch.zeros(3)}, r"unexpected blocks\.0\.norm\.weight"),
    "shape": (
        lambda w: {**w, "t_embedder.mlp.2.bias": torch.zeros(1)},
        r"t_embedder\.mlp\.2\.bias is .*\(1,\)",
    ),
    "column": (
        lambda w: {**w, "t_embedder.mlp.2.bias": w["t_embedder.mlp.2.bias"].view(384, 1)},
        r"t_embedder\.mlp\.2\.bias is .*\(384, 1\)",
    ),
    "dtype": (
        lambda w: {**w, "t_embedder.mlp.2.bias": torch.zeros(384).double()},
        "float64.*expected.*float32",
    ),
    "nan": (
        lambda w: {**w, "t_embedder.mlp.2.bias": torch.full((384,), float("nan"))},
        "mlp.2.bias holds NaN",
    ),
    "infinity": (
        lambda w: {**w, "t_embedder.mlp.2.bias": torch.full((384,), float("inf"))},
        "mlp.2.bias holds NaN or infinity",
    ),
    "twice": (lambda w: {**w, "module.pos_embed": w["pos_embed"]}, "two tensors have one name"),
    "other": (lambda w: {"conv.weight": torch.zeros(3)}, "not a DiT, SiT or MeanFlow network"),
    "empty": (lambda w: {}, "expected tensors by name"),
    "list": (lambda w: [1, 2], "holds a list"),
    "numbers": (lambda w: {"a": 1}, "found a in plain"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_architecture_is_named(change: str, tmp_path: Path) -> None:
    make, message = CHANGES[change]
    torch.save(make(weights()), tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        import_checkpoint(tmp_path / "file.pt", system="sit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_file_is_named(share: float, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file.{suffix}"
    torch.save(weights(), path) if suffix == "pt" else save_file(weights(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"file\."):
        import_checkpoint(path, system="sit")
    with pytest.raises(CheckpointError, match="no such file"):
        import_checkpoint(tmp_path / "nothing.pt", system="sit")


def test_what_cannot_be_inferred_is_asked_for(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "file.pt")
    with pytest.raises(ConfigError, match="--system dit or --system sit"):
        import_checkpoint(tmp_path / "file.pt")
    with pytest.raises(ConfigError, match="no second time embedder"):
        import_checkpoint(tmp_path / "file.pt", system="meanflow")
    narrow = build_model("SiT-B/2", **{**SMALL, "hidden_size": 32, "num_heads": 2}).state_dict()
    torch.save(narrow, tmp_path / "narrow.pt")
    with pytest.raises(ConfigError, match="num_heads: width 32"):
        import_checkpoint(tmp_path / "narrow.pt", system="sit")
    assert import_checkpoint(tmp_path / "narrow.pt", system="sit", num_heads=4).model.config.num_heads == 4


def test_what_is_said_of_the_network_is_not_inferred(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "file.pt")
    model = import_checkpoint(tmp_path / "file.pt", system="sit", num_heads=12, reversed_time=True).model
    assert (model.config.num_heads, model.objective) == (12, SiTSpec(reversed_time=True))
    torch.save(weights("DiT"), tmp_path / "dit.pt")
    with pytest.raises(ConfigError, match="reversed_time: only for SiT, this is dit"):
        import_checkpoint(tmp_path / "dit.pt", system="dit", reversed_time=True)


@pytest.mark.parametrize("size", ["S", "B", "L", "XL"])
def test_heads_of_the_published_widths(size: str) -> None:
    model = build_model(f"SiT-{size}/2", device="meta")
    assert infer_config(model.state_dict(), system="sit") == model.config


def test_half_precision_is_converted_and_said(tmp_path: Path) -> None:
    torch.save({k: v.bfloat16() for k, v in weights().items()}, tmp_path / "file.pt")
    imported = import_checkpoint(tmp_path / "file.pt", system="sit")
    assert {v.dtype for v in imported.model.state_dict().values()} == {torch.float32}
    assert any("bfloat16" in note for note in imported.notes)


def test_a_flipped_bit_and_a_foreign_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(build_model("SiT-Nano/2"), path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    load_file(path)  # safetensors itself sees nothing
    with pytest.raises(CheckpointError, match="SHA-256 of its tensors"):
        load_model_file(path)
    save_file(weights(), path)
    with pytest.raises(CheckpointError, match=r"make one with `disperse import model\.safetensors`"):
        load_model_file(path)


def test_the_digest_covers_names_shapes_dtypes_and_bytes() -> None:
    a, b = torch.arange(6.0), torch.ones(6)
    others: list[dict[str, Tensor]] = [
        {"a": a, "b": b}, {"a": b, "b": a}, {"c": a, "b": b}, {"a": a.view(2, 3), "b": b},
        {"a": a.view(torch.int32), "b": b}, {"a": a, "b": b.index_fill(0, torch.tensor(5), 2.0)},
    ]  # fmt: skip
    assert len({digest_tensors(tensors) for tensors in others}) == len(others)
    assert digest_tensors({"b": b, "a": a}) == digest_tensors({"a": a, "b": b})


def test_a_model_file_keeps_its_objective_and_no_infinity(tmp_path: Path) -> None:
    path, spec = tmp_path / "m.safetensors", SiTSpec(path="vp", prediction="noise")
    model = from_config(build_model("SiT-Nano/2", device="meta").config, objective=spec)
    save_model(model, path)
    assert load_model_file(path).objective == spec
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("inf"))
    save_model(model, path)
    with pytest.raises(CheckpointError, match=r"final_layer\.linear\.bias holds NaN or infinity"):
        load_model_file(path)


def test_the_header_says_where_it_comes_from(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_model(build_model("SiT-Nano/2"), tmp_path / "m.safetensors", file="a.pt", weights="ema")
    with safe_open(tmp_path / "m.safetensors", "pt") as handle:
        header = handle.metadata()
    assert json.loads(header["source"]) == {"file": "a.pt", "weights": "ema"}
    assert json.loads(header["config"])["depth"] == 4
