"""Floating-point operations of training and of evaluating a run, in closed form."""

from ..evaluation import Protocol
from ..evaluation.held_out import LEVELS, MOST
from ..models import config_of
from ..models.flops import forward_macs, train_flops
from ..objectives import OBJECTIVES
from ..spec import RunSpec

ADAPTIVE_NFE = 100  # an adaptive solver decides for itself
# A second view: forward through the whole network, and back through the blocks before the tap.
SECOND_VIEW = 0.5


def training_operations(spec: RunSpec, num_steps: int) -> float:
    """Of so many steps of a run."""
    factor = OBJECTIVES[spec.objective.kind].cost
    factor += SECOND_VIEW * any(hasattr(term, "view") for term in spec.regularizers)
    return factor * train_flops(config_of(spec)) * spec.batch_size * num_steps


def evaluation_operations(spec: RunSpec, protocol: Protocol) -> float:
    """Of one evaluation: the network's calls in sampling, which guidance doubles, and the held-out loss."""
    calls = protocol.sampler.nfe or ADAPTIVE_NFE
    passes = protocol.num_samples * (1 if protocol.sampler.guidance == 1 else 2) + 2 * protocol.guided_samples
    held_out = LEVELS * min(protocol.num_samples or MOST, MOST)
    return 2 * forward_macs(config_of(spec)) * (calls * passes + held_out)
