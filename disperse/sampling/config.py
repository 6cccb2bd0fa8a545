"""How to get from noise to an image: which solver fits which system, and its settings.

Each setting is declared once, as a field of ``SamplerConfig``: what it means, what it may be, what it is by
default and how it is typed. ``sample``, the command line, protocols and galleries read it from there.
"""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    InstanceOf,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ..errors import ConfigError, check_count, unknown
from ..objectives import OBJECTIVES
from ..objectives.diffusion import ddim_times, respaced_times
from ..spec import Strict
from .sde import FORMS, LAST_STEPS
from .solvers import ATOL, RTOL

# Network evaluations of n steps; an adaptive solver decides for itself. An objective's own solver: n.
NFE: dict[str, Callable[[int], int] | None] = {
    "euler": lambda n: n,
    "heun": lambda n: 2 * n,
    "dopri5": None,
    "sde-euler": lambda n: n,
    "sde-heun": lambda n: 2 * n,
    "ddim": lambda n: n,
    "ddpm": lambda n: n,
}


def all_solvers() -> list[str]:
    """Every solver that fits some objective."""
    return list(dict.fromkeys(solver for row in OBJECTIVES.values() for solver in row.solvers))


@dataclass(frozen=True)
class Knob:
    """What a setting is.

    Attributes:
        about: what it means, in one sentence.
        check: (name, value) → the value in its plain form; raises ConfigError.
        read: a value from text, raises ValueError; None: a flag, which is there or not.
        typed: what text stands for it, where its type doesn't say that.
        option: of the command line, where it isn't the setting's name.
    """

    about: str
    check: Callable[[str, Any], Any]
    read: Callable[[str], Any] | None = str
    typed: str = ""
    option: str = ""


def _knob(default: Any, about: str, check: Callable[[str, Any], Any], *more: Any, **named: Any) -> Any:
    return field(default=default, metadata={"knob": Knob(about, check, *more, **named)})


def _one_of(options: Callable[[], Iterable[str]]) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in options():
            raise unknown(name, value, options())
        return value

    return check


def _count(name: str, value: Any) -> int:
    return check_count(name, value, 1)


def _up_to(most: float) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= most:
            raise ConfigError(f"{name} = {value!r}: expected a number from 0 to {most:g}")
        return float(value)

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} = {value!r}: expected True or False")
    return value


def _interval(name: str, value: Any) -> tuple[float, float]:
    numbers = isinstance(value, (tuple, list)) and all(isinstance(end, (int, float)) for end in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] <= value[1] <= 1:
        raise ConfigError(f"{name} = {value!r}: expected 0 ≤ low ≤ high ≤ 1")
    return float(value[0]), float(value[1])


def _two(text: str) -> tuple[float, float]:
    low, high = map(float, text.split(","))
    return low, high


