"""What is measured and how: the protocol, its noise floor, and the card printed beside a number."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from ..atomic import digest
from ..data import SPLITS, ImageSet, base_name, load_data
from ..errors import ConfigError
from ..models import DiffusionTransformer
from ..rng import stream
from ..sampling import SamplerConfig, sample
from ..spec import Strict
from . import fid
from .features import EVALUATOR, classifier, classify, find_evaluator
from .frechet import (
    Array,
    Estimate,
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    proportion,
)
from .neighbours import nearer_to_seen, precision_recall


class Protocol(Strict):
    """Settings of an evaluation; its hash names the stored result.

    Sample i has seed i and label i mod classes, so two models are compared on the same noise.
    ``evaluator`` names the network of the features and its weights: other weights are another protocol.
    ``reference`` is a split of ``data``, or of an external evaluator the statistics it compares with.
    ``against_training`` compares with the images of training too. It is left out of the plain data where it
    is False, and ``precision`` of the network while it samples where it is fp32.
    """

    evaluator: str = EVALUATOR
    data: str = "digits"
    reference: str = "held-out"
    num_samples: int = Field(default=1000, ge=2)
    solver: str = "heun"
    num_steps: int = Field(default=25, ge=1)
    guidance: float = Field(default=1.0, ge=0)
    guided_samples: int = Field(default=200, ge=0)
    agreement_guidance: float = Field(default=1.5, ge=0)
    weights: str = "power-0.1"
    neighbours: int = Field(default=3, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    against_training: bool = False

    @model_serializer(mode="wrap")
    def _as_before_there_was_a_choice(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        for name in ("precision", "against_training"):
            if values[name] == type(self).model_fields[name].default:
                del values[name]  # so that a new field does not rename old evaluations
        return values

    @property
    def hash(self) -> str:
        """8 hex digits that name the protocol."""
        return digest(self.model_dump(mode="json"), 8)

    @property
    def split(self) -> str:
        """Of ``data``, whose images features are measured on; ``"train"`` beside an external reference."""
        return self.reference if self.reference in SPLITS else "train"

    @property
    def sampler(self) -> SamplerConfig:
        """How the samples of the distance are made."""
        return SamplerConfig(self.solver, self.num_steps, self.guidance, precision=self.precision)

    def card(self) -> str:
        """One line that names features, n, sampler, guidance, weights and sample seeds."""
        weights = "raw weights" if self.weights == "raw" else f"EMA {self.weights}"
        how = self.sampler.describe() + ("" if self.precision == "fp32" else f" in {self.precision}")
        made = f"{how}; {weights}; sample seeds 0–{self.num_samples - 1}"
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
        features = find_evaluator(self.evaluator).num_features
        return (
            f"{self.evaluator}, {features} features; n = {self.num_samples}, labels balanced, against "
            f"{len(load_data(self.data, self.reference))} {self.reference} images; "
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
    row, base = find_evaluator(protocol.evaluator), base_name(protocol.data)
    if base != row.data:
        raise ConfigError(
            f"protocol.data = {protocol.data}: the evaluator {protocol.evaluator} knows {row.data}"
        )
    classifier(protocol.evaluator)


def evaluate(
    model: DiffusionTransformer,
    protocol: Protocol,
    *,
    seen: ImageSet | None = None,
    images: Mapping[float, Tensor] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a model: name of the metric → fields of its ``Estimate``.

    ``fd``: Fréchet distance. ``precision``, ``recall``: by neighbours. ``agreement``: share of the
    same samples that the classifier puts in the class asked for; ``guided_agreement``: the same
    under ``agreement_guidance``. ``nearer_to_seen``: share of the same samples whose nearest image, in
    pixels, is one of ``seen``, what the model was trained on, and not of the reference. An external
    evaluator gives ``fd`` alone.

    ``images`` are samples that were made already, guidance → (n, c, h, w), of the seeds and labels that the
    protocol has; an external evaluator makes its own.

    Raises:
        ConfigError, CheckpointError, DataError: as ``check_evaluator``.
    """
    check_evaluator(protocol)
    if protocol.evaluator == fid.EVALUATOR:
        labels = _labels(model, protocol.num_samples)
        estimate = fid.evaluate_fid(model, labels.tolist(), protocol.sampler, protocol.reference)
        return {"fd": dataclasses.asdict(estimate)}
    samples, labels = _samples(model, protocol.num_samples, protocol.sampler, images)
    features, scores = classify(samples, evaluator=protocol.evaluator)
    real, reference = _reference(protocol.data, protocol.reference, protocol.evaluator)
    precision, recall = precision_recall(features.numpy(), real, k=protocol.neighbours)
    metrics = {
        "fd": frechet_with_interval(features.double().numpy(), reference),
        "precision": precision,
        "recall": recall,
        "agreement": _agreement(scores, labels),
    }
    if seen is not None:
        unseen = _image_set(protocol.data, protocol.reference)
        points = (samples, seen.read(slice(None)), unseen.read(slice(None)))
        metrics["nearer_to_seen"] = nearer_to_seen(*(p.flatten(1).double().numpy() for p in points))
    if protocol.guided_samples:
        sampler = dataclasses.replace(protocol.sampler, guidance=protocol.agreement_guidance)
        samples, labels = _samples(model, protocol.guided_samples, sampler, images)
        metrics["guided_agreement"] = _agreement(classify(samples, evaluator=protocol.evaluator)[1], labels)
    return {name: dataclasses.asdict(estimate) for name, estimate in metrics.items()}


