"""Parameters and floating-point operations of a network in closed form."""

from .embed import FREQUENCIES
from .transformer import TransformerConfig


def num_parameters(config: TransformerConfig) -> int:
    """Parameters, the frozen position table among them.

    ``depth (18D² + 15D) + (Cp² D + D) + k (257D + D² + D) + (classes + 1) D + T D
    + (2D² + 2D + p² C_out (D + 1))`` with k time embedders.
    """
    d, tokens = config.hidden_size, config.num_tokens
    outputs = config.patch_size**2 * config.in_channels * (2 if config.learn_sigma else 1)
    return (
        config.depth * (18 * d**2 + 15 * d)
        + config.in_channels * config.patch_size**2 * d + d
        + _times(config) * ((FREQUENCIES + 1) * d + d**2 + d)
        + (config.num_classes + 1) * d
        + tokens * d
        + 2 * d**2 + 2 * d + outputs * (d + 1)
    )  # fmt: skip


def _times(config: TransformerConfig) -> int:
    """Embedders of numbers: of the time, and of a second condition."""
    return 1 + config.second_time + config.step_level


def forward_macs(config: TransformerConfig) -> int:
    """Multiply-accumulates of one forward pass of one image: what papers print as Gflops.

    Per block and image: ``12 T D²`` in the four products of tokens, ``2 T² D`` in attention, ``6 D²`` in
    the modulation; then patches, time embedding and final layer. Norms and sums are left out.
    """
    d, tokens = config.hidden_size, config.num_tokens
    patch = config.patch_size**2 * config.in_channels
    block = 12 * tokens * d**2 + 2 * tokens**2 * d + 6 * d**2
    time = _times(config) * (FREQUENCIES * d + d**2)
    final = 2 * d**2 + tokens * d * patch * (2 if config.learn_sigma else 1)
    return config.depth * block + tokens * patch * d + time + final


def train_flops(config: TransformerConfig) -> int:
    """Operations of one training step of one image: forward and backward, ``3 · 2 · forward_macs``."""
    return 6 * forward_macs(config)
