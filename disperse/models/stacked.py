"""Many networks of one shape as one: weights stacked on a leading axis, one call for all members.

The network is ``DiffusionTransformer`` itself, called with the weights of a member under ``torch.func.vmap``,
so its equations stand in one place. Only attention is told how to be stacked: its fused kernels take
members and samples as one axis, where the batching rules of some devices would loop over members.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ..spec import ObjectiveSpec
from .presets import from_config
from .transformer import DiffusionTransformer, Output, TransformerConfig

# Most rows (members times samples) of one call of attention: the grid of CUDA's kernels ends at 65 535.
MOST_ROWS = 65_535


class _Attention(torch.autograd.Function):
    """Attention of (b, heads, n, d), which under ``vmap`` folds the members into b."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError("only under vmap, whose rule is below")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Nothing is kept: under ``vmap`` autograd sees the operations of the rule."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *values: Tensor) -> tuple[Tensor, int]:
        """The rule: one call for all members."""
        folded = []
        for value, dim in zip(values, in_dims, strict=True):
            whole = value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
            folded.append(whole.flatten(0, 1))
        q, k, v = folded
        out = F.scaled_dot_product_attention(q, k, v)
        return out.unflatten(0, (info.batch_size, -1)), 0


class _FoldedAttention(TorchFunctionMode):
    """Sends calls of attention to ``_Attention``; all else passes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attention.apply(*args)
        return func(*args, **(kwargs or {}))


class StackedNetwork:
    """The shape of the members, without weights.

    Args:
        config: shape of every member.
        objective: what they predict.
        device: of the weights.

    Attributes:
        frozen: what all members share and nothing trains, the position table.
    """

    def __init__(self, config: TransformerConfig, objective: ObjectiveSpec, device: torch.device):
        self.config = config
        self.objective = objective
        self.skeleton = from_config(config, device="meta", objective=objective)
        self.frozen = {
            name: value.detach().to(device)
            for name, value in from_config(config, objective=objective).named_parameters()
            if not value.requires_grad
        }

    def initial(self, seeds: list[int], device: torch.device) -> dict[str, Tensor]:
        """Weights of members as ``from_config`` makes them of their seeds, (members, ...) each."""
        model = from_config(self.config, objective=self.objective)
        trained = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
        own: dict[int, dict[str, Tensor]] = {}
        for seed in dict.fromkeys(seeds):
            model.initialize(seed)
            own[seed] = {name: value.clone() for name, value in trained.items()}
        return {name: torch.stack([own[seed][name] for seed in seeds]).to(device) for name in trained}

    def member(self, weights: Mapping[str, Tensor]) -> "Member":
        """One member, to be called inside ``vmap`` over its weights."""
        return Member(self, weights)

    def model(self, weights: Mapping[str, Tensor]) -> DiffusionTransformer:
        """A network of its own with the weights of one member, in eval mode, on the CPU."""
        model = from_config(self.config, objective=self.objective)
        model.load_state_dict({**self.frozen, **weights})
        return model.eval().requires_grad_(False)


class Member:
    """A network as objectives and samplers call it, whose weights are those of one member of a stack.

    ``plain`` leaves attention alone: a derivative in forward mode needs that.
    """

    def __init__(self, network: StackedNetwork, weights: Mapping[str, Tensor], *, plain: bool = False):
        self.network = network
        self.weights = weights
        self._plain = plain

    @property
    def plain(self) -> "Member":
        """The same without its own way of attention."""
        return Member(self.network, self.weights, plain=True)

    @property
    def config(self) -> TransformerConfig:
        """Shape of the network."""
        return self.network.config

    @property
    def objective(self) -> ObjectiveSpec:
        """What it predicts."""
        return self.network.objective

    def __call__(
        self, x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = (), r: Tensor | None = None
    ) -> Tensor | Output:
        """As ``DiffusionTransformer``."""
        weights, options = {**self.network.frozen, **self.weights}, {"taps": taps, "r": r}
        if self._plain:
            return functional_call(self.network.skeleton, weights, (x, t, y), options)
        with _FoldedAttention():
            return functional_call(self.network.skeleton, weights, (x, t, y), options)
