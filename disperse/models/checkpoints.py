"""Weights of the published projects: read safely, check name by name, keep as one verified file.

A model file is a safetensors file whose header holds the network's configuration, what it predicts, and
a SHA-256 of its tensors: safetensors alone loads a flipped bit silently.
"""

import argparse
import hashlib
import json
import math
import pickle
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..atomic import canonical_json, write_file
from ..errors import CheckpointError, ConfigError, unknown
from ..objectives import SiTSpec
from ..spec import OBJECTIVE_SPECS, ObjectiveSpec
from .presets import from_config
from .transformer import DiffusionTransformer, TransformerConfig

FORMAT = "disperse-model-1"
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # by width, of the published models
_PREFIXES = ("module.", "_orig_mod.")
_RENAMED = {"h_embedder.": "r_embedder."}  # MeanFlow's second time in other ports


@dataclass(frozen=True)
class Imported:
    """A published model: the network, and what was noticed on the way.

    Attributes:
        model: with its weights, in eval mode.
        weights: which entry of the file they are: ``"ema"``, ``"model"`` or ``"plain"``.
        notes: one line each, for the user.
    """

    model: DiffusionTransformer
    weights: str
    notes: tuple[str, ...]


def import_checkpoint(
    path: str | Path,
    *,
    system: str | None = None,
    weights: str | None = None,
    num_heads: int | None = None,
    reversed_time: bool | None = None,
) -> Imported:
    """Read a checkpoint of DiT, SiT, REPA or MeanFlow and infer its network from the shapes.

    Args:
        path: ``.pt`` (opened weights-only: nothing in it is executed) or ``.safetensors``.
        system: ``"dit"`` or ``"sit"``, whose files look alike; MeanFlow is recognised.
        weights: ``"ema"`` or ``"model"`` where the file holds both; the average by default. A file of
            tensors alone holds ``"plain"`` ones.
        num_heads: where the width is none of the published ones.
        reversed_time: whether a SiT network counts from data to noise; by default so if it is REPA's.

    Raises:
        CheckpointError: not a checkpoint of tensors, damaged, or of another architecture; names the tensors.
        ConfigError: an option is needed or does not fit.
    """
    tensors, entry = _choose(_read(Path(path)), weights, Path(path))
    tensors, notes = _canonical(tensors)
    is_repa = any(name.startswith("projectors.") for name in tensors)
    if is_repa:
        dropped = sorted(name for name in tensors if name.startswith("projectors."))
        tensors = {name: value for name, value in tensors.items() if name not in dropped}
        notes.append(f"REPA: {len(dropped)} tensors of its projectors were left out")
    config = infer_config(tensors, system=system, num_heads=num_heads)
    objective = _objective(config, is_repa if reversed_time is None else reversed_time)
    halves = sorted({str(v.dtype) for v in tensors.values() if v.dtype in (torch.float16, torch.bfloat16)})
    if halves:
        notes.append(f"stored as {', '.join(halves)}, converted to float32")
        tensors = {name: value.float() for name, value in tensors.items()}
    model = from_config(config, device="meta", objective=objective).to_empty(device="cpu")
    expected = model.state_dict()
    check_tensors(str(path), tensors, expected)
    model.load_state_dict(tensors)
    return Imported(model.eval(), entry, tuple(notes))


def infer_config(
    tensors: dict[str, Tensor], *, system: str | None = None, num_heads: int | None = None
) -> TransformerConfig:
    """Patch, width, depth, grid, classes and output channels from shapes; heads from the width.

    Raises:
        CheckpointError: tensors that tell these are missing or of another shape.
        ConfigError: the system or the number of heads cannot be inferred and was not given.
    """
    try:
        width, channels, patch, _ = tensors["x_embedder.proj.weight"].shape
        grid = math.isqrt(tensors["pos_embed"].shape[1])
        classes = tensors["y_embedder.embedding_table.weight"].shape[0] - 1
        outputs = tensors["final_layer.linear.weight"].shape[0]
        blocks = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
        depth = max(blocks) + 1
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"not a DiT, SiT or MeanFlow network ({error}): expected their tensors"
        ) from None
    second_time = any(name.startswith("r_embedder.") for name in tensors)
    if second_time:
        system = system or "meanflow"
    if system is None:
        raise ConfigError("system: DiT and SiT files look alike; say which with --system dit or --system sit")
    if system not in OBJECTIVE_SPECS:
        raise unknown("system", system, OBJECTIVE_SPECS)
    if (system == "meanflow") != second_time:
        has = "a" if second_time else "no"
        raise ConfigError(f"system = {system}: this file has {has} second time embedder (MeanFlow's)")
    if num_heads is None and width not in HEADS:
        raise ConfigError(
            f"num_heads: width {width} is none of the published ones; say how many heads it has"
        )
    try:
        return TransformerConfig(
            input_size=grid * patch,
            patch_size=patch,
            in_channels=channels,
            hidden_size=width,
            depth=depth,
            num_heads=num_heads or HEADS[width],
            num_classes=classes,
            learn_sigma=outputs == 2 * channels * patch**2,
            keep_sigma=system == "dit",
            second_time=second_time,
        )
    except ValueError as error:
        raise CheckpointError(f"shapes that fit no network: {str(error).splitlines()[-1].strip()}") from None


