"""What the published index shows: a section for each item, drawn from the published results alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..experiments import Profile, item, seen_by
from ..experiments.compare import finals
from ..experiments.items import Cell
from ..store import Record
from .ablations import ABLATIONS, draw_ablation
from .beyond_fid import draw_beyond_fid
from .grid import draw_grid
from .guided import draw_guided
from .longer import draw_longer
from .meanflow import draw_meanflow
from .norm_cost import draw_norm_cost
from .norms import draw_norms
from .one_step import draw_one_step
from .per_timestep import draw_per_timestep
from .sampler import draw_convergence
from .scale import draw_scale
from .sizes import draw_model_size
from .systems import draw_systems
from .variants import draw_variants

Draw = Callable[[list[Record], list[Cell], Profile, Path], tuple[Path, ...]]


@dataclass(frozen=True)
class Section:
    """An item of the index.

    Attributes:
        title: its heading.
        notebook: that shows it.
        own: the item it is about: shown as soon as every label of it is published in some seed.
        draw: pool, cells, profile, folder → the files written.
        pictures: stem → alternative text.
        table: stem of its table; empty: none.
        beside: items whose runs are shown too.
        look: which look it draws on; then it is shown as soon as that is taken at one run.
        partly: shown as soon as one comparison is there.
        kept: pictures that are drawn from weights when results are published.
    """

    title: str
    notebook: str
    own: str
    draw: Draw
    pictures: dict[str, str]
    table: str = ""
    beside: tuple[str, ...] = ()
    look: str = ""
    partly: bool = False
    kept: dict[str, str] = field(default_factory=dict)

    def cells(self, pool: list[Record], row: Profile, seeds: tuple[int, ...]) -> list[Cell]:
        """What is to be drawn; none where too little is published."""
        own = item(self.own, row.name, seeds)
        every = [cell for name in self.beside for cell in item(name, row.name, seeds)] + own
        if self.look:
            return [cell for cell in every if seen_by(self.look, pool, cell, row)]
        there = finals(pool, every, row)
        wanted = {cell.label for cell in own}
        some = any(cell.against in there and cell.label in there for cell in own if cell.against)
        return every if wanted <= there.keys() or (self.partly and some) else []

    def there(self, kept: Path) -> dict[str, str]:
        """Its pictures: those it draws, and those in the folder ``kept`` that were drawn from weights."""
        return self.pictures | {
            stem: alt for stem, alt in self.kept.items() if (kept / f"{stem}.png").exists()
        }

    def markdown(self, folder: Path, kept: Path) -> str:
        """Heading, table and pictures."""
        parts = [f"## {self.title}\n"]
        if self.table:
            parts.append((folder / f"{self.table}.md").read_text(encoding="utf-8"))
        parts += [f"![{alt}]({folder.name}/{stem}.png)\n" for stem, alt in self.there(kept).items()]
        return "\n".join(parts)

    def index_row(self, folder: Path, kept: Path) -> str:
        """Its line in the list of what there is."""
        files = [f"[table]({folder.name}/{self.table}.md)"] if self.table else []
        for number, stem in enumerate(self.there(kept)):
            name = stem.replace("_", " ") if number else "picture"
            files.append(f"[{name}]({folder.name}/{stem}.png)")
        link = f"[`{self.notebook}`](../notebooks/{self.notebook}.ipynb)"
        return f"| {self.title} | {link} | {', '.join(files)} |\n"


def _nothing(*_: object) -> tuple[Path, ...]:
    return ()


def _sampler(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, ...]:
    records = [record for cell in cells for record in seen_by("sampler", pool, cell, row)]
    return folder / "sampler.md", draw_convergence(records, row, folder)


def _beyond_fid(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, ...]:
    """Every published seed of the pair, and of ``cells``, which are looked at, what the look says."""
    pair = item("pair", row.name, tuple(sorted({record["seed"] for record in pool})))
    return draw_beyond_fid(pool, pool, pair + cells, row, folder)


def _ablation(name: str) -> Section:
    def draw(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, ...]:
        return draw_ablation(name, pool, cells, row, folder)

    own = ABLATIONS[name]
    return Section(own.title, name, name, draw, {name: own.alt}, name, ("pair",), partly=True)


def _looked(draw: Callable[..., tuple[Path, ...]], *, twice: bool = False) -> Draw:
    """A drawing of looks from the published results, which hold them beside the profile's own evaluations."""

    def from_pool(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, ...]:
        return draw(*[pool] * (2 if twice else 1), cells, row, folder)

    return from_pool


