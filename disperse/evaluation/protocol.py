"""What is measured and how: the protocol, its noise floor, and the card printed beside a number."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from ..atomic import digest
from ..data import SPLITS, ImageSet, base_name, load_data
from ..errors import ConfigError
from ..models import DiffusionTransformer
from ..sampling import Sampled, SamplerConfig, sample
from . import fid
from .features import (
    EVALUATOR,
    PIXELS,
    classify,
    describe,
    evaluator_for,
    find_evaluator,
    metric_name,
    network,
    read_features,
    spaces_for,
)
from .floors import real_distance, real_features, reference
from .frechet import Array, Estimate, frechet_with_interval, mean_over_seeds, proportion
from .held_out import held_out_loss
from .images import image_set
from .neighbours import nearer_to_seen, precision_recall


class Protocol(Sampled):
    """Settings of an evaluation; its hash names the stored result.

    Sample i has label i mod classes. With ``sample_seeds = "shared"`` it has seed i, so all models are
    compared on the same noise, and an interval over training seeds leaves out how the noise fell. With
    ``"own"`` it has seed ``i + num_samples · training seed``: runs of one training seed still share their
    noise, and an interval over training seeds holds that of the samples too.

    ``evaluator`` names the network of the features and its weights: other weights are another protocol;
    ``"pixels"`` needs no network, and measures no agreement, precision or recall. ``spaces`` names
    further feature spaces, whose distances stand beside. ``reference`` is a split of ``data``, or of an
    external evaluator the statistics it compares with. ``num_samples = 0`` measures the held-out loss
    alone. ``against_training`` compares with the images of training too.

    The settings of ``sampler`` are given and written as fields: ``Protocol(solver="euler", num_steps=50)``.
    """

    LATER = ("against_training", "spaces", "sample_seeds")

    evaluator: str = EVALUATOR
    data: str = "digits"
    reference: str = "held-out"
    num_samples: int = Field(default=1000, ge=0)
    guided_samples: int = Field(default=200, ge=0)
    agreement_guidance: float = Field(default=1.5, ge=0)
    weights: str = "power-0.1"
    neighbours: int = Field(default=3, ge=1)
    against_training: bool = False
    spaces: tuple[str, ...] = ()
    sample_seeds: Literal["shared", "own"] = "shared"

    @field_validator("num_samples")
    @classmethod
    def _several(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 0, or at least 2")
        return value

    @model_validator(mode="after")
    def _samples_where_they_are_needed(self) -> Self:
        if not self.num_samples and (self.guided_samples or self.against_training):
            raise ValueError(
                f"num_samples = 0: measures the held-out loss alone; got guided_samples = "
                f"{self.guided_samples}, against_training = {self.against_training}; set them to 0 and False"
            )
        if self.evaluator == PIXELS and self.guided_samples:
            raise ValueError("evaluator = pixels: no classifier to agree with; set guided_samples to 0")
        if not self.num_samples and self.evaluator == fid.EVALUATOR:
            raise ValueError(f"num_samples = 0: {self.evaluator} measures samples alone; expected at least 2")
        return self

    def fits(self, other: dict[str, Any]) -> bool:
        """Whether an evaluation under another protocol, as plain data, differs in its further spaces alone.

        Further feature spaces change no number that was there, so results from before there were any stand
        beside newer ones.
        """
        plain, others = self.model_dump(mode="json"), dict(other)
        for values in (plain, others):
            values.pop("spaces", None)
        return plain == others

    def first_seed(self, training_seed: int) -> int:
        """Seed of the first sample of a run."""
        return training_seed * self.num_samples if self.sample_seeds == "own" else 0

    @property
    def hash(self) -> str:
        """8 hex digits that name the protocol."""
        return digest(self.model_dump(mode="json"), 8)

    @property
    def split(self) -> str:
        """Of ``data``, whose images features are measured on; ``"train"`` beside an external reference."""
        return self.reference if self.reference in SPLITS else "train"

    def card(self) -> str:
        """One line that names features, n, sampler, guidance, weights and sample seeds."""
        weights = "raw weights" if self.weights == "raw" else f"EMA {self.weights}"
        first = f"0–{self.num_samples - 1}"
        seeds = first if self.sample_seeds == "shared" else f"{first} + {self.num_samples} · training seed"
        made = f"{self.sampler.describe()}; {weights}; sample seeds {seeds}"
        if self.evaluator == fid.EVALUATOR:
            return (
                f"{self.evaluator}, {fid.FEATURES} features; n = {self.num_samples}, labels balanced, "
                f"against {self.reference}; {made}"
            )
        guided = (
            f"; guided agreement: n = {self.guided_samples}, guidance {self.agreement_guidance:g}"
            if self.guided_samples
            else ""
        )
        if not self.num_samples:
            return f"held-out loss alone, on {len(load_data(self.data, self.reference))} images; {weights}"
        also = f"; also in {' and '.join(map(describe, self.spaces))}" if self.spaces else ""
        return (
            f"{describe(self.evaluator)}{also}; images clipped to [−1, 1]; n = {self.num_samples}, labels "
            f"balanced, against {len(load_data(self.data, self.reference))} {self.reference} images; "
            f"{made}; precision and recall by {self.neighbours} neighbours{guided}"
        )


def check_evaluator(protocol: Protocol) -> None:
    """Say at once what an evaluation lacks, not after hours of training.

    Raises:
        ConfigError: unknown evaluator, one that does not fit the data, or an extra that is not installed.
        CheckpointError: its weights are missing or damaged.
        DataError: the statistics that it compares with are missing.
    """
    if protocol.evaluator == fid.EVALUATOR:
        fid.check_available(protocol.reference)
        return
    base = base_name(protocol.data)
    for space in (protocol.evaluator, *protocol.spaces):
        if space == PIXELS:
            continue
        row = find_evaluator(
            space, "protocol.evaluator" if space == protocol.evaluator else "protocol.spaces"
        )
        if base not in row.data:
            raise ConfigError(
                f"protocol.data = {protocol.data}: the evaluator {space} knows {' and '.join(row.data)}; "
                f"expected {evaluator_for(base)} or one of {', '.join(spaces_for(base))}"
            )
        network(space)


def evaluate(
    model: DiffusionTransformer,
    protocol: Protocol,
    *,
    seen: ImageSet | None = None,
    training_seed: int = 0,
    images: Mapping[float, Tensor] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a model: name of the metric → fields of its ``Estimate``.

    ``fd``: Fréchet distance in the evaluator's features; ``fd_selfsup``, ``fd_pixels``: in further spaces.
    ``precision``, ``recall``: by neighbours in the evaluator's features, and with ``_selfsup`` in the
    encoder's. ``agreement``: share of the same samples that the classifier puts in the class asked for;
    ``guided_agreement``: the same under ``agreement_guidance``. ``clipped``: share of the samples' values
    outside [−1, 1], before they are clipped. ``nearer_to_seen``: share of the same samples whose nearest
    image, in pixels, is one of ``seen``, what the model was trained on, and not of the reference.
    ``held_out_loss``: of ``held_out_loss``, with its mean ``by_level``. An external evaluator gives ``fd``
    alone.

    Args:
        model: in eval mode.
        protocol: what and how.
        seen: images of training, to compare with.
        training_seed: of the run, which with ``sample_seeds = "own"`` chooses the samples' seeds.
        images: samples that were made already, guidance → (n, c, h, w), of the seeds and labels that the
            protocol has; an external evaluator makes its own.

    Raises:
        ConfigError, CheckpointError, DataError: as ``check_evaluator``.
    """
    check_evaluator(protocol)
    first = protocol.first_seed(training_seed)
    if protocol.evaluator == fid.EVALUATOR:
        labels = _labels(model, protocol.num_samples)
        estimate = fid.evaluate_fid(model, labels.tolist(), protocol.sampler, protocol.reference, first)
        return {"fd": dataclasses.asdict(estimate)}
    unseen = image_set(protocol.data, protocol.reference)
    found: dict[str, Estimate] = {}
    if protocol.num_samples:
        samples, labels = _samples(model, protocol.num_samples, protocol.sampler, first, images)
        found = _compare(samples, labels, protocol)
        if seen is not None:
            points = (samples, seen.read(slice(None)), unseen.read(slice(None)))
            found["nearer_to_seen"] = nearer_to_seen(*(p.flatten(1).double().numpy() for p in points))
    if protocol.guided_samples:
        sampler = protocol.sampler.replace(guidance=protocol.agreement_guidance)
        samples, labels = _samples(model, protocol.guided_samples, sampler, first, images)
        found["guided_agreement"] = _agreement(classify(samples, evaluator=protocol.evaluator)[1], labels)
    metrics = {name: dataclasses.asdict(estimate) for name, estimate in found.items()}
    # A toy evaluation looks at few images here too.
    loss, by_level = held_out_loss(model, unseen.few(protocol.num_samples or len(unseen)))
    return {**metrics, "held_out_loss": {**dataclasses.asdict(loss), "by_level": by_level}}


