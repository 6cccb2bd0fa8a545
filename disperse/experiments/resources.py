"""What a run costs, in closed form: hours of how many GPUs, and memory of each.

An estimate to plan with, no measurement: operations of the network over an assumed share of a chip's peak.
"""

from dataclasses import dataclass

from ..evaluation import Protocol
from ..models import config_of
from ..models.flops import num_parameters
from ..spec import RunSpec
from .operations import evaluation_operations, training_operations
from .profiles import Profile

PEAK_FLOPS = 989e12  # dense bf16 products of an H100 or H200
SHARES = (0.25, 0.40)  # of the peak that training of this family reaches: low, high


@dataclass(frozen=True)
class Resources:
    """Cost of one run.

    Attributes:
        gpus: processors at work.
        train_hours, evaluation_hours: (least, most), wall time of training on all GPUs and of all its
            evaluations on one.
        memory_gib: of each GPU: weights, gradients, optimiser and averages in float32, and the activations of
            its share of the batch.
    """

    gpus: int
    train_hours: tuple[float, float]
    evaluation_hours: tuple[float, float]
    memory_gib: float

    @property
    def hours(self) -> tuple[float, float]:
        """(least, most), wall time of training and evaluation, one after the other."""
        return (
            self.train_hours[0] + self.evaluation_hours[0],
            self.train_hours[1] + self.evaluation_hours[1],
        )

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.gpus} × H100 for {span(self.train_hours)} of training, one for "
            f"{span(self.evaluation_hours)} of evaluation, {self.memory_gib:.0f} GiB each "
            f"(computed at {SHARES[1]:.0%} to {SHARES[0]:.0%} of peak)"
        )


def resources(row: Profile, spec: RunSpec) -> Resources:
    """Cost of a run of a profile.

    Activations: ``34 b T D`` bytes a block in half precision with fused attention, none recomputed.
    """
    config = config_of(spec)
    gpus = max(row.gpus, 1)
    train = training_operations(spec, spec.num_steps)
    protocol = row.protocol_of(spec.objective.kind)
    evaluation = evaluation_operations(spec, protocol) * spec.num_evaluations
    states = 4 * num_parameters(config) * (4 + len(spec.ema))
    width = 34 if spec.precision == "bf16" else 68
    local = -(-spec.batch_size // gpus)
    activations = width * local * config.num_tokens * config.hidden_size * config.depth
    return Resources(
        gpus,
        _hours(train / gpus),
        _hours(evaluation),
        (states + activations) / 2**30,
    )


def evaluation_hours(spec: RunSpec, protocol: Protocol) -> tuple[float, float]:
    """(least, most), wall time of one evaluation on one GPU."""
    return _hours(evaluation_operations(spec, protocol))


def span(hours: tuple[float, float]) -> str:
    """From the least to the most, in hours or minutes."""
    unit, factor = ("h", 1) if hours[1] >= 1 else ("min", 60)
    return f"{hours[0] * factor:.1f} to {hours[1] * factor:.1f} {unit}"


def _hours(flops: float) -> tuple[float, float]:
    return flops / (PEAK_FLOPS * SHARES[1]) / 3600, flops / (PEAK_FLOPS * SHARES[0]) / 3600
