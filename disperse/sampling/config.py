"""How to get from noise to an image: which solver fits which system, and its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, check_count, unknown
from ..objectives import OBJECTIVES
from ..objectives.diffusion import ddim_times, respaced_times
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
class SamplerConfig:
    """How to get from noise to an image.

    Attributes:
        solver: ODE ``"euler"``, ``"heun"``, ``"dopri5"`` (adaptive); SDE ``"sde-euler"``, ``"sde-heun"``; DiT
            ``"ddim"``, ``"ddpm"``; or an objective's own steps, such as ``"meanflow"``.
        num_steps: steps of the uniform grid, ≥ 1 (dopri5 chooses its own).
        guidance: scale s of classifier-free guidance; 1 is none.
        guided_channels: None guides all channels; 3 is what the published DiT and SiT code does.
        guidance_interval: noise levels between which guidance acts.
        precision: ``"fp32"`` or ``"bf16"`` (network calls; the state stays float32).
        compile: compile the network.
        diffusion: of an SDE: form of w(t), see ``FORMS``; ``diffusion_norm`` its factor.
        last_step: of an SDE, over the last ``last_step_size`` of time: see ``LAST_STEPS``.
        eta: of DDIM; 0 is deterministic.
    """

    solver: str = "heun"
    num_steps: int = 25
    guidance: float = 1.0
    guided_channels: int | None = None
    precision: str = "fp32"
    compile: bool = False
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    diffusion: str = "sigma"
    diffusion_norm: float = 1.0
    last_step: str = "mean"
    last_step_size: float = 0.04
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.solver not in all_solvers():
            raise unknown("sampler.solver", self.solver, all_solvers())
        check_count("sampler.num_steps", self.num_steps, 1)
        for row in OBJECTIVES.values():
            if self.solver in row.steps:
                row.steps[self.solver].times(self.num_steps)
        if self.solver in ("ddim", "ddpm"):
            (ddim_times if self.solver == "ddim" else respaced_times)(self.num_steps)
        if self.guided_channels is not None:
            check_count("sampler.guided_channels", self.guided_channels, 1)
        for name, options in (
            ("precision", ("fp32", "bf16")), ("diffusion", FORMS), ("last_step", LAST_STEPS)
        ):  # fmt: skip
            if getattr(self, name) not in options:
                raise unknown(f"sampler.{name}", getattr(self, name), options)
        for name, most in (
            ("guidance", 1e3), ("diffusion_norm", 1e3), ("last_step_size", 0.5), ("eta", 1.0)
        ):  # fmt: skip
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= most:
                raise ConfigError(f"sampler.{name} = {value!r}: expected a number from 0 to {most:g}")
        if not isinstance(self.compile, bool):
            raise ConfigError(f"sampler.compile = {self.compile!r}: expected True or False")
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ConfigError(
                f"sampler.guidance_interval = {self.guidance_interval}: expected 0 ≤ low ≤ high ≤ 1"
            )

    @classmethod
    def for_system(
        cls, system: str, solver: str | None = None, num_steps: int | None = None, **options: Any
    ) -> "SamplerConfig":
        """A configuration that fits an objective, its default solver and steps where none are given.

        Raises:
            ConfigError: the solver does not fit the system, or a setting is out of range.
        """
        family = OBJECTIVES[system].solvers
        solver = next(iter(family)) if solver is None else solver
        if solver in all_solvers() and solver not in family:
            raise ConfigError(
                f"sampler.solver = {solver!r}: a {system} model is sampled by {', '.join(family)}"
            )
        steps = family.get(solver, 1) if num_steps is None else num_steps
        return cls(solver, steps, **options)

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
            kind = " ODE" if self.solver in ("euler", "heun") else ""
            how = f"{self.solver}{kind}, {steps}, {self.nfe} NFE"
        channels = "" if self.guided_channels is None else f" (first {self.guided_channels} channels)"
        low, high = self.guidance_interval
        levels = "" if (low, high) == (0, 1) else f" at noise levels {low:g} to {high:g}"
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}{channels}{levels}"
        return f"{how}, {guidance}"
