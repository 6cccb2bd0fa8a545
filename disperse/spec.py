"""What a run is: a strict, frozen specification, its canonical text and its fingerprint."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from .atomic import digest
from .errors import ConfigError, unknown
from .plugins import known

# Raised by hand when a change alters the numbers that a spec gives; part of every fingerprint. A
# golden-trajectory test fails when numbers move and this does not.
NUMERICS = 2

# Width of the profile that weighs every step alike, 1/√12 = 0.2887, rounded down.
MAX_POWER = 0.28


class Strict(BaseModel):
    """Frozen model that accepts neither unknown fields nor values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any):  # a field may be called self in a file of someone else's
        try:
            super().__init__(**{key: _as_tuples(value) for key, value in values.items()})
        except ValidationError as error:
            raise _one_line(type(self), error) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with fields replaced, validated again."""
        return type(self)(**{**dict(self), **changes})

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


class Tagged(Strict):
    """A choice that is not the default one: its kind stays in its plain data when defaults are left out."""

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}  # type: ignore[attr-defined]


class ObjectiveSpec(Strict):
    """What a system learns, as data; each objective's file has its own.

    Attributes:
        kind: name of the objective.
        backbone: prefix of the presets that it runs on, ``"SiT"`` of ``"SiT-B/2"``.
        network: what it asks of the network beside the preset: fields of ``TransformerConfig``.
    """

    kind: str = ""
    backbone: ClassVar[str] = "SiT"
    network: ClassVar[dict[str, Any]] = {}


class TermSpec(Strict):
    """What all regularisers share: how much, when, and where; each regulariser's file has its own.

    Attributes:
        kind: name of the regulariser.
        lam: λ, the weight of the term.
        lam_schedule: (step, factor) knots; λ is multiplied by the factor, linear between knots and
            constant beyond them. Empty: constant.
        blocks: indices from 0; a fraction f of the depth, the block ⌊f · depth⌋ − 1; ``"quarter"`` is ¼;
            ``"last"``; or ``"all"``. Over several blocks the term is the mean of their losses.
    """

    kind: str = ""
    lam: float = Field(default=0.5, ge=0)
    lam_schedule: tuple[tuple[int, float], ...] = ()
    blocks: Literal["quarter", "last", "all"] | float | tuple[int, ...] = "quarter"

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

    def check(self, batch_size: int) -> None:
        """Raise ConfigError where the term can't be computed on batches of this size."""


# Kind → specification; the files of objectives and regularisers enter theirs.
OBJECTIVE_SPECS: dict[str, type[ObjectiveSpec]] = {}
TERM_SPECS: dict[str, type[TermSpec]] = {}


def enter(cls: Any, methods: dict[str, Any], specs: dict[str, Any]) -> None:
    """Enter a method under the kind of its ``Spec``; the same class again, as of a cell, replaces it.

    Raises:
        ConfigError: another class has that name.
    """
    kind = cls.Spec.model_fields["kind"].default
    there = methods.get(kind)
    if there is not None and (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"kind = {kind!r}: taken by {there.__module__}.{there.__qualname__}; choose another"
        )
    methods[kind], specs[kind] = cls, cls.Spec


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
    objective: SerializeAsAny[ObjectiveSpec] = Field(default_factory=lambda: OBJECTIVE_SPECS["sit"]())
    regularizers: tuple[SerializeAsAny[TermSpec], ...] = ()
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
    def _objective_by_kind(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _of_kind({"kind": value}, OBJECTIVE_SPECS, value)
        return _of_kind(value, OBJECTIVE_SPECS, "sit")

    @field_validator("regularizers", mode="before")
    @classmethod
    def _terms_are_dispersive_unless_said(cls, values: Any) -> Any:
        found = []
        for number, value in enumerate(values):
            try:
                found.append(_of_kind(value, TERM_SPECS, "dispersive"))
            except ConfigError as error:
                raise ConfigError(f"{number}.{error}") from None
        return tuple(found)

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


def _as_tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples, those within them too."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _of_kind(value: Any, specs: Mapping[str, type[Strict]], default: str) -> Any:
    """Plain data as the specification of its kind, the default one where it names none."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind", default)
    if not known(kind, specs):
        raise unknown("kind", kind, specs)
    return specs[kind].parse({**value, "kind": kind})


def _one_line(cls: type[BaseModel], error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown("field", path, cls.model_fields)
    message = first["msg"].removeprefix("Value error, ")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # from a nested specification, whose path continues ours, or of ours
        whole = not path or str(cause).startswith(f"{path} = ")
        return ConfigError(str(cause) if whole else f"{path}.{cause}")
    if cause is not None:
        return ConfigError(f"{path}: {message}" if path else message)
    return ConfigError(f"{path} = {first['input']!r}: {message[0].lower()}{message[1:]}")
