"""The diffusion transformer shared by DiT, SiT and MeanFlow, with the published state-dict keys."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from ..errors import ConfigError
from ..rng import normal, stream
from ..spec import OBJECTIVE_SPECS, ObjectiveSpec
from .embed import LabelEmbedder, PatchEmbedder, TimeEmbedder, position_table


class TransformerConfig(BaseModel):
    """Everything that decides the shape of the network.

    ``learn_sigma`` doubles the output channels (prediction and variance); ``keep_sigma`` returns
    both halves, as DiT does, where SiT returns the first only. ``second_time`` adds MeanFlow's embedder
    for t − r, ``step_level`` Shortcut's for the level of a step. ``token_scale`` multiplies the embedded
    tokens, patches and positions, before the first block; 1 in every published model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input_size: int = Field(default=32, ge=1)
    patch_size: int = Field(default=2, ge=1)
    in_channels: int = Field(default=4, ge=1)
    hidden_size: int = Field(default=1152, ge=4)
    depth: int = Field(default=28, ge=1)
    num_heads: int = Field(default=16, ge=1)
    num_classes: int = Field(default=1000, ge=1)
    learn_sigma: bool = True
    keep_sigma: bool = False
    second_time: bool = False
    step_level: bool = False
    token_scale: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> "TransformerConfig":
        if self.input_size % self.patch_size:
            raise ValueError(f"patch_size = {self.patch_size} must divide input_size = {self.input_size}")
        if self.keep_sigma and (self.second_time or not self.learn_sigma):
            raise ValueError("keep_sigma = True: needs learn_sigma = True and second_time = False")
        if self.second_time and self.step_level:
            raise ValueError("second_time and step_level: a network has one second condition, or none")
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise ValueError(
                f"hidden_size = {self.hidden_size} must be a multiple of num_heads = "
                f"{self.num_heads} and of 4"
            )
        return self

    @property
    def system(self) -> str:
        """The objective that a network of this shape has unless another is named: ``"sit"``, ..."""
        kinds = {"keep_sigma": "dit", "second_time": "meanflow", "step_level": "shortcut"}
        return next((kind for field, kind in kinds.items() if getattr(self, field)), "sit")

    def fits(self, objective: ObjectiveSpec) -> bool:
        """Whether the network has the conditions and outputs that an objective asks for, and no others."""
        wanted = {"keep_sigma": False, "second_time": False, "step_level": False} | objective.network
        return all(getattr(self, field) == value for field, value in wanted.items())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one sample."""
        return self.in_channels, self.input_size, self.input_size

    @property
    def num_tokens(self) -> int:
        """Patches per image."""
        return (self.input_size // self.patch_size) ** 2


class Output(NamedTuple):
    """A prediction and the features that were asked for, block index → (b, n, d)."""

    prediction: Tensor
    features: dict[int, Tensor]


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]


class Attention(nn.Module):
    """Multi-head self-attention; q, k, v from one product viewed as (b, n, 3, heads, head_dim)."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) → (b, n, d)."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two layers with GELU (tanh form), four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) → (b, n, d)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Transformer block whose norms are shifted, scaled and gated by the condition (adaLN-zero)."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Tokens (b, n, d) and condition (b, d) → (b, n, d)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate1[:, None] * self.attn(_modulate(self.norm1(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(_modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    """Modulated norm, then one product to the pixels of a patch."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(b, n, d) and (b, d) → (b, n, p²·C_out)."""
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(_modulate(self.norm_final(x), shift, scale))


