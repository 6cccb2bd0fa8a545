"""What is measured and how: the protocol, its noise floor, and the card printed beside a number."""

import dataclasses
import functools
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from ..atomic import digest
from ..data import load_data
from ..errors import ConfigError, unknown
from ..models import DiffusionTransformer
from ..rng import stream
from ..sampling import SamplerConfig, sample
from ..spec import Strict
from .features import EVALUATOR, FEATURES, classify
from .frechet import (
    Array,
    Estimate,
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    proportion,
)
from .neighbours import precision_recall


class Protocol(Strict):
    """Settings of an evaluation; its hash names the stored result.

    Sample i has seed i and label i mod classes, so two models are compared on the same noise.
    ``evaluator`` names the network of the features and its weights: other weights are another protocol.
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

    @property
    def hash(self) -> str:
        """8 hex digits that name the protocol."""
        return digest(self.model_dump(mode="json"), 8)

    @property
    def sampler(self) -> SamplerConfig:
        """How the samples of the distance are made."""
        return SamplerConfig(self.solver, self.num_steps, self.guidance)

    def card(self) -> str:
        """One line that names features, n, sampler, guidance, weights and sample seeds."""
        weights = "raw weights" if self.weights == "raw" else f"EMA {self.weights}"
        guided = (
            f"; guided agreement: n = {self.guided_samples}, guidance {self.agreement_guidance:g}"
            if self.guided_samples
            else ""
        )
        return (
            f"{self.evaluator}, {FEATURES} features; n = {self.num_samples}, labels balanced, against "
            f"{len(load_data(self.data, self.reference))} {self.reference} images; "
            f"{self.sampler.describe()}; {weights}; sample seeds 0–{self.num_samples - 1}; "
            f"precision and recall by {self.neighbours} neighbours{guided}"
        )


def evaluate(model: DiffusionTransformer, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Measure a model: name of the metric → fields of its ``Estimate``.

    ``fd``: Fréchet distance. ``precision``, ``recall``: by neighbours. ``agreement``: share of the
    same samples that the classifier puts in the class asked for; ``guided_agreement``: the same
    under ``agreement_guidance``.
    """
    if protocol.evaluator != EVALUATOR:
        raise ConfigError(f"protocol.evaluator = {protocol.evaluator}: this version has {EVALUATOR}")
    images, labels = _samples(model, protocol.num_samples, protocol.sampler)
    features, scores = classify(images)
    real, reference = _reference(protocol.data, protocol.reference)
    precision, recall = precision_recall(features.numpy(), real, k=protocol.neighbours)
    metrics = {
        "fd": frechet_with_interval(features.double().numpy(), reference),
        "precision": precision,
        "recall": recall,
        "agreement": _agreement(scores, labels),
    }
    if protocol.guided_samples:
        sampler = dataclasses.replace(protocol.sampler, guidance=protocol.agreement_guidance)
        images, labels = _samples(model, protocol.guided_samples, sampler)
        metrics["guided_agreement"] = _agreement(classify(images)[1], labels)
    return {name: dataclasses.asdict(estimate) for name, estimate in metrics.items()}


@functools.cache
def noise_floor(protocol: Protocol, repeats: int = 20) -> Estimate:
    """Distance of real to real images at the same n and reference: what a perfect model would score.

    Each repeat draws ``num_samples`` different train images, balanced over classes; they overlap, so
    the interval (2.5% to 97.5% of the repeats) is narrower than that of fresh images.

    Raises:
        ConfigError: the train split has too few images for that n.
    """
    train = load_data(protocol.data, "train")
    _, reference = _reference(protocol.data, protocol.reference)
    features = classify(train.images)[0].double().numpy()
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


def _samples(model: DiffusionTransformer, n: int, sampler: SamplerConfig) -> tuple[Tensor, Array]:
    labels = np.arange(n) % model.config.num_classes
    images = sample(
        model,
        range(n),
        labels.tolist(),
        solver=sampler.solver,
        num_steps=sampler.num_steps,
        guidance=sampler.guidance,
        batch_size=125,
    )
    return images, labels


def _agreement(scores: Tensor, labels: Array) -> Estimate:
    return proportion(int((scores.argmax(1).numpy() == labels).sum()), len(labels))


@functools.cache
def _reference(data: str, split: str) -> tuple[Array, Gaussian]:
    if data != "digits":
        raise unknown("evaluation data", data, ("digits",))
    features = classify(load_data(data, split).images)[0].double().numpy()
    return features, fit_gaussian(features)