def _compare(images: Tensor, labels: Array, protocol: Protocol) -> dict[str, Estimate]:
    """What samples are like, beside real images."""
    found: dict[str, Estimate] = {}
    if protocol.evaluator != PIXELS:
        features, scores = classify(images, evaluator=protocol.evaluator)
        found = _distances(features, protocol.evaluator, protocol)
        found["agreement"] = _agreement(scores, labels)
    for space in dict.fromkeys((*protocol.spaces, *([PIXELS] if protocol.evaluator == PIXELS else []))):
        found |= _distances(read_features(images, space, data=protocol.data), space, protocol)
    outside = (images.abs() > 1).flatten(1).double().mean(dim=1)
    clipped = mean_over_seeds(outside.tolist(), method="Student's t over samples")
    return {**found, "clipped": clipped}


def _distances(features: Tensor, space: str, protocol: Protocol) -> dict[str, Estimate]:
    """Fréchet distance in a space, and in a network's precision and recall."""
    name, of_real = metric_name(space), (protocol.data, protocol.reference, space)
    found = {name: frechet_with_interval(features.double().numpy(), reference(*of_real))}
    if space != PIXELS:
        both = precision_recall(features.numpy(), real_features(*of_real), k=protocol.neighbours)
        suffix = name.removeprefix("fd")
        found |= {f"precision{suffix}": both[0], f"recall{suffix}": both[1]}
    return found