@functools.cache
def noise_floor(protocol: Protocol, repeats: int = 20) -> Estimate | None:
    """Distance of real to real images at the same n and reference: what a perfect model would score.

    None for an external evaluator: it compares with statistics, and there are no real images to draw.

    Each repeat draws ``num_samples`` different train images, balanced over classes; they overlap, so
    the interval (2.5% to 97.5% of the repeats) is narrower than that of fresh images.

    Raises:
        ConfigError: the train split has too few images for that n.
    """
    if protocol.evaluator == fid.EVALUATOR:
        return None
    check_evaluator(protocol)
    train = _image_set(protocol.data, "train")
    _, reference = _reference(protocol.data, protocol.reference, protocol.evaluator)
    features = _features(protocol.data, "train", protocol.evaluator)
    labels = train.labels.numpy()
    classes = int(labels.max()) + 1
    each, smallest = -(-protocol.num_samples // classes), int(np.bincount(labels).min())
    if each > smallest:
        raise ConfigError(
            f"num_samples = {protocol.num_samples}: the noise floor needs {each} real images of "
            f"each class, the train split has {smallest}; take at most {smallest * classes} samples"
        )
    values = []
    for repeat in range(repeats):
        draw = stream("noise floor", repeat)
        # As many of class c as ``evaluate`` samples: label i mod classes.
        counts = np.bincount(np.arange(protocol.num_samples) % classes, minlength=classes)
        rows = np.concatenate(
            [draw.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(counts)]
        )
        values.append(frechet_distance(fit_gaussian(features[rows]), reference))
    return Estimate(
        float(np.mean(values)),
        float(np.quantile(values, 0.025)),
        float(np.quantile(values, 0.975)),
        protocol.num_samples,
        f"{repeats} draws of real images",
    )


def _samples(
    model: DiffusionTransformer, n: int, sampler: SamplerConfig, made: Mapping[float, Tensor] | None
) -> tuple[Tensor, Array]:
    labels = _labels(model, n)
    if made is not None:
        return made[sampler.guidance][:n], labels
    images = sample(
        model,
        range(n),
        labels.tolist(),
        solver=sampler.solver,
        num_steps=sampler.num_steps,
        guidance=sampler.guidance,
        precision=sampler.precision,
        batch_size=125,
    )
    return images, labels


def _agreement(scores: Tensor, labels: Array) -> Estimate:
    return proportion(int((scores.argmax(1).numpy() == labels).sum()), len(labels))


def _labels(model: DiffusionTransformer, n: int) -> Array:
    return np.arange(n) % model.config.num_classes


def _image_set(data: str, split: str) -> ImageSet:
    found = load_data(data, split)
    assert isinstance(found, ImageSet)
    return found


@functools.cache
def _features(data: str, split: str, evaluator: str) -> Array:
    return classify(_image_set(data, split), evaluator=evaluator)[0].double().numpy()


@functools.cache
def _reference(data: str, split: str, evaluator: str) -> tuple[Array, Gaussian]:
    features = _features(data, split, evaluator)
    return features, fit_gaussian(features)
