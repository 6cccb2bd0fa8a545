"""docs/plug-in.md: its code runs, its tables are those of the tests, its messages are what is said."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from disperse import DispersiveLoss, build_model, tap
from disperse.errors import DisperseError
from disperse.losses import PRESETS, NoPairsWarning

from .models import CASES, batch

GUIDE = (Path(__file__).parents[2] / "docs" / "plug-in.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)


def table(heading: str) -> list[list[str]]:
    """Rows of the first table under a heading, without its head."""
    lines = GUIDE.split(f"\n## {heading}\n")[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def namespace() -> dict[str, Any]:
    """What a reader has: a model, an optimiser, batches."""
    model = build_model("SiT-Nano/2")
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
        "loader": DataLoader(TensorDataset(*batch(size=64)), batch_size=16),
    }


@pytest.fixture(scope="module")
def executed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[dict[str, torch.Tensor]], dict[str, Any]]:
    """The weights before each block and after the last, and the names that the blocks left."""
    names, weights = namespace(), []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(tmp_path_factory.mktemp("guide"))  # Lightning writes where it runs
        warnings.simplefilter("ignore")  # Lightning's about workers and loggers
        for index, block in enumerate(BLOCKS):
            weights.append({key: value.clone() for key, value in names["model"].state_dict().items()})
            names["loader"] = namespace()["loader"]  # Accelerate's own doesn't fit into Lightning's trainer
            exec(compile(block, f"docs/plug-in.md, block {index}", "exec"), names)
    return [*weights, names["model"].state_dict()], names


def test_every_block_runs_and_those_that_train_do(executed: Any) -> None:
    weights, names = executed
    assert len(BLOCKS) == 6
    assert names["push"].norm() > names["pull"].norm(), "the ratio is said to be above 1"
    assert 1 < names["g"].effective_rank < len(names["z"].value)
    key = "blocks.0.attn.qkv.weight"  # before the tap
    changed = [not torch.equal(a[key], b[key]) for a, b in zip(weights, weights[1:], strict=False)]
    trains = ["optimizer.step()" in block or ".fit(" in block for block in BLOCKS]
    assert changed == trains
    assert sum(trains) == 3


def test_the_layers_named_are_those_tested() -> None:
    rows = {row[0]: row for row in table("Which layer")}
    for start, name in (
        ("`DiT", "DiTTransformer2DModel"), ("`SD3", "SD3Transformer2DModel"), ("`UNet2D", "UNet2DModel"),
        ("plain", "PlainUNet"),
    ):  # fmt: skip
        (row,) = [row for first, row in rows.items() if first.startswith(start)]
        select = CASES[name].select
        assert row[1:3] == [f"`{CASES[name].layer}`", "" if select is None else f"`{select}`"]


def test_the_settings_named_are_the_presets() -> None:
    for preset in PRESETS.values():
        assert f"λ = {preset.lam:g}, τ = {preset.tau:g}" in GUIDE
        assert re.search(rf"groups of {preset.local_batch}\b", GUIDE)


def test_how_alive_gaussian_features_are() -> None:
    spreads = [0.5, 1.0, 1.5, 2.0]
    for name, *shares in table("How much: λ and τ"):
        z = torch.randn(int(name.split()[0]), 8192, generator=torch.Generator().manual_seed(0))
        found = [DispersiveLoss().report(s * z).off_diagonal_weight for s in spreads]
        assert [float(share) for share in shares] == pytest.approx(found, abs=0.011)


def mistake(call: Any, *patterns: type[Exception]) -> str:
    with pytest.raises(patterns or (DisperseError,)) as caught:
        call()
    return str(caught.value)


def test_every_mistake_of_the_table_says_that() -> None:
    x, loss_fn = torch.randn(5, 8), DispersiveLoss()

    class Mistaken(nn.Module):
        def __init__(self, output: Any) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(8, 8)])
            self.layer, self.output = nn.Identity(), output

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.layer(self.output(self.blocks[0](x)))
            return x

    def value(output: Any, name: str = "layer") -> Any:
        model = Mistaken(output)
        with tap(model, name) as z:
            model(x)
        return z.value

    class Reentrant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.block, x, use_reentrant=True)

    def reentrant() -> Any:
        model = Reentrant()
        with tap(model, "block.0") as z:
            model(x.clone().requires_grad_())
        return z.value

    plain = Mistaken(lambda z: z)
    said = [
        mistake(lambda: tap(plain, "block.0")),
        mistake(lambda: tap(plain, "blocks")),
        mistake(lambda: tap(plain, "layer").value),
        mistake(lambda: value(lambda z: (z, z))),
        mistake(lambda: value(lambda z: z.expand(3, 5, 8))),
        mistake(lambda: value(lambda z: z.relu_(), "blocks.0")),
        mistake(reentrant),
        mistake(lambda: loss_fn(tap(plain, "layer"))),
        mistake(lambda: DispersiveLoss(local_batch=4)(x)),
        mistake(lambda: loss_fn(x > 0)),
        mistake(lambda: loss_fn(x[:1]), NoPairsWarning),
        mistake(lambda: loss_fn(x / 0)),
    ]  # fmt: skip
    rows = table("Mistakes, and what they say")
    assert len(rows) == len(said)
    for (what, message), found in zip(rows, said, strict=True):
        heart = message.strip("`")
        assert heart in found or (heart == "NoPairsWarning"), f"{what}: {found}"
