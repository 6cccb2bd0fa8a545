"""The ladder: the same items at growing size. A new profile is one row here."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import unknown
from ..evaluation import (
    CIFAR10_EVALUATOR,
    EVALUATOR,
    EVALUATORS,
    FASHION_EVALUATOR,
    FID_EVALUATOR,
    Protocol,
    spaces_for,
)
from ..models import preset
from ..objectives import OBJECTIVES
from ..objectives.diffusion import nearest_ddim
from ..plugins import known
from ..sampling import SamplerConfig
from ..spec import OptimizerSpec, RunSpec, TermSpec


@dataclass(frozen=True)
class Profile:
    """Size of every run and of its evaluation.

    Attributes:
        name: of the row.
        model: preset of the network.
        sizes: sizes of networks, small to large, for the question of model size.
        subsets: how many training images there are, for the question of data-set size; beside all.
        larger_meanflow: the last of the paper's rows of MeanFlow: size, and times the profile's length.
        longer: the paper's longest runs of SiT: size, and times the profile's length. Systems and samples
            are shown by networks of that size as well.
        batch_size, lr, warmup_steps: optimisation; chosen by the baseline's quality alone.
        num_steps: length of a run.
        milestones: steps before the end that are evaluated too, for learning curves.
        solver, sampler_steps: sampler of the evaluation.
        second_steps: a number of steps that stands beside it where samplers are compared; 0: half of them.
        num_samples, guided_samples: images of the distance, and of the guided class agreement.
        weights: which weights are sampled: ``"raw"`` or an average.
        stamp: printed across figures, or empty.
        data, flip, overrides: what is learned, mirrored or not (MeanFlow: never), and the network's fields.
        ema: averages of the weights that a run keeps.
        precision: of the network in training and in the evaluation's samples.
        beta2: of AdamW; weight decay is 0 everywhere.
        meanflow_lr: of MeanFlow without and with a term, where the rates were chosen for it (E2 of
            docs/rules.md); empty: ``lr``.
        evaluator, reference: whose features are compared, and with what.
        gpus: accelerators that one run is trained on; with several, ``torchrun`` starts a process on each.
            0: none is asked for, and one that is there is used.
        unpublished: of a row that is the paper's, what it doesn't say and we have set.
        cores, memory_gb, hours: what a job asks of a cluster; of hours so many at least, and more where it is
            computed to take longer.
    """

    name: str
    model: str
    sizes: tuple[str, ...]
    subsets: tuple[int, ...]
    larger_meanflow: tuple[str, int]
    longer: tuple[str, int]
    batch_size: int
    lr: float
    warmup_steps: int
    num_steps: int
    milestones: tuple[int, ...]
    solver: str
    sampler_steps: int
    num_samples: int
    guided_samples: int
    weights: str
    second_steps: int = 0
    stamp: str = ""
    data: str = "digits"
    flip: bool = False
    overrides: dict[str, int | bool] = field(default_factory=dict)
    ema: tuple[str, ...] = ("power-0.1", "constant-0.9999")
    precision: Literal["fp32", "bf16"] = "fp32"
    beta2: float = 0.95
    meanflow_lr: tuple[float, float] | tuple[()] = ()
    evaluator: str = EVALUATOR
    reference: str = "held-out"
    gpus: int = 0
    unpublished: tuple[str, ...] = ()
    cores: int = 1
    memory_gb: int = 4
    hours: float = 4.0

    @property
    def size(self) -> str:
        """Of the profile's own network."""
        return self.model.rpartition("-")[2].partition("/")[0]

    @property
    def large_model(self) -> str:
        """Preset of the network of the longer runs."""
        return f"SiT-{self.longer[0]}/{self.patch}"

    @property
    def classifies(self) -> bool:
        """Whether its evaluator is a classifier, beside held-out images; an external one has neither."""
        return self.evaluator in EVALUATORS

    @property
    def patch(self) -> int:
        """Of every network but MeanFlow's coarser one."""
        return int(self.model.rpartition("/")[2])

    def spec(
        self,
        label: str,
        seed: int,
        *terms: TermSpec,
        system: str = "sit",
        size: str | None = None,
        lr: float | None = None,
    ) -> RunSpec:
        """The run of this profile with these regularisers.

        Args:
            label: name of the run.
            seed: of training.
            terms: regularisers.
            system: kind of the objective.
            size, lr: of the network and the optimiser; the profile's by default.
        """
        model = f"{OBJECTIVES[system].Spec.backbone}-{size or self.size}/{self.patch}"
        own = preset(model).objective
        return RunSpec(
            name=label,
            model=model,
            overrides=self.overrides,
            data=self.data,
            flip=self.flip and system != "meanflow",  # its authors mirror nothing
            objective=own if own.kind == system else OBJECTIVES[system].Spec(),
            regularizers=terms,
            batch_size=self.batch_size,
            optimizer=OptimizerSpec(lr=lr or self.lr, beta2=self.beta2, warmup_steps=self.warmup_steps),
            ema=self.ema,
            precision=self.precision,
            num_steps=self.num_steps,
            milestones=self.milestones,
            checkpoint_interval=max(self.num_steps // 10, 1),
            seed=seed,
        )

    def run(self, seed: int, *terms: TermSpec, name: str = "", **options: Any) -> RunSpec:
        """As ``spec``, named after its first term where no name is given.

        Args:
            seed: of training.
            terms: regularisers.
            name: of the run.
            options: ``system``, ``size``, ``lr`` as of ``spec``; others replace fields of the run.
        """
        own = {key: options.pop(key) for key in ("system", "size", "lr") if key in options}
        first = terms[0] if terms else None
        label = name or (getattr(first, "variant", first.kind) if first else "baseline")
        return self.spec(label, seed, *terms, **own).replace(**options)

    @property
    def depth(self) -> int:
        """Blocks of the profile's own network."""
        return preset(self.model).config.depth

    @property
    def protocol(self) -> Protocol:
        """How the runs of this profile are evaluated."""
        return Protocol(
            num_samples=self.num_samples,
            guided_samples=self.guided_samples,
            sampler=SamplerConfig(self.solver, self.sampler_steps, precision=self.precision),
            weights=self.weights,
            evaluator=self.evaluator,
            data=self.data,
            reference=self.reference,
            spaces=spaces_for(self.data) if self.classifies else (),
        )

    def protocol_of(self, system: str) -> Protocol:
        """The protocol with an objective's sampler; steps of its own are few and unguided."""
        row = OBJECTIVES[system]
        if self.solver in row.solvers and not row.steps:
            return self.protocol
        solver, num_steps = next(iter(row.solvers.items()))
        changes: dict[str, Any] = {"solver": solver, "num_steps": num_steps}
        if solver == "ddim":
            changes["num_steps"] = nearest_ddim(2 * self.sampler_steps)  # as many network evaluations
        elif row.steps:
            changes["agreement_guidance"] = 1.0
        return self.protocol.replace(**changes)


# fmt: off
PROFILES = {row.name: row for row in (
    Profile(
        name="smoke", model="SiT-Nano/2", sizes=("Pico", "Nano"),
        subsets=(100,), larger_meanflow=("Pico", 1), longer=("Nano", 4),
        batch_size=32, lr=2e-3, warmup_steps=5,
        num_steps=40, milestones=(20,),
        solver="heun", sampler_steps=4, num_samples=100, guided_samples=20,
        weights="power-0.1", stamp="SMOKE"),
    Profile(
        name="cpu", model="SiT-Nano/2", sizes=("Pico", "Micro", "Nano", "Mini"),
        subsets=(160, 450), larger_meanflow=("Mini", 1), longer=("Nano", 4),
        batch_size=128, lr=4e-3, warmup_steps=100,
        num_steps=2400, milestones=(600, 1200, 1800),
        solver="heun", sampler_steps=25, num_samples=1000, guided_samples=200,
        weights="power-0.1", meanflow_lr=(4e-3, 4e-3)),
    # Fashion-MNIST at 28×28, in 16 patches. Patch, network and rate were chosen by the baseline's quality at
    # equal time on seed 0 (docs/rules.md has the numbers); about 20 minutes of one core a run.
    Profile(
        name="fashion", model="SiT-Maxi/7", sizes=("Nano", "Tiny", "Midi", "Maxi"),
        subsets=(2000, 10_000), larger_meanflow=("Maxi", 1), longer=("Maxi", 4),
        batch_size=128, lr=4e-3, warmup_steps=100,
        num_steps=6000, milestones=(3000,),
        solver="heun", sampler_steps=25, num_samples=1000, guided_samples=200,
        weights="power-0.1",
        data="fashion",
        evaluator=FASHION_EVALUATOR),
    # CIFAR-10 for a laptop: averaged to 16×16 (16 patches), and whole (64 patches).
    Profile(
        name="cifar16", model="SiT-Midi/4", sizes=("Micro", "Nano", "Mini", "Midi"),
        subsets=(2000, 10_000), larger_meanflow=("Midi", 1), longer=("Midi", 4),
        batch_size=128, lr=1e-3, warmup_steps=100,
        num_steps=9600, milestones=(1200, 4800),
        solver="heun", sampler_steps=25, num_samples=1000, guided_samples=200,
        weights="power-0.1",
        data="cifar16", flip=True, overrides={"input_size": 16, "in_channels": 3, "num_classes": 10},
        evaluator=CIFAR10_EVALUATOR),
    Profile(
        name="cifar32", model="SiT-Midi/4", sizes=("Micro", "Nano", "Mini", "Midi"),
        subsets=(2000, 10_000), larger_meanflow=("Midi", 1), longer=("Midi", 4),
        batch_size=128, lr=1e-3, warmup_steps=100,
        num_steps=4800, milestones=(2400,),
        solver="heun", sampler_steps=25, num_samples=1000, guided_samples=200,
        weights="power-0.1",
        data="cifar10", flip=True, overrides={"input_size": 32, "in_channels": 3, "num_classes": 10},
        evaluator=CIFAR10_EVALUATOR, hours=6),
    # CIFAR-10. Size, length, rate and warm-up are our choices, made before any run: about five minutes of
    # training on one GPU at 30% of an H100's bf16 peak (size B: twenty).
    Profile(
        name="gpu", model="SiT-S/2", sizes=("Mini", "Midi", "S", "B"),
        subsets=(2000, 10_000), larger_meanflow=("B", 1), longer=("S", 4),
        batch_size=256, lr=5e-4, warmup_steps=500,
        num_steps=10_000, milestones=(2500, 5000, 7500),
        solver="heun", sampler_steps=25, num_samples=5000, guided_samples=1000,
        weights="power-0.1",
        data="cifar10", flip=True, overrides={"input_size": 32, "in_channels": 3, "num_classes": 10},
        precision="bf16", evaluator=CIFAR10_EVALUATOR, gpus=1, cores=4, memory_gb=16, hours=1),
    # The paper's ablations: SiT-B/2, 80 epochs, no guidance, 250 grid points of Heun = 249 steps = 498 NFE.
    # MeanFlow's runs of the paper have no mirror images. FID takes ADM's statistics of the whole train split.
    # SiT-XL/2: 80 epochs without guidance and with 1.5, and 800. Of the paper's system level (2.06 to 1.97)
    # we haven't read the length, so it is no run here; a guided DiT and a MeanFlow of 80 epochs at that size
    # have no number of the paper: they are there to compare systems.
    # The second row of the sampler: 125 steps of Heun = 250 NFE, as SiT's authors report.
    Profile(
        name="paper", model="SiT-B/2", sizes=("S", "B", "L", "XL"),
        subsets=(20_000, 160_000), larger_meanflow=("XL", 3), longer=("XL", 10),
        batch_size=256, lr=1e-4, warmup_steps=0,
        num_steps=400_000, milestones=(200_000,),
        solver="heun", sampler_steps=249, second_steps=125, num_samples=50_000, guided_samples=0,
        weights="constant-0.9999",
        data="imagenet256-latents", flip=True, ema=("constant-0.9999",),
        precision="bf16", evaluator=FID_EVALUATOR, reference="VIRTUAL_imagenet256_labeled",
        unpublished=(
            "precision bf16", "no warm-up", "the milestone before the end",
            "λ 0.5 of hinge and covariance", "the hinge's ε 1", "the covariance's w 1",
            "contrastive candidates: the second view's rows", "restricted noise: |t − t'| ≤ 0.005",
            "MeanFlow's λ, τ and block: SiT's",
            "length and guidance of the network that samples are drawn by: 80 epochs, none",
        ),
        gpus=8, cores=32, memory_gb=128, hours=2),
)}
# fmt: on


def profile(name: str) -> Profile:
    """A row of the ladder by name.

    Raises:
        ConfigError: unknown name.
    """
    if not known(name, PROFILES):
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
