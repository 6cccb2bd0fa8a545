"""What terms on pairs of rows share: their settings, and the noise of a second view."""

from typing import Any, Literal

from pydantic import Field, field_validator

from ..errors import ConfigError, unknown
from ..losses import VARIANTS
from ..objectives import IndependentNoise, RestrictedNoise, View
from ..plugins import known
from ..spec import Tagged, TermSpec


class PairTermSpec(TermSpec):
    """A term on distances of rows.

    Attributes:
        tau: temperature of the InfoNCE variants.
        scale: distances divided by the dimension, or not.
        tokens: flattened, or averaged.
    """

    tau: float = Field(default=0.5, gt=0)
    scale: Literal["dim", "none"] = "dim"
    tokens: Literal["flatten", "mean"] = "flatten"


class VariantTermSpec(PairTermSpec):
    """A term of one of the variants of the loss.

    Attributes:
        variant: which loss.
        eps: margin of the hinge.
        options: options of a variant's own beside these, (name, value) each.
        local_batch: rows that see each other; None is the whole batch.
    """

    variant: str = "infonce-l2"
    eps: float = Field(default=1.0, gt=0)
    options: tuple[tuple[str, float], ...] = ()
    local_batch: int | None = Field(default=None, ge=1)

    @field_validator("variant")
    @classmethod
    def _known(cls, variant: str) -> str:
        if not known(variant, VARIANTS):
            raise unknown("variant", variant, VARIANTS)
        return variant

    @property
    def loss_options(self) -> dict[str, Any]:
        """What the variant's loss is built with; the trainer checks the total, so it need not."""
        return {
            "variant": self.variant,
            "tau": self.tau,
            "eps": self.eps,
            "scale": self.scale,
            "tokens": self.tokens,
            "local_batch": self.local_batch,
            "across_ranks": True,
            "validate": False,
            **dict(self.options),
        }

    def check(self, batch_size: int) -> None:
        """Refuse groups that do not divide the batch."""
        if self.local_batch and batch_size % self.local_batch:
            raise ConfigError(
                f"local_batch = {self.local_batch}: does not divide batch_size = {batch_size}; "
                "choose a divisor"
            )


class TwoViews(Tagged):
    """Noise of the second view of each sample.

    Attributes:
        view: ``"independent"`` (level and noise of its own) or ``"restricted"`` (noise of its own at
            nearly the same level).
        max_dt: largest difference of the restricted level, as a share of its range.
    """

    view: Literal["independent", "restricted"] = "restricted"
    max_dt: float = Field(default=0.005, ge=0, le=1)

    @property
    def noise(self) -> View:
        """As objectives draw it."""
        return IndependentNoise() if self.view == "independent" else RestrictedNoise(self.max_dt)