def noise_floor(protocol: Protocol, repeats: int = 20, *, space: str | None = None) -> Estimate | None:
    """Distance of real to real images at the same n and reference; see ``real_distance``.

    None for an external evaluator: it compares with statistics, and there are no real images to draw.

    Args:
        protocol: of the samples that stand beside.
        repeats: draws of real images.
        space: one of ``protocol.spaces``; the evaluator by default.

    Raises:
        ConfigError: the train split has too few images for that n.
    """
    if protocol.evaluator == fid.EVALUATOR:
        return None
    check_evaluator(protocol)
    return real_distance(
        protocol.data, protocol.reference, space or protocol.evaluator, protocol.num_samples, repeats
    )


def _samples(
    model: DiffusionTransformer,
    n: int,
    sampler: SamplerConfig,
    first: int,
    made: Mapping[float, Tensor] | None,
) -> tuple[Tensor, Array]:
    labels = _labels(model, n)
    if made is not None:
        return made[sampler.guidance][:n], labels
    return sample(model, range(first, first + n), labels.tolist(), sampler, batch_size=125), labels


def _agreement(scores: Tensor, labels: Array) -> Estimate:
    return proportion(int((scores.argmax(1).numpy() == labels).sum()), len(labels))


def _labels(model: DiffusionTransformer, n: int) -> Array:
    return np.arange(n) % model.config.num_classes
