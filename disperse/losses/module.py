"""``DispersiveLoss``: the plug-in, from features of any shape to one scalar."""

import math
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from .. import distributed
from ..errors import ConfigError, NonFiniteError, unknown
from . import exchange
from .contrastive import CANDIDATES, VIEW_SCALES, Candidates, ViewScale
from .dispersive import DIAGONALS, SCALES, Diagonal, Scale, check_choice, check_positive
from .groups import Tokens, check_tensor, grouped, grouped_across, in_groups
from .variants import VARIANTS, Bounds, bounds


@dataclass(frozen=True)
class LossPreset:
    """A published setting. ``lam``, ``block`` and ``local_batch`` concern the caller: see ``note``."""

    variant: str
    tau: float
    lam: float
    block: str
    local_batch: int
    note: str


PRESETS = {
    "paper": LossPreset(
        "infonce-l2", tau=0.5, lam=0.5, block="a quarter of the depth", local_batch=16,
        note="JAX, 16 devices with 16 samples each",
    ),
    "release": LossPreset(
        "infonce-l2", tau=1.0, lam=0.25, block="the last", local_batch=32,
        note="released PyTorch code, 8 devices with 32 samples each",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DispersionReport:
    """What a dispersive loss says about a batch, beside its value (all averaged over groups).

    How it misleads: a satisfied loss says nothing of how good the features are, nor of their rank: they may
    only have grown longer. And all of it hangs on the size of a group: numbers of others don't compare.

    Attributes:
        value: the loss.
        floor: the smallest value that this variant can take here; −inf if it has none.
        ceiling: the largest value (all rows coincide).
        saturation: ``(ceiling − value)/(ceiling − floor)`` in [0, 1]; 1 means that the loss has
            nothing left to give. NaN where there is no floor.
        off_diagonal_value: the same loss over the pairs i ≠ j only (for covariance: m ≠ n).
        off_diagonal_weight: share of the summed terms that belongs to i ≠ j, in [0, 1]. Pairs i = j
            have no gradient, so this says how much of the loss is still alive.
    """

    value: float
    floor: float
    ceiling: float
    saturation: float
    off_diagonal_value: float
    off_diagonal_weight: float


class DispersiveLoss(nn.Module):
    """Dispersive Loss on the inner features of a batch; no parameters, no second view.

    ``loss = diffusion_loss + lam * DispersiveLoss("infonce-l2", tau=0.5)(features)``

    Args:
        variant: ``"infonce-l2"``, ``"infonce-cosine"``, ``"hinge"`` or ``"covariance"``.
        tau: temperature of the InfoNCE variants, > 0.
        eps: margin of the hinge, > 0.
        diagonal: ``"keep"`` or ``"mask"`` the pairs i = j.
        scale: ``"dim"`` or ``"none"``: divide distances by the number of dimensions, or don't. ``"rms"``:
            divide them by the mean squared length of the group's rows, so that length alone gains nothing.
        tokens: ``"flatten"`` reads (b, ...) as (b, d); ``"mean"`` averages (b, n, d) over n first.
        local_batch: split the batch into consecutive groups of this many rows and average their
            losses, as that many devices would; None lets all rows see each other.
        across_ranks: under ``torch.distributed``, the batch is that of all ranks, in their order (equal
            parts); groups that lie within ranks cost no exchange. The mean over ranks of the gradients, as
            DistributedDataParallel takes it, is then that of one process with the whole batch. Every rank
            must make the same calls. False, as in the released code: each rank sees its own rows.
        validate: raise on NaN or infinity. Costs one wait for the device a call; switch it off where
            the caller checks the total loss.

    Raises:
        ConfigError: an unknown variant or option out of range; a batch that local_batch doesn't
            divide.
        NonFiniteError: the features hold NaN or infinity (with ``validate``).

    Source: *Diffuse and Disperse*, arXiv 2506.09027.
    """

    def __init__(
        self,
        variant: str = "infonce-l2",
        *,
        tau: float = 0.5,
        eps: float = 1.0,
        diagonal: Diagonal = "keep",
        scale: Scale = "dim",
        tokens: Tokens = "flatten",
        local_batch: int | None = None,
        across_ranks: bool = False,
        validate: bool = True,
        **options: float,
    ):
        super().__init__()
        check_choice("loss.variant", variant, VARIANTS)
        own = VARIANTS[variant]
        _check_options(options, own.option)
        check_choice("loss.diagonal", diagonal, DIAGONALS)
        check_choice("loss.scale", scale, SCALES)
        check_choice("loss.tokens", tokens, get_args(Tokens))
        _check_local_batch(local_batch)
        self.variant = variant
        self.tau = check_positive("loss.tau", tau)
        self.eps = check_positive("loss.eps", eps)
        if own.option and own.option not in ("tau", "eps"):
            value = options.get(own.option, own.default)
            setattr(self, own.option, check_positive(f"loss.{own.option}", value))
        self.diagonal: Diagonal = diagonal
        self.scale: Scale = scale
        self.tokens: Tokens = tokens
        self.local_batch = local_batch
        self.across_ranks = across_ranks
        self.validate = validate

    @classmethod
    def from_preset(cls, name: str, *, local_batch: int | None = None) -> "DispersiveLoss":
        """The loss of a published setting, ``"paper"`` or ``"release"``.

        A group is what the module is called with, as on one device of the published runs; pass
        ``local_batch=PRESETS[name].local_batch`` to split a larger batch as they did.
        """
        check_choice("loss.preset", name, PRESETS)
        preset = PRESETS[name]
        return cls(preset.variant, tau=preset.tau, local_batch=local_batch)

    def forward(self, features: Tensor, weights: Tensor | None = None) -> Tensor:
        """Scalar loss of features (b, ...): the mean over groups of ``local_batch`` rows.

        Args:
            features (Tensor): one entry per sample.
            weights (Tensor): w ≥ 0 of each sample in the means, shape (b,); None weighs all alike.
        """
        z, share_of = self._grouped(features)
        loss = self._values(z, share_of, self.diagonal, self._grouped_weights(features, weights)).mean()
        if self.validate:
            _check_finite(f"dispersive loss ({self.variant})", loss, features)
        return loss

    @torch.no_grad()
    def report(self, features: Tensor) -> DispersionReport:
        """Value, floor, saturation and off-diagonal share of features (b, ...).

        Raises:
            NonFiniteError: the features hold NaN or infinity, whatever ``validate`` says.
        """
        z, share_of = self._grouped(features)
        rows, width = z.shape[-2], share_of or z.shape[-1]
        limits = self._bounds(rows, width, self.diagonal)
        values = self._values(z, share_of, "keep")
        _check_finite(f"report of the dispersive loss ({self.variant})", values.mean(), features)
        kept = values.cpu().double()  # the CPU, since MPS has no float64
        masked = kept if rows < 2 else self._values(z, share_of, "mask").cpu().double()
        value = (kept if self.diagonal == "keep" else masked).mean().item()
        weight = self._off_diagonal_weight(kept, masked, rows, width)
        span = limits.ceiling - limits.floor
        if not math.isfinite(span):
            saturation = math.nan
        else:
            saturation = (limits.ceiling - value) / span if span > 0 else 0.0
        return DispersionReport(
            value=value,
            floor=limits.floor,
            ceiling=limits.ceiling,
            saturation=min(max(saturation, 0.0), 1.0) if saturation == saturation else saturation,
            off_diagonal_value=masked.mean().item(),
            off_diagonal_weight=weight.mean().item(),
        )

    @torch.no_grad()
    def off_diagonal_weight(self, features: Tensor) -> Tensor:
        """As in ``DispersionReport``, but a tensor on the device of the features, so that nothing waits."""
        z, share_of = self._grouped(features)
        rows, width = z.shape[-2], share_of or z.shape[-1]
        kept = self._values(z, share_of, "keep")
        masked = kept if rows < 2 else self._values(z, share_of, "mask")
        return self._off_diagonal_weight(kept, masked, rows, width).mean()

    def extra_repr(self) -> str:
        """The options, as in the constructor."""
        own = VARIANTS[self.variant].option
        return ", ".join(
            [repr(self.variant)]
            + ([f"{own}={getattr(self, own)}"] if own else [])
            + [f"diagonal={self.diagonal!r}", f"scale={self.scale!r}", f"tokens={self.tokens!r}"]
            + [f"local_batch={self.local_batch}"]
            + (["across_ranks=True"] if self.across_ranks else [])
        )

    def _grouped(self, features: Tensor) -> tuple[Tensor, int | None]:
        """Groups (k, g, d), or their share of the dimensions and d."""
        if self.across_ranks:
            return grouped_across(features, self.tokens, self.local_batch, check=self.validate)
        return grouped(features, self.tokens, self.local_batch), None

    def _grouped_weights(self, features: Tensor, weights: Tensor | None) -> Tensor | None:
        if weights is None:
            return None
        check_tensor("weights", weights)
        if weights.shape != features.shape[:1]:
            raise ConfigError(
                f"weights: expected one per sample, ({len(features)},), got {tuple(weights.shape)}"
            )
        if self.across_ranks and exchange.needed(len(weights), self.local_batch):
            weights = exchange.all_rows(weights)
        return in_groups(weights, self.local_batch)

    def _values(
        self, z: Tensor, share_of: int | None, diagonal: Diagonal, weights: Tensor | None = None
    ) -> Tensor:
        function = VARIANTS[self.variant].dispersive
        return function(
            z, diagonal=diagonal, scale=self.scale, weights=weights, share_of=share_of, **self._option
        )

    def _bounds(self, rows: int, width: int, diagonal: Diagonal) -> Bounds:
        return bounds(self.variant, rows, width, diagonal=diagonal, scale=self.scale, **self._option)

    @property
    def _option(self) -> dict[str, float]:
        """The variant's own option, if it has one."""
        own = VARIANTS[self.variant].option
        return {own: getattr(self, own)} if own else {}

    def _off_diagonal_weight(self, kept: Tensor, masked: Tensor, rows: int, width: int) -> Tensor:
        if rows < 2:
            return torch.zeros_like(kept)
        return VARIANTS[self.variant].alive(kept, masked, rows, width, self.scale)


class ContrastiveLoss(nn.Module):
    """The contrastive parent of a dispersive loss, on the features of two views of a batch.

    ``loss = diffusion_loss + lam * ContrastiveLoss("infonce-l2")(features, features_of_second_view)``

    Args:
        variant, tau, eps, scale, tokens, local_batch, across_ranks, validate: as in ``DispersiveLoss``.
        offdiagonal_weight: w ≥ 0 of the covariance variant.
        candidates: ``"second"`` or ``"own"``: which rows a row is pushed from.
        diagonal: ``"keep"`` or ``"mask"`` the pairs j = i among them; None is the variant's own choice.

    Raises:
        ConfigError: an unknown variant or option out of range; views of different shapes.
        NonFiniteError: the features hold NaN or infinity (with ``validate``).

    Source: *Diffuse and Disperse*, table of objectives, contrastive column.
    """

    def __init__(
        self,
        variant: str = "infonce-l2",
        *,
        tau: float = 0.5,
        eps: float = 1.0,
        offdiagonal_weight: float = 1.0,
        candidates: Candidates = "second",
        diagonal: Diagonal | None = None,
        scale: ViewScale = "dim",
        tokens: Tokens = "flatten",
        local_batch: int | None = None,
        across_ranks: bool = False,
        validate: bool = True,
        **options: float,
    ):
        super().__init__()
        check_choice("loss.variant", variant, [v.name for v in VARIANTS.values() if v.contrastive])
        check_choice("loss.candidates", candidates, CANDIDATES)
        if diagonal is not None:
            check_choice("loss.diagonal", diagonal, DIAGONALS)
        check_choice("loss.scale", scale, VIEW_SCALES)
        check_choice("loss.tokens", tokens, get_args(Tokens))
        _check_local_batch(local_batch)
        self.variant = variant
        self.tokens: Tokens = tokens
        self.local_batch = local_batch
        self.across_ranks = across_ranks
        self.validate = validate
        record = VARIANTS[variant]
        assert record.contrastive is not None
        own = record.contrastive_option or record.option
        _check_options(options, own)
        values = {"tau": tau, "eps": eps, "offdiagonal_weight": offdiagonal_weight, **options}
        self.options: dict[str, Any] = {"scale": scale}
        if own:
            value = values.get(own, record.default)
            if own != "offdiagonal_weight":
                check_positive(f"loss.{own}", value)
            self.options = {own: value, "scale": scale}
        if record.picks_candidates:
            self.options |= {"candidates": candidates} | ({"diagonal": diagonal} if diagonal else {})
        self.function = record.contrastive

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scalar loss of the features (b, ...) of two views: the mean over groups of rows."""
        views = [self._grouped(view) for view in (first, second)]
        loss = self.function(*(z for z, _ in views), share_of=views[0][1], **self.options).mean()
        if self.validate:
            _check_finite(f"contrastive loss ({self.variant})", loss, first, second)
        return loss

    def _grouped(self, view: Tensor) -> tuple[Tensor, int | None]:
        if self.across_ranks:
            return grouped_across(view, self.tokens, self.local_batch, check=self.validate)
        return grouped(view, self.tokens, self.local_batch), None

    def extra_repr(self) -> str:
        """The options, as in the constructor."""
        options = [f"{name}={value!r}" for name, value in self.options.items()]
        return ", ".join(
            [repr(self.variant), *options, f"tokens={self.tokens!r}", f"local_batch={self.local_batch}"]
            + (["across_ranks=True"] if self.across_ranks else [])
        )


def _check_options(options: dict[str, float], own: str | None) -> None:
    """Refuse what is neither an option that all share nor the variant's own."""
    for name in options:
        if name != own:
            raise unknown("loss option", name, [own] if own else [])


def _check_local_batch(local_batch: object) -> None:
    if local_batch is not None and (
        isinstance(local_batch, bool) or not isinstance(local_batch, int) or local_batch < 1
    ):
        raise ConfigError(f"loss.local_batch = {local_batch!r}: expected an integer ≥ 1 or None")


def _check_finite(what: str, loss: Tensor, *features: Tensor) -> None:
    if not torch.compiler.is_compiling() and not torch.isfinite(loss):
        rows = "; ".join(_bad_rows(view) for view in features)
        raise NonFiniteError(
            f"{what} = {loss.item()}: the features hold NaN or infinity in rows {rows}; "
            "lower the learning rate or lam"
        )


def _bad_rows(features: Tensor) -> str:
    finite = torch.isfinite(features.detach().flatten(start_dim=1)).all(dim=1)
    rows = (~finite).nonzero().flatten().tolist()
    nothing = "(none: an overflow)" if distributed.size() == 1 else "(none of this rank)"
    return str(rows[:8]) + (" ..." if len(rows) > 8 else "") if rows else nothing