@dataclass(frozen=True)
class SamplerConfig:
    """How to get from noise to an image."""

    solver: str = _knob(
        "heun", "ODE euler, heun, dopri5 (adaptive); SDE sde-euler, sde-heun; of DiT ddim, ddpm; or an "
        "objective's own steps, such as meanflow; by default the first that fits the model",
        _one_of(all_solvers),
    )  # fmt: skip
    num_steps: int = _knob(
        25, "steps of the solver, on a uniform grid (dopri5 chooses its own); 25 for heun, 1 for meanflow",
        _count, int, option="steps",
    )  # fmt: skip
    guidance: float = _knob(1.0, "scale s of classifier-free guidance; 1 is none", _up_to(1e3), float)
    guided_channels: int | None = _knob(
        None, "guide the first so many channels only, all by default; 3 is what the published DiT and SiT "
        "code does", lambda name, value: None if value is None else _count(name, value), int,
    )  # fmt: skip
    precision: str = _knob(
        "fp32", "of the network's calls, fp32 or bf16 (about 1% root mean square from fp32); the state stays "
        "fp32", _one_of(lambda: ("fp32", "bf16")),
    )  # fmt: skip
    compile: bool = _knob(False, "compile the network: within 1e-4 of eager", _flag, None)
    guidance_interval: tuple[float, float] = _knob(
        (0.0, 1.0), "noise levels between which guidance acts", _interval, _two, typed="LOW,HIGH"
    )
    diffusion: str = _knob("sigma", f"of an SDE: form of w(t), {', '.join(FORMS)}", _one_of(lambda: FORMS))
    diffusion_norm: float = _knob(1.0, "of an SDE: factor of w(t)", _up_to(1e3), float)
    last_step: str = _knob("mean", f"of an SDE: {', '.join(LAST_STEPS)}", _one_of(lambda: LAST_STEPS))
    last_step_size: float = _knob(0.04, "of an SDE: time that its last step takes", _up_to(0.5), float)
    eta: float = _knob(0.0, "of DDIM; 0 is deterministic", _up_to(1.0), float)

    def __post_init__(self) -> None:
        for name, knob in KNOBS.items():
            object.__setattr__(self, name, knob.check(f"sampler.{name}", getattr(self, name)))
        for row in OBJECTIVES.values():
            if self.solver in row.steps:
                row.steps[self.solver].times(self.num_steps)
        if self.solver in ("ddim", "ddpm"):
            (ddim_times if self.solver == "ddim" else respaced_times)(self.num_steps)

    @classmethod
    def for_system(
        cls, system: str, solver: str | None = None, num_steps: int | None = None, **knobs: Any
    ) -> "SamplerConfig":
        """A configuration that fits an objective, its default solver and steps where none are given.

        Raises:
            ConfigError: the solver does not fit the system, or a setting is unknown or out of range.
        """
        family = OBJECTIVES[system].solvers
        solver = next(iter(family)) if solver is None else solver
        _check_family(system, solver)
        steps = family.get(solver, 1) if num_steps is None else num_steps
        return cls().replace(solver=solver, num_steps=steps, **knobs)

    def replace(self, **knobs: Any) -> "SamplerConfig":
        """A copy with settings replaced, checked again.

        Raises:
            ConfigError: a setting is unknown or out of range.
        """
        for name in knobs:
            if name not in KNOBS:
                raise unknown("sampler setting", name, KNOBS)
        return replace(self, **knobs)

    def check_system(self, system: str) -> "SamplerConfig":
        """Itself, if it fits an objective.

        Raises:
            ConfigError: the solver does not.
        """
        _check_family(system, self.solver)
        return self

    @property
    def nfe(self) -> int | None:
        """Network evaluations per image; guidance makes each of them twice as large. None: adaptive."""
        count = NFE.get(self.solver, lambda n: n)
        extra = self.solver.startswith("sde-") and self.last_step != "none"
        return None if count is None else count(self.num_steps) + int(extra)

    def describe(self) -> str:
        """One line for captions and cards."""
        steps = "1 step" if self.num_steps == 1 else f"{self.num_steps} steps"
        if self.solver == "dopri5":
            how = f"dopri5 ODE, adaptive (atol {ATOL:g}, rtol {RTOL:g})"
        elif self.solver.startswith("sde-"):
            how = (
                f"{self.solver.removeprefix('sde-')} SDE ({self.diffusion}, last step {self.last_step}), "
                f"{steps}, {self.nfe} NFE"
            )
        else:
            kind = " ODE" if self.solver in ("euler", "heun") else f" (eta {self.eta:g})" if self.eta else ""
            how = f"{self.solver}{kind}, {steps}, {self.nfe} NFE"
        channels = "" if self.guided_channels is None else f" (first {self.guided_channels} channels)"
        low, high = self.guidance_interval
        levels = "" if (low, high) == (0, 1) else f" at noise levels {low:g} to {high:g}"
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}{channels}{levels}"
        return f"{how}, {guidance}" + ("" if self.precision == "fp32" else f" in {self.precision}")


def _check_family(system: str, solver: str) -> None:
    family = OBJECTIVES[system].solvers
    if solver in all_solvers() and solver not in family:
        raise ConfigError(f"sampler.solver = {solver!r}: a {system} model is sampled by {', '.join(family)}")


KNOBS: dict[str, Knob] = {each.name: each.metadata["knob"] for each in fields(SamplerConfig)}
DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(SamplerConfig)}
_WRAP = textwrap.TextWrapper(100, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)
SamplerConfig.__doc__ = f"{SamplerConfig.__doc__}\n\nAttributes:\n" + "\n".join(
    _WRAP.fill(f"{name}: {knob.about}.") for name, knob in KNOBS.items()
)


class Sampled(Strict):
    """A description of samples: its sampler's settings are given, read and written as if they were its own.

    A setting at its default is not in the plain data, so that a new one changes no hash of what was there
    before; nor are the other fields of ``LATER``, which were added after such data were kept.

    Attributes:
        sampler: how the samples are made.
    """

    ALWAYS: ClassVar[tuple[str, ...]] = ("solver", "num_steps", "guidance")
    LATER: ClassVar[tuple[str, ...]] = ()

    sampler: InstanceOf[SamplerConfig] = SamplerConfig()

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in values.items() if name not in KNOBS}
        for name in own:
            if name not in cls.model_fields:
                raise unknown("field", name, [*cls.model_fields, *KNOBS])
        knobs = {name: value for name, value in values.items() if name in KNOBS}
        start = own.get("sampler", cls.model_fields["sampler"].default)
        return {**own, "sampler": start.replace(**knobs) if isinstance(start, SamplerConfig) else start}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in handler(self).items():
            if name == "sampler":
                for knob, default in DEFAULTS.items():
                    chosen = getattr(self.sampler, knob)
                    if knob in self.ALWAYS or chosen != default:
                        as_list = info.mode == "json" and isinstance(chosen, tuple)
                        found[knob] = list(chosen) if as_list else chosen
            elif name not in self.LATER or getattr(self, name) != type(self).model_fields[name].default:
                found[name] = value
        return found

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """A copy with fields and settings replaced, checked again."""
        return self.replace(**(update or {}))

    if not TYPE_CHECKING:  # where types are checked, a setting is read from the sampler

        def __getattr__(self, name: str) -> Any:
            if name in KNOBS:
                return getattr(self.sampler, name)
            return super().__getattr__(name)
