"""The committed figures: redrawn from ``results.jsonl``, without training."""

from pathlib import Path

from .. import atomic
from ..errors import StorageError
from ..experiments import Profile, home, item, profile, published, seen_by
from ..experiments.compare import compare, finals
from ..experiments.items import Cell
from ..experiments.store import Record
from ..experiments.tables import variants_markdown
from .ablations import ABLATIONS, draw_ablation
from .grid import draw_grid
from .norm_cost import draw_norm_cost
from .sampler import draw_convergence
from .systems import draw_systems
from .variants import draw_variants


def draw_published(profile_name: str, into: Path | None = None) -> list[Path]:
    """Redraw every published figure and table of a profile, and the index of all.

    Args:
        profile_name: row of the ladder.
        into: where ``<profile>/`` and the index go; ``figures`` by default.

    Raises:
        StorageError: too little is published for that profile, or a result was edited.
    """
    row, pool = profile(profile_name), published(profile_name)
    if not pool:
        raise StorageError(f"figures/{profile_name}/results.jsonl: nothing published; run `disperse publish`")
    seeds = tuple(sorted({record["seed"] for record in pool}))
    into = home() / "figures" if into is None else into
    folder = into / profile_name
    cells = item("variants", profile_name, seeds)
    finished = {entry.label for entry in compare(pool, cells, row)}
    if not {"baseline"} < finished:
        raise StorageError(
            f"figures/{profile_name}/results.jsonl: expected the baseline and a variant at the profile's "
            f"length and protocol, found {', '.join(sorted(finished)) or 'none'}; run `disperse reproduce`, "
            "then `disperse publish`"
        )
    paths: list[Path] = [*draw_variants(pool, cells, row, folder)]
    paths += draw_grid(pool, cells + item("contrastive", profile_name, seeds), row, folder)
    every = [c for name in ("variants", "norm_cost", "longer") for c in item(name, profile_name, seeds)]
    paths += draw_norm_cost(pool, every, row, folder)
    shown = _published_ablations(pool, row, seeds)
    for name, own in shown.items():
        paths += draw_ablation(name, pool, own, row, folder)
    systems = item("systems_tour", profile_name, seeds)
    toured = bool(finals(pool, systems, row))
    if toured:
        paths += draw_systems(pool, item("pair", profile_name, seeds) + systems, row, folder)
    measured = [r for cell in item("pair", profile_name, seeds) if cell.label == "baseline"
                for r in seen_by("sampler", pool, cell, row)]  # fmt: skip
    paths += [draw_convergence(measured, row, folder)] if measured else []
    index = into / "README.md"
    template = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    table = variants_markdown(compare(pool, cells, row), row)
    atomic.write_text(
        index,
        template.format(
            profile=profile_name,
            table=table,
            grid=(folder / "variants_grid.md").read_text(encoding="utf-8"),
            samples=_samples_section(home() / "figures" / profile_name),
            norm_cost=(folder / "norm_cost.md").read_text(encoding="utf-8"),
            ablations="".join(_ablation_section(name, folder) for name in shown),
            ablation_rows="".join(_ablation_row(name, folder) for name in shown),
            systems=_systems_section(folder) if toured else "",
            evaluations=len(pool),
            runs=len({record["fingerprint"] for record in pool}),
        ),
    )
    return [*paths, index]


def _samples_section(folder: Path) -> str:
    """The grid of samples, if it was drawn: that needs weights, which are not published."""
    picture = folder / "samples.png"
    if not picture.exists():
        return ""
    alt = "Samples of the baseline and of the paper's setting from the same noise"
    return f"## Samples\n\n![{alt}]({folder.name}/{picture.name})\n\n"


def _published_ablations(pool: list[Record], row: Profile, seeds: tuple[int, ...]) -> dict[str, list[Cell]]:
    """Items of ``ABLATIONS`` that are published whole in some seed, with the runs that they stand beside."""
    found = {}
    for name in ABLATIONS:
        cells = item(name, row.name, seeds)
        if finals(pool, cells, row).keys() == {cell.label for cell in cells}:
            found[name] = item("pair", row.name, seeds) + cells
    return found


def _ablation_section(name: str, folder: Path) -> str:
    table = (folder / f"{name}.md").read_text(encoding="utf-8")
    return f"## {ABLATIONS[name].title}\n\n{table}\n![{ABLATIONS[name].alt}]({folder.name}/{name}.png)\n\n"


def _systems_section(folder: Path) -> str:
    table = (folder / "systems_tour.md").read_text(encoding="utf-8")
    picture = f"![Learning curves of SiT, DiT and MeanFlow]({folder.name}/systems_tour.png)"
    return f"## DiT, SiT and MeanFlow\n\n{table}\n{picture}\n\n"


def _ablation_row(name: str, folder: Path) -> str:
    links = f"[table]({folder.name}/{name}.md), [picture]({folder.name}/{name}.png)"
    return f"| {ABLATIONS[name].title} | [`{name}`](../notebooks/{name}.ipynb) | {links} |\n"
