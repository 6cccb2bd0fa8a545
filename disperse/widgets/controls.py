"""Everything that can be chosen about samples, and what can be chosen together."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as w
from traitlets import TraitError

from ..errors import ConfigError, StorageError
from ..experiments import paper
from ..models import config_of
from ..objectives import OBJECTIVES
from ..sampling import SamplerConfig
from ..spec import RunSpec
from .scenes import FRAMES
from .settings import GallerySettings
from .sources import NoNetworkError, Source, source_of

# Steps that are offered, where the solver can take so many.
STEPS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 50, 100, 250)
NUMS = (10, 20, 40, 60, 100)
IN_TURN, EVERY = "all, in turn", -1  # a drop-down shows nothing for None
STYLE, WIDTH = {"description_width": "105px"}, "390px"


class Controls:
    """The controls of a gallery: each a widget, and ``settings`` what they say together.

    Args:
        runs: run folders to choose from, or specifications; those without a network are left out, and what
            can't be read is said in ``problems``.
        on_wish: called after a change that needs other samples, once the controls fit each other again.

    Raises:
        ConfigError: no run has a network.
    """

    def __init__(self, runs: Sequence[Path | RunSpec], on_wish: Callable[[], None]):
        self.runs: dict[str, Source] = {}
        self.problems: list[str] = []
        for run in runs:
            try:
                source = source_of(run)
                self.runs[source.path.name if source.path.is_dir() else source.spec.run_id] = source
            except NoNetworkError:
                pass
            except (StorageError, ConfigError) as error:  # a damaged or older run must not hide the others
                self.problems.append(str(error))
        if not self.runs:
            raise ConfigError(
                "gallery: no run with a checkpoint; train one: disperse train --variant infonce-l2"
            )
        self.on_wish, self.quiet = on_wish, False
        named = [(run_title(source.spec), run) for run, source in self.runs.items()]
        self.left = _control(w.Dropdown, "left", options=named)
        self.right = _control(w.Dropdown, "right", options=named)
        self.step = _control(w.SelectionSlider, "training step", options=[0], continuous_update=False)
        self.weights = _control(w.Dropdown, "weights", options=["raw"])
        self.label = _control(w.Dropdown, "class", options=[(IN_TURN, EVERY)])
        self.first_seed = _control(w.BoundedIntText, "first seed", min=0, max=10**9)
        self.num = _control(w.SelectionSlider, "samples", options=NUMS, value=40, continuous_update=False)
        self.solver = _control(w.Dropdown, "sampler", options=["heun"])
        self.num_steps = _control(w.SelectionSlider, "steps", options=STEPS, continuous_update=False)
        self.guidance = _control(
            w.FloatSlider, "guidance", min=0, max=5, step=0.25, value=1, continuous_update=False
        )
        self.interval = _control(
            w.FloatRangeSlider,
            "guided levels",
            min=0,
            max=1,
            step=0.05,
            value=(0, 1),
            continuous_update=False,
        )
        self.interval.add_class("disperse-wide")
        # The settings of the sampler that can be turned; others stay as they were given.
        self.knobs = {
            "solver": self.solver, "num_steps": self.num_steps, "guidance": self.guidance,
            "guidance_interval": self.interval,
        }  # fmt: skip
        self.sampler = SamplerConfig()
        for each in self.widgets:
            each.observe(self._changed, "value")

    @property
    def widgets(self) -> tuple[w.Widget, ...]:
        """All of them, in the order of the page."""
        return (
            self.left, self.right, self.step, self.weights, self.label, self.first_seed, self.num,
            *self.knobs.values(),
        )  # fmt: skip

    @property
    def settings(self) -> GallerySettings:
        """What they say."""
        left, right = self.left.value, self.right.value
        return GallerySettings(
            runs=(left,) if left == right else (left, right),
            step=self.step.value,
            weights=self.weights.value,
            label=None if self.label.value == EVERY else self.label.value,
            first_seed=self.first_seed.value,
            num=self.num.value,
            sampler=self.sampler.replace(**{name: control.value for name, control in self.knobs.items()}),
        )

    def default(self, num: int, step: int | None = None) -> GallerySettings:
        """The first run and the next that can stand beside it, sampled as its system usually is."""
        left = next(iter(self.runs))
        right = next((run for run in self._partners(left) if run != left), left)
        return GallerySettings(
            runs=(left,) if right == left else (left, right),
            step=self._common_steps(left, right)[-1] if step is None else step,
            weights=self._averages(left, right)[0],
            num=num,
            sampler=SamplerConfig.for_system(self._spec(left).objective.kind),
        )

    def set(self, settings: GallerySettings) -> None:
        """Turn every control to what is given; nothing is asked for.

        Raises:
            ConfigError: a run isn't here, or one value can't be chosen with the others.
        """
        for run in settings.runs:
            if run not in self.runs:
                raise ConfigError(
                    f"settings.runs: no run {run!r} with a checkpoint here; see `disperse list`"
                )
        self.quiet = True
        try:
            self.left.value = settings.runs[0]
            self._offer(settings.runs[-1])
            self.sampler = settings.sampler
            _choose(self.solver, self.sampler.solver)
            self._offer_steps(self.sampler.num_steps)
            self.num.options = sorted({*NUMS, settings.num})
            for control, value in (
                (self.right, settings.runs[-1]), (self.step, settings.step), (self.weights, settings.weights),
                (self.label, EVERY if settings.label is None else settings.label),
                (self.first_seed, settings.first_seed), (self.num, settings.num),
                *((control, getattr(self.sampler, name)) for name, control in self.knobs.items()),
            ):  # fmt: skip
                _choose(control, value)
        finally:
            self.quiet = False

    def _spec(self, run: str) -> RunSpec:
        return self.runs[run].spec

    def _changed(self, change: dict[str, Any]) -> None:
        if self.quiet:
            return
        self.quiet = True
        try:
            if change["owner"] in (self.left, self.right):
                self._offer(self.right.value)
            if change["owner"] is self.solver:
                self._offer_steps(self._usual_steps())
        finally:
            self.quiet = False
        self.on_wish()

    def _partners(self, left: str) -> list[str]:
        """Runs that can stand beside it: of its system and data, with a checkpoint of the same step."""
        own = self._spec(left)
        return [
            run
            for run, source in self.runs.items()
            if (source.spec.objective.kind, source.spec.data) == (own.objective.kind, own.data)
            and self._common_steps(left, run)
        ]

    def _common_steps(self, left: str, right: str) -> list[int]:
        return [step for step in self.runs[left].steps if step in self.runs[right].steps]

    def _averages(self, left: str, right: str) -> list[str]:
        return [kept for kept in self.runs[left].weights if kept in self.runs[right].weights]

    def _offer(self, right: str) -> None:
        """Offer what goes with the left run; what was chosen stays where it still can be."""
        left = self.left.value
        partners = self._partners(left)
        _options(self.right, [(run_title(self._spec(run)), run) for run in partners], right, left)
        right = self.right.value
        steps = self._common_steps(left, right)
        _options(self.step, steps, self.step.value, steps[-1])
        averages = self._averages(left, right)
        _options(self.weights, averages, self.weights.value, averages[0])
        classes = [(str(label), label) for label in range(config_of(self._spec(left)).num_classes)]
        _options(self.label, [(IN_TURN, EVERY), *classes], self.label.value, EVERY)
        solvers = list(OBJECTIVES[self._spec(left).objective.kind].solvers)
        if solvers != list(self.solver.options):  # another system: what it is usually sampled by
            _options(self.solver, solvers, None, solvers[0])
            self._offer_steps(self._usual_steps())

    def _usual_steps(self) -> int:
        return OBJECTIVES[self._spec(self.left.value).objective.kind].solvers[self.solver.value]

    def _offer_steps(self, wanted: int) -> None:
        """Numbers of steps that the solver can take; an adaptive one chooses itself, and shows frames."""
        system, solver = self._spec(self.left.value).objective.kind, self.solver.value
        every = (FRAMES - 1,) if solver == "dopri5" else sorted({*STEPS, wanted})
        possible = [count for count in every if _can(system, solver, count)]
        usual = self._usual_steps()
        _options(self.num_steps, possible, wanted, usual if usual in possible else possible[0])


def run_title(spec: RunSpec) -> str:
    """What a run is called in a list."""
    return f"{paper.name_of(spec.name)} · {spec.model} · seed {spec.seed} · {spec.fingerprint[:6]}"


def _control(kind: Any, description: str, **more: Any) -> Any:
    return kind(description=description, style=STYLE, layout=w.Layout(width=WIDTH, max_width="100%"), **more)


def _options(control: Any, options: Sequence[Any], value: Any, otherwise: Any) -> None:
    """Offer other options; keep the value where it is among them."""
    values = [each[1] if isinstance(each, tuple) else each for each in options]
    control.options = options
    control.value = value if value in values else otherwise


def _choose(control: Any, value: Any) -> None:
    """Turn a control to a value; traitlets' own error names neither the control nor what it offers."""
    with contextlib.suppress(TraitError):
        control.value = value
    if control.value == value:
        return
    if hasattr(control, "options"):
        names = [str(each[0] if isinstance(each, tuple) else each) for each in control.options]
        raise ConfigError(f"gallery: {control.description} = {value!r}: expected one of {', '.join(names)}")
    span = f"{control.min:g} to {control.max:g}"  # a number outside is moved to its edge without a word
    raise ConfigError(f"gallery: {control.description} = {value!r}: expected {span}")


def _can(system: str, solver: str, num_steps: int) -> bool:
    try:
        SamplerConfig.for_system(system, solver, num_steps)
    except ConfigError:
        return False
    return True