def save_model(model: DiffusionTransformer, path: str | Path, **source: Any) -> None:
    """Write a model file; ``source`` says where its weights come from.

    Raises:
        StorageError: it cannot be written; an old file is untouched.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    header = {
        "format": FORMAT,
        "config": canonical_json(model.config.model_dump()),
        "objective": canonical_json(model.objective.model_dump(mode="json")),
        "source": canonical_json(source),
        "sha256": digest_tensors(tensors),
    }
    write_file(Path(path), lambda temporary: save_file(tensors, temporary, metadata=header))


def load_model_file(path: str | Path) -> DiffusionTransformer:
    """Read a model file and verify it.

    Raises:
        CheckpointError: not a model file, damaged, or of another format.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as handle:
            header = handle.metadata() or {}
        if header.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: not a model file of this package; make one with `disperse import {path.name}`"
            )
        config = TransformerConfig(**json.loads(header["config"]))
        values = json.loads(header["objective"])
        objective = OBJECTIVE_SPECS[values["kind"]].parse(values)
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: cannot be read ({error}); import it again") from None
    found = digest_tensors(tensors)
    if found != header.get("sha256"):
        raise CheckpointError(
            f"{path}: SHA-256 of its tensors is {found[:12]}, the header says "
            f"{str(header.get('sha256'))[:12]}; the file is damaged, import it again"
        )
    model = from_config(config, device="meta", objective=objective).to_empty(device="cpu")
    # Half precision is for keeping alone: networks compute in what they are made for.
    tensors = {name: value.float() if value.dtype is torch.half else value for name, value in tensors.items()}
    check_tensors(str(path), tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def export_checkpoint(model: DiffusionTransformer, path: str | Path) -> None:
    """Write weights as the published loaders read them: ``{"model": ..., "ema": ...}``, both the same."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_file(Path(path), lambda temporary: torch.save({"model": tensors, "ema": tensors}, temporary))


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of names; hex."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> Any:
    """What a checkpoint file holds; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of pickle protocols: what matters ends in an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0][:160]
        raise CheckpointError(
            f"{path}: holds more than tensors, and nothing in it was run ({reason}); "
            "ask its author for the weights alone, or for safetensors"
        ) from None
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, struct.error,
            zipfile.BadZipFile, AttributeError, IndexError, TypeError) as error:  # fmt: skip
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({reason})") from None


def _choose(loaded: Any, weights: str | None, path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors that were asked for, and under which entry they stood."""
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, expected a dict of tensors")
    entries = {name: loaded[name] for name in ("ema", "model") if isinstance(loaded.get(name), dict)}
    entries = entries or {"plain": loaded}
    entry = weights or next(iter(entries))
    if entry not in entries:
        raise unknown("weights", entry, entries)
    chosen = entries[entry]
    bad = [
        name for name, value in chosen.items() if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if bad or not chosen:
        what = ", ".join(map(str, bad[:3])) or "nothing"
        raise CheckpointError(f"{path}: expected tensors by name, found {what} in {entry}")
    return chosen, entry


def _canonical(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names without what wrappers put before them, and as this package has them."""
    renamed, notes = {}, set()
    for name, value in tensors.items():
        key = name
        while key.startswith(_PREFIXES):
            prefix = next(p for p in _PREFIXES if key.startswith(p))
            key = key.removeprefix(prefix)
            notes.add(f"prefix {prefix} taken off")
        for old, new in _RENAMED.items():
            if key.startswith(old):
                key = new + key.removeprefix(old)
                notes.add(f"{old}* read as {new}*")
        renamed[key] = value
    if len(renamed) < len(tensors):
        raise CheckpointError("two tensors have one name once wrappers' prefixes are taken off")
    return renamed, sorted(notes)


def _objective(config: TransformerConfig, reversed_time: bool) -> ObjectiveSpec:
    if config.system == "sit":
        return SiTSpec(reversed_time=reversed_time)
    if reversed_time:
        raise ConfigError(f"reversed_time: only for SiT, this is {config.system}")
    return OBJECTIVE_SPECS[config.system]()


def check_tensors(what: str, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare names, shapes and dtypes with those of ``expected``; every value must be finite.

    Raises:
        CheckpointError: names the first tensor that doesn't fit.
    """
    for problem, names in (
        ("missing", expected.keys() - tensors.keys()),
        ("unexpected", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{what}: {problem} {', '.join(sorted(names)[:5])}")
    for name, value in tensors.items():
        own = expected[name]
        if value.shape != own.shape or value.dtype != own.dtype:
            raise CheckpointError(
                f"{what}: {name} is {value.dtype} {tuple(value.shape)}, expected "
                f"{own.dtype} {tuple(own.shape)}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{what}: {name} holds NaN or infinity")
