"""What a run is: a strict, frozen specification, its canonical text and its fingerprint."""

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .atomic import digest
from .errors import ConfigError, unknown

# Raised by hand when a change alters the numbers that a spec gives; part of every fingerprint. A
# golden-trajectory test fails when numbers move and this does not.
NUMERICS = 2

# Width of the profile that weighs every step alike, 1/√12 = 0.2887, rounded down.
MAX_POWER = 0.28

Variant = Literal["infonce-l2", "infonce-cosine", "hinge", "covariance"]


class Strict(BaseModel):
    """Frozen model that accepts neither unknown fields nor values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any):  # a field may be called self in a file of someone else's
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        try:
            super().__init__(**plain)
        except ValidationError as error:
            raise _one_line(type(self), error) from None

    @classmethod
    def parse(cls, values: dict[str, Any], where: str = "") -> Self:
        """Validate plain data as JSON has it; ``where`` stands before the field in an error.

        Raises:
            ConfigError: one line that names the field, the value and what was expected.
        """
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}" if where else str(error)) from None


class DispersiveSpec(Strict):
    """A dispersive term: ``lam`` times the mean over ``blocks`` of the loss of that block's output.

    ``blocks`` counts from 0; ``"quarter"`` is the block that completes a quarter of the depth,
    ⌊depth/4⌋ − 1, and ``"all"`` is every block.
    """

    variant: Variant = "infonce-l2"
    lam: float = Field(default=0.5, ge=0)
    tau: float = Field(default=0.5, gt=0)
    eps: float = Field(default=1.0, gt=0)
    blocks: Literal["quarter", "last", "all"] | tuple[int, ...] = "quarter"
    diagonal: Literal["keep", "mask"] = "keep"
    scale: Literal["dim", "none"] = "dim"
    tokens: Literal["flatten", "mean"] = "flatten"
    local_batch: int | None = Field(default=None, ge=1)


class OptimizerSpec(Strict):
    """AdamW with a constant learning rate after a linear warm-up."""

    lr: float = Field(default=1e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)


class RunSpec(Strict):
    """Everything that decides the numbers of a training run, and how far it goes.

    The fields of ``NOT_IDENTITY`` say how and how long to run; leaving them out of the fingerprint
    lets a run be prolonged, moved to another device or evaluated in many ways. Defaults are left out
    too, so that a new field doesn't rename old runs.
    """

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"name", "num_steps", "milestones", "checkpoint_interval", "log_interval", "device", "compile"}
    )

    model: str = "SiT-Mini/2"
    overrides: dict[str, int | bool] = {}
    data: str = "digits"
    objective: Literal["sit"] = "sit"
    regularizers: tuple[DispersiveSpec, ...] = ()
    optimizer: OptimizerSpec = OptimizerSpec()
    batch_size: int = Field(default=128, ge=1)
    label_drop: float = Field(default=0.1, ge=0, le=1)
    ema: tuple[str, ...] = ("power-0.1", "constant-0.9999")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0)
    numerics: int = NUMERICS

    name: str = Field(default="run", pattern=r"^[a-z0-9][a-z0-9.\-]{0,60}$")
    num_steps: int = Field(default=1000, ge=0)
    milestones: tuple[int, ...] = ()
    checkpoint_interval: int = Field(default=250, ge=1)
    log_interval: int = Field(default=10, ge=1)
    device: str = "auto"
    compile: bool = False

    @field_validator("ema")
    @classmethod
    def _ema_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            form = re.fullmatch(r"(power|constant)-(0\.[0-9]+)", name)
            if not form or float(form[2]) == 0:
                raise ValueError(f'"{name}": expected "power-0.1" or "constant-0.9999"')
            if form[1] == "power" and float(form[2]) > MAX_POWER:
                raise ValueError(f'"{name}": no power profile is longer than {MAX_POWER} of training')
        return names

    @model_validator(mode="after")
    def _stamp(self) -> "RunSpec":
        if self.numerics != NUMERICS:
            raise ValueError(
                f"numerics = {self.numerics}: this version computes numerics {NUMERICS}; "
                "use the version of disperse that made the run, or train it again"
            )
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that decide the numbers, without those at their default."""
        values = self.model_dump(mode="json", exclude=set(self.NOT_IDENTITY), exclude_defaults=True)
        return {**values, "numerics": self.numerics}

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the SHA-256 of the canonical JSON of ``identity``."""
        return digest(self.identity)

    @property
    def run_id(self) -> str:
        """Folder name in the run store: ``<name>-<fingerprint>``."""
        return f"{self.name}-{self.fingerprint}"

    @property
    def num_evaluations(self) -> int:
        """Steps at which the run is evaluated: its milestones and its end."""
        return len({*self.milestones, self.num_steps})

    def replace(self, **changes: Any) -> "RunSpec":
        """A copy with fields replaced, validated again."""
        return RunSpec(**{**dict(self), **changes})


def _one_line(cls: type[BaseModel], error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown("field", path, cls.model_fields)
    message = first["msg"].removeprefix("Value error, ")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # from a nested specification; its path continues ours
        return ConfigError(f"{path}.{cause}")
    if cause is not None:
        return ConfigError(f"{path}: {message}" if path else message)
    return ConfigError(f"{path} = {first['input']!r}: {message[0].lower()}{message[1:]}")