class DiffusionTransformer(nn.Module):
    """``model(x, t, y) -> prediction``; ``model(x, t, y, taps=(2,)) -> Output(prediction, features)``.

    Args:
        config: shape of the network.
        objective: what it predicts, for sampling; by default that of ``config.system``.

    Args of the call:
        x (Tensor): noisy images or latents, shape (b, c, h, w).
        t (Tensor): times, shape (b,), in the convention of the system (SiT: raw t in [0, 1],
            0 = noise; MeanFlow: 1 = noise; DiT: integers 0 to 999, 999 = noise).
        y (Tensor): labels, shape (b,), integers in [0, num_classes]; num_classes is the null class.
        taps: indices of blocks, from 0, whose output is returned as features (b, n, d).
        r (Tensor): second condition, shape (b,): times r ≤ t of MeanFlow, levels of Shortcut.

    Raises (the call):
        ConfigError: x of another shape or dtype, a block that does not exist, or r where the network has
            no second condition, or none where it has one.

    Source: architecture of DiT (Peebles & Xie 2022) and SiT (Ma et al. 2024).
    """

    def __init__(self, config: TransformerConfig, objective: ObjectiveSpec | None = None):
        super().__init__()
        self.config = config
        self.objective = objective or OBJECTIVE_SPECS[config.system]()
        if not config.fits(self.objective):
            raise ConfigError(
                f"objective = {self.objective.kind}: this network is of the system {config.system}"
            )
        width = config.hidden_size
        self.x_embedder = PatchEmbedder(config.in_channels, config.patch_size, width)
        self.t_embedder = TimeEmbedder(width)
        if config.second_time:
            self.r_embedder = TimeEmbedder(width)
        if config.step_level:
            self.l_embedder = TimeEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width)
        self.pos_embed = nn.Parameter(torch.empty(1, config.num_tokens, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, config.num_heads) for _ in range(config.depth))
        out_channels = config.in_channels * (2 if config.learn_sigma else 1)
        self.final_layer = FinalLayer(width, config.patch_size**2 * out_channels)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = (), r: Tensor | None = None
    ) -> Tensor | Output:
        """See the class."""
        if x.shape[1:] != self.config.image_shape or not x.is_floating_point():
            # Some wrong sizes would pass: one patch is broadcast over the whole position table.
            expected = ", ".join(map(str, self.config.image_shape))
            raise ConfigError(
                f"x: expected a float tensor of shape (b, {expected}), got {x.dtype} {tuple(x.shape)}"
            )
        tokens = self.x_embedder(x) + self.pos_embed
        if self.config.token_scale != 1:
            tokens = tokens * self.config.token_scale
        c = self.t_embedder(t) + self.y_embedder(y)
        wanted = self.config.second_time or self.config.step_level
        if (r is not None) != wanted:
            needs = "needs a" if wanted else "has no"
            raise ConfigError(f"r: this network ({self.config.system}) {needs} second condition")
        if r is not None:
            c = c + (self.r_embedder(t - r) if self.config.second_time else self.l_embedder(r))
        features: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, c)
            if index in taps:
                features[index] = tokens
        prediction = self._unpatchify(self.final_layer(tokens, c))
        if self.config.learn_sigma and not self.config.keep_sigma:
            prediction = prediction[:, : self.config.in_channels]
        if not taps:
            return prediction
        if len(features) < len(set(taps)):
            raise ConfigError(f"taps = {taps}: blocks are 0 to {len(self.blocks) - 1}")
        return Output(prediction, features)

    def _unpatchify(self, x: Tensor) -> Tensor:
        """(b, n, p·p·c) → (b, c, h, w); within a token: row, column, channel."""
        p, grid = self.config.patch_size, self.config.input_size // self.config.patch_size
        x = x.view(x.shape[0], grid, grid, p, p, -1).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(x.shape[0], -1, grid * p, grid * p)

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Published initialisation, as a pure function of the seed and of each tensor's name.

        Xavier-uniform on linear layers (qkv as one 3D×D matrix, the patch convolution as D×Cp²),
        N(0, 0.02) for the label table and both layers of the time embedder, zeros for the
        modulations, the final layer and every bias.
        """
        for name, parameter in self.named_parameters():
            zero = "adaLN_modulation" in name or name.startswith("final_layer")
            if name == "pos_embed":
                grid = self.config.input_size // self.config.patch_size
                parameter.copy_(position_table(grid, self.config.hidden_size))
            elif name.endswith("bias") or zero:
                parameter.zero_()
            elif name.startswith(("t_embedder", "r_embedder", "l_embedder", "y_embedder")):
                parameter.copy_(0.02 * normal(parameter.shape, "init", seed, name))
            else:
                matrix = parameter.view(parameter.shape[0], -1)
                bound = (6 / (matrix.shape[0] + matrix.shape[1])) ** 0.5
                draws = stream("init", seed, name).uniform(-bound, bound, tuple(matrix.shape))
                matrix.copy_(torch.from_numpy(draws))
