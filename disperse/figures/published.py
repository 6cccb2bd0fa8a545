"""The committed figures: redrawn from ``results.jsonl``, without training."""

from pathlib import Path

from .. import atomic
from ..errors import StorageError
from ..experiments import home, item, profile, published
from ..experiments.tables import variants_markdown, variants_table
from .norm_cost import draw_norm_cost
from .variants import draw_variants


def draw_published(profile_name: str) -> list[Path]:
    """Redraw every published figure and table of a profile, and the index of all.

    Raises:
        StorageError: nothing is published for that profile, or a result was edited.
    """
    row, pool = profile(profile_name), published(profile_name)
    if not pool:
        raise StorageError(f"figures/{profile_name}/results.jsonl: nothing published; run `disperse publish`")
    seeds = tuple(sorted({record["seed"] for record in pool}))
    folder = home() / "figures" / profile_name
    cells = item("variants", profile_name, seeds)
    paths: list[Path] = [*draw_variants(pool, cells, row, folder)]
    paths += draw_norm_cost(pool, item("norm_cost", profile_name, seeds), row, folder)
    index = home() / "figures" / "README.md"
    template = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    table = variants_markdown(variants_table(pool, cells, row), row)
    atomic.write_text(
        index,
        template.format(
            profile=profile_name,
            table=table,
            norm_cost=(folder / "norm_cost.md").read_text(encoding="utf-8"),
            evaluations=len(pool),
            runs=len({record["fingerprint"] for record in pool}),
        ),
    )
    return [*paths, index]