SECTIONS = (
    Section(
        "Variants", "variants", "variants", draw_variants,
        {"variants": "Distances with intervals, and changes beside the paper's",
         "learning_curves": "Learning curves, norm, rank and direction"}, "variants", partly=True,
    ),
    Section(
        "Samples, picked and not", "samples", "large_pair", _nothing, {},
        kept={"samples": "Samples of the baseline and of the paper's setting from the same noise, in order",
              "samples_curated": "The samples of each of which the classifier is surest",
              "samples_pairs": "What the same noise becomes with and without the term, and how far apart"},
    ),
    Section(
        "What the representations look like", "03_representations", "pair", _nothing, {},
        kept={
            "representations": "Ten measures of both models' features, of every block at five noise levels",
            "representations_cosines": "Histograms of the cosines of all pairs of rows, raw and centred",
            "representations_similarity": "CKNNA and CKA of both models, and of each with a frozen encoder",
            "representations_plane": "Features of both models in the plane by PCA, UMAP and densMAP",
            "representations_density": "A wide and a tight cloud by each projection: UMAP shows them alike",
        },
    ),
    Section(
        "Variants beside their contrastive parents", "variants", "contrastive", draw_grid,
        {"variants_grid": "The paper's changes and ours, variant by kind of term"}, "variants_grid",
        ("variants",), partly=True,
    ),
    _ablation("blocks"),
    _ablation("lambda_tau"),
    Section(
        "The norms of all blocks", "norms", "blocks", draw_norms,
        {"norms": "Norm, rank and direction of every block for each regularised block"}, "norms", ("pair",),
    ),
    Section(
        "Model size", "model_size", "model_size", draw_model_size,
        {"model_size": "Distance, and change against the baseline, over the number of parameters"},
        "model_size", partly=True,
    ),
    Section(
        "Longer training", "longer_training", "longer", draw_longer,
        {"longer_training": "Long learning curves, and the change at each length"}, "longer_training",
        ("large_pair",), partly=True,
    ),
    Section(
        "Systems, with and without guidance", "systems", "systems_tour", _looked(draw_guided, twice=True),
        {"systems": "Distances and changes of SiT and DiT with and without guidance"}, "systems",
        ("large_pair",), look="systems",
    ),
    Section(
        "MeanFlow", "meanflow", "meanflow", draw_meanflow,
        {"meanflow": "Distances and changes of the paper's rows of MeanFlow, and the controls"}, "meanflow",
        partly=True,
    ),
    Section(
        "One step, and a few", "one_step", "systems_tour", _looked(draw_one_step),
        {"one_step": "Published one-step systems; our distance against network evaluations"}, "one_step",
        ("large_pair",), look="one_step",
    ),
    Section(
        "DiT, SiT and MeanFlow", "systems_tour", "systems_tour", draw_systems,
        {"systems_tour": "Learning curves of SiT, DiT and MeanFlow"}, "systems_tour",
        ("large_pair",), partly=True,
    ),
    Section(
        "Beyond the distance", "beyond_fid", "scale_of_effect", _beyond_fid,
        {"beyond_fid": "Precision, recall and agreement; copies and the gap of losses by training images"},
        "beyond_fid", ("pair",), look="against_training",
        kept={"nearest": "Samples beside the training images that they are nearest to"},
    ),
    Section(
        "Noise level by noise level", "per_timestep", "pair", _looked(draw_per_timestep),
        {"per_timestep": "Features, loss and gradients of both terms by noise level"}, "per_timestep",
        look="against_training",
    ),
    _ablation("contrastive_to_dispersive"),
    _ablation("local_batch"),
    Section(
        "Where does the sign change?", "scale_of_effect", "scale_of_effect", draw_scale,
        {"scale_of_effect": "Change by model size, data and length of training"}, "scale_of_effect",
        ("model_size",), partly=True,
    ),
    Section(
        "Why it is slower at first", "norm_cost", "norm_cost", draw_norm_cost,
        {"norm_cost": "Learning curves and distance against feature norm"}, "norm_cost",
        ("variants", "pair_longer"), partly=True,
    ),
    Section(
        "Has the distance converged?", "sampler", "pair", _sampler,
        {"sampler": "The distance, and what the term changes of it, by solver and network evaluations"},
        "sampler", look="sampler",
    ),
)  # fmt: skip
