"""What a run is: a strict, frozen specification, its canonical text and its fingerprint."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

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


class _Tagged(Strict):
    """A choice that is not the default one: its kind stays in its plain data when defaults are left out."""

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}  # type: ignore[attr-defined]


class SiTSpec(Strict):
    """Stochastic interpolant: path, what the network predicts, and the weight of its error.

    ``reversed_time``: the network counts from data (0) to noise (1), as in REPA; SiT counts the other way.
    """

    kind: Literal["sit"] = "sit"
    path: Literal["linear", "gvp", "vp"] = "linear"
    prediction: Literal["velocity", "noise", "score"] = "velocity"
    weighting: Literal["none", "velocity", "likelihood"] = "none"
    reversed_time: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.prediction == "velocity" and self.weighting != "none":
            raise ValueError(f'weighting = "{self.weighting}": a velocity is not weighted; expected "none"')
        if self.reversed_time and self.prediction != "velocity":
            raise ValueError("reversed_time = True: only for velocity prediction")
        return self


class DiTSpec(_Tagged):
    """Gaussian diffusion with learned variance; nothing to choose."""

    kind: Literal["dit"] = "dit"


class MeanFlowSpec(_Tagged):
    """Average velocity between two times.

    Attributes:
        omega, kappa: guidance of the target; the effective scale is ω/(1 − κ). 1 and 0 are none.
        interval: times between which the target is guided.
        equal_share: share of the batch with r = t.
        time_mean, time_std: of the logit-normal times.
        adaptive_power, adaptive_c: p and c of the weight ``1/(ℓ + c)^p``.
        derivative: ``"exact"`` (forward mode) or ``"difference"``, where forward mode can't go.
    """

    kind: Literal["meanflow"] = "meanflow"
    omega: float = Field(default=1.0, ge=0)
    kappa: float = Field(default=0.0, ge=0, lt=1)
    interval: tuple[float, float] = (0.0, 1.0)
    equal_share: float = Field(default=0.75, ge=0, le=1)
    time_mean: float = -0.4
    time_std: float = Field(default=1.0, gt=0)
    adaptive_power: float = Field(default=1.0, ge=0)
    adaptive_c: float = Field(default=0.01, gt=0)
    derivative: Literal["exact", "difference"] = "exact"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"interval = {self.interval}: expected 0 ≤ start ≤ end ≤ 1")
        return self


ObjectiveSpec = Annotated[SiTSpec | DiTSpec | MeanFlowSpec, Field(discriminator="kind")]
OBJECTIVES: dict[str, type[SiTSpec] | type[DiTSpec] | type[MeanFlowSpec]] = {
    "sit": SiTSpec,
    "dit": DiTSpec,
    "meanflow": MeanFlowSpec,
}


KINDS = {*OBJECTIVES, "dispersive", "contrastive", "alignment"}


class TermBase(Strict):
    """What all terms share: how much, where, and on which scale.

    Attributes:
        lam: λ, the weight of the term.
        lam_schedule: (step, factor) knots; λ is multiplied by the factor, linear between knots and
            constant beyond them. Empty: constant.
        tau: temperature of the InfoNCE variants.
        blocks: indices from 0; a fraction f of the depth, the block ⌊f · depth⌋ − 1; ``"quarter"`` is ¼;
            ``"last"``; or ``"all"``. Over several blocks the term is the mean of their losses.
        scale: distances divided by the dimension, or not.
        tokens: flattened, or averaged.
    """

    lam: float = Field(default=0.5, ge=0)
    lam_schedule: tuple[tuple[int, float], ...] = ()
    tau: float = Field(default=0.5, gt=0)
    blocks: Literal["quarter", "last", "all"] | float | tuple[int, ...] = "quarter"
    scale: Literal["dim", "none"] = "dim"
    tokens: Literal["flatten", "mean"] = "flatten"

    @model_validator(mode="after")
    def _knots(self) -> Self:
        steps = [step for step, _ in self.lam_schedule]
        if steps != sorted(set(steps)) or any(s < 0 or f < 0 for s, f in self.lam_schedule):
            raise ValueError(
                f"lam_schedule = {self.lam_schedule}: expected (step, factor), steps growing, both ≥ 0"
            )
        if isinstance(self.blocks, float) and not 0 < self.blocks <= 1:
            raise ValueError(f"blocks = {self.blocks}: a fraction of the depth must be above 0 and at most 1")
        return self


class RegularizerSpec(TermBase):
    """What the dispersive and the contrastive term share beyond that.

    Attributes:
        variant: which loss.
        eps: margin of the hinge.
        local_batch: rows that see each other; None is the whole batch.
    """

    variant: Variant = "infonce-l2"
    eps: float = Field(default=1.0, gt=0)
    local_batch: int | None = Field(default=None, ge=1)


class _TwoViews(_Tagged):
    """Noise of the second view of each sample.

    Attributes:
        view: ``"independent"`` (level and noise of its own) or ``"restricted"`` (noise of its own at
            nearly the same level).
        max_dt: largest difference of the restricted level, as a share of its range.
    """

    view: Literal["independent", "restricted"] = "restricted"
    max_dt: float = Field(default=0.005, ge=0, le=1)


class DispersiveSpec(RegularizerSpec):
    """A dispersive term: ``lam`` times the mean over ``blocks`` of the loss of that block's output.

    Attributes:
        scale: as of every term, or ``"rms"``: distances divided by the mean squared length of a group's rows.
        diagonal: the pairs i = j, kept or masked.
        time_weight: weight w of a sample in the pair means, by its noise level: 1, ``1 − level``
            (``"clean"``) or ``level`` (``"noisy"``).
    """

    kind: Literal["dispersive"] = "dispersive"
    scale: Literal["dim", "none", "rms"] = "dim"  # type: ignore[assignment]
    diagonal: Literal["keep", "mask"] = "keep"
    time_weight: Literal["none", "clean", "noisy"] = "none"


class ContrastiveSpec(RegularizerSpec, _TwoViews):
    """A contrastive term, on two views of each sample.

    Attributes:
        candidates: which rows a row is pushed from: the second view's or those of its own.
        offdiagonal_weight: w of the covariance variant.
        diagonal: the pairs i = j among the candidates; None is the variant's own choice.
    """

    kind: Literal["contrastive"] = "contrastive"
    candidates: Literal["second", "own"] = "second"
    offdiagonal_weight: float = Field(default=1.0, ge=0)
    diagonal: Literal["keep", "mask"] | None = None


class AlignmentSpec(TermBase, _TwoViews):
    """The attraction alone, ``E_i[D(z_i, z_i⁺)]/τ`` of two views: what a dispersive loss leaves out.

    Attributes:
        distance: D, squared ℓ2 or negative cosine.
    """

    kind: Literal["alignment"] = "alignment"
    distance: Literal["l2", "cosine"] = "l2"


TermSpec = Annotated[DispersiveSpec | ContrastiveSpec | AlignmentSpec, Field(discriminator="kind")]


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

    ``data`` names images, not where they lie: ``DISPERSE_DATA`` says that. ``flip`` mirrors each image of a
    batch with probability ½. ``engine`` is a numerics stamp of its own: ``"ensemble-1"`` draws on the device
    (``training.ensemble``), so its numbers are others than those of ``train``; it moves when they do.
    """

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"name", "num_steps", "milestones", "checkpoint_interval", "log_interval", "device", "compile"}
    )

    model: str = "SiT-Mini/2"
    overrides: dict[str, int | bool] = {}
    data: str = "digits"
    flip: bool = False
    objective: ObjectiveSpec = SiTSpec()
    regularizers: tuple[TermSpec, ...] = ()
    optimizer: OptimizerSpec = OptimizerSpec()
    batch_size: int = Field(default=128, ge=1)
    label_drop: float = Field(default=0.1, ge=0, le=1)
    ema: tuple[str, ...] = ("power-0.1", "constant-0.9999")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0)
    engine: Literal["single", "ensemble-1"] = "single"
    numerics: int = NUMERICS

    name: str = Field(default="run", pattern=r"^[a-z0-9][a-z0-9.\-]{0,60}$")
    num_steps: int = Field(default=1000, ge=0)
    milestones: tuple[int, ...] = ()
    checkpoint_interval: int = Field(default=250, ge=1)
    log_interval: int = Field(default=10, ge=1)
    device: str = "auto"
    compile: bool = False

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in OBJECTIVES:
                raise unknown("objective", value, OBJECTIVES)
            return OBJECTIVES[value]()
        return _with_kind(value, "sit")

    @field_validator("regularizers", mode="before")
    @classmethod
    def _terms_are_dispersive_unless_said(cls, values: Any) -> Any:
        return tuple(_with_kind(value, "dispersive") for value in values)

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

    @model_validator(mode="after")
    def _milestones_on_the_way(self) -> "RunSpec":
        if any(step < 1 for step in self.milestones):
            raise ValueError(f"milestones = {self.milestones}: expected steps from 1 on")
        if max(self.milestones, default=0) > self.num_steps:
            raise ValueError(
                f"milestones = {self.milestones}: beyond num_steps = {self.num_steps}, never reached; "
                "leave those out"
            )
        return self

    def __hash__(self) -> int:
        values = {**dict(self), "overrides": frozenset(self.overrides.items())}
        return hash(tuple(values.values()))

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


def _with_kind(value: Any, kind: str) -> Any:
    """Plain data without a kind is of the default one: it was left out as every default is."""
    return {"kind": kind, **value} if isinstance(value, dict) else value


def _one_line(cls: type[BaseModel], error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    # The kind of a nested choice stands in the location, but is no field.
    path = ".".join(str(part) for part in first["loc"] if part not in KINDS)
    if first["type"] == "extra_forbidden":
        return unknown("field", path, cls.model_fields)
    message = first["msg"].removeprefix("Value error, ")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # from a nested specification; its path continues ours
        return ConfigError(f"{path}.{cause}")
    if cause is not None:
        return ConfigError(f"{path}: {message}" if path else message)
    return ConfigError(f"{path} = {first['input']!r}: {message[0].lower()}{message[1:]}")
