"""BibTeX of what was used: well formed, complete, once each, and as CITATION.cff has it."""

import inspect
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import disperse
from disperse import DispersiveLoss, RunSpec, build_model
from disperse.analysis import project, similarity
from disperse.analysis.geometry import uniformity
from disperse.analysis.projection import METHODS
from disperse.cite import ALWAYS, IMAGES, MEASURES, bibtex, cite, keys, names
from disperse.data import DATASETS, LatentSet
from disperse.errors import ConfigError
from disperse.losses import VARIANTS, ContrastiveLoss
from disperse.objectives import OBJECTIVES, DiTSpec, MeanFlowSpec, build_objective
from disperse.regularizers import AlignmentSpec, ContrastiveSpec, DispersiveSpec, build_regularizer
from disperse.sampling import SamplerConfig
from disperse.spec import OptimizerSpec

BIBTEX = bibtex()
REPOSITORY = Path(__file__).parents[1]
REQUIRED = {
    "article": {"title", "author", "journal", "year"},
    "inproceedings": {"title", "author", "booktitle", "year"},
    "techreport": {"title", "author", "institution", "year"},
    "misc": {"title", "author", "howpublished", "year"},
    "software": {"title", "author", "version", "year"},
}


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Key → fields of each entry; braces must match, and nothing stand outside entries."""
    entries: dict[str, dict[str, str]] = {}
    while text := text.strip():
        head = re.match(r"@(\w+)\{([a-z0-9]+),\s*", text)
        assert head, text[:60]
        text, fields = text[head.end() :], {"": head[1]}
        while not text.startswith("}"):
            name = re.match(r"(\w+) = \{", text)
            assert name, text[:60]
            depth, end = 1, name.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            assert name[1] not in fields
            fields[name[1]] = " ".join(text[name.end() : end - 1].split())
            text = text[end:].lstrip(", \n")
        text = text[1:]
        assert head[2] not in entries, f"{head[2]} twice"
        entries[head[2]] = fields
    return entries


def test_every_entry_is_bibtex_under_its_own_key() -> None:
    for key, entry in BIBTEX.items():
        ((found, fields),) = parsed(entry).items()
        assert found == key
        assert fields.keys() - {""} >= REQUIRED[fields[""]]
        assert all(fields.values())
        assert re.fullmatch(r"(19|20)\d\d", fields["year"])
        assert fields["year"] in key or key == "disperse"
        assert entry.isascii(), "old BibTeX knows no accents"


def test_a_broken_entry_is_seen() -> None:
    for broken in (
        "@misc{a1,\n title = {x{y}\n}",
        "@misc{a1,\n title {x}\n}",
        "text",
        BIBTEX["disperse"] * 2,
    ):
        with pytest.raises((AssertionError, IndexError)):
            parsed(broken)


def test_nothing_given_is_the_paper_and_this_repository(capsys: pytest.CaptureFixture[str]) -> None:
    text = disperse.cite()
    assert capsys.readouterr().out == text + "\n"
    assert tuple(parsed(text)) == ALWAYS


# What is given, and what it adds.
USES = [
    (RunSpec(), "peebles2023dit ma2024sit loshchilov2019adamw karras2024analyzing alpaydin1998digits"),
    (
        RunSpec(
            model="DiT-Nano/2", objective="dit", data="cifar10:500", ema=("constant-0.99",),
            regularizers=(DispersiveSpec(variant="hinge"), AlignmentSpec()),
        ),
        "peebles2023dit ho2020ddpm nichol2021improved hadsell2006dimensionality wang2020alignment "
        "loshchilov2019adamw krizhevsky2009cifar",
    ),
    (build_model("SiT-Nano/2"), "peebles2023dit ma2024sit"),
    (build_model("MF-Nano/2"), "peebles2023dit geng2025meanflow"),
    ("SiT-B/2", "peebles2023dit ma2024sit"),
    ("DiT-XL/2", "peebles2023dit ho2020ddpm nichol2021improved"),
    ("MF-B/4", "peebles2023dit geng2025meanflow ho2022guidance"),
    (DiTSpec(), "peebles2023dit ho2020ddpm nichol2021improved"),
    (MeanFlowSpec(), "geng2025meanflow"),
    (MeanFlowSpec(omega=0.2, kappa=0.8), "geng2025meanflow"),  # 0.2/(1 − 0.8) = 1 but for rounding
    (MeanFlowSpec(omega=2.0), "geng2025meanflow ho2022guidance"),
    (DispersiveLoss("infonce-cosine"), "oord2018cpc"),
    (DispersiveLoss("covariance"), "zbontar2021barlow"),
    (ContrastiveLoss("hinge"), "hadsell2006dimensionality"),
    (ContrastiveSpec(), "oord2018cpc"),
    (OptimizerSpec(), "loshchilov2019adamw"),
    (SamplerConfig(), ""),
    (SamplerConfig(guidance=1.5), "ho2022guidance"),
    (SamplerConfig("dopri5"), "dormand1980family"),
    (SamplerConfig("ddim", 50, guidance=4.0), "ho2022guidance song2021ddim"),
    ("ddpm", "ho2020ddpm"),
    ("sde-heun", "ma2024sit"),
    ("meanflow", "geng2025meanflow"),
    ("uniformity", "wang2020alignment"),
    ("effective_rank", "roy2007effective garrido2023rankme"),
    ("cka", "kornblith2019similarity song2012feature"),
    ("cknna", "huh2024platonic kornblith2019similarity song2012feature"),
    ("umap", "mcinnes2018umap"),
    ("densmap", "narayan2021density mcinnes2018umap"),
    ("imagenet256-latents", "deng2009imagenet rombach2022ldm"),
    ("cifar10@0123abcd", "krizhevsky2009cifar"),
    ("cifar16:500", "krizhevsky2009cifar"),
    ("fashion", "xiao2017fashion"),
]  # fmt: skip


@pytest.mark.parametrize(("thing", "expected"), USES, ids=lambda value: str(value)[:30])
def test_what_a_thing_adds(thing: object, expected: str) -> None:
    assert set(parsed(cite(thing))) == {*ALWAYS, *expected.split()}


def test_what_was_built_is_cited_as_its_specification() -> None:
    for name, row in OBJECTIVES.items():
        spec = row.Spec()
        assert set(keys(build_objective(spec, 10))) == set(keys(spec)) == set(keys(name))
    for spec in (DispersiveSpec(variant="hinge"), ContrastiveSpec(variant="covariance"), AlignmentSpec()):
        assert set(keys(build_regularizer(spec, 4))) == set(keys(spec)) != set()


def test_every_measure_that_names_a_source_can_be_cited_by_its_name() -> None:
    texts = {
        name: inspect.getdoc(function) or ""
        for module in (similarity, inspect.getmodule(uniformity))
        for name, function in inspect.getmembers(module, inspect.isfunction)
    }
    texts = {name: text.partition("Source:")[2] for name, text in texts.items() if "Source:" in text}
    texts |= dict.fromkeys(METHODS[1:], (inspect.getdoc(project) or "").partition("Source:")[2])
    assert texts.keys() | {"alignment"} == MEASURES.keys()
    for name, text in texts.items():
        for key in MEASURES[name]:
            work = parsed(BIBTEX[key])[key]
            assert re.search(rf"{work['author'].split(',')[0]}\b[^;]* {work['year']}", text), (name, key)


def test_several_things_once_each_in_the_order_of_the_table() -> None:
    found = list(parsed(cite("uniformity", "SiT-B/2", RunSpec(), AlignmentSpec(), "digits")))
    assert found == [key for key in BIBTEX if key in found]
    assert len(found) == len(set(found))


def test_every_key_can_be_reached() -> None:
    reached = {*ALWAYS, *(key for thing in [*names(), RunSpec()] for key in keys(thing))}
    assert reached == BIBTEX.keys()
    assert all(record.cites for record in VARIANTS.values())
    assert IMAGES.keys() == DATASETS.keys(), "a new data set wants its source cited"


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ("SiT-B/3", "cite = 'SiT-B/3': expected one of "),
        ("hing", 'did you mean "hinge"?'),
        (
            nn.Linear(2, 2),
            "cite: got a Linear, expected a RunSpec, .*of a model of your own, cite its authors",
        ),
        ([RunSpec()], r"cite: got a list, .*pass its items one by one, cite\(\*things\)"),
        (None, "cite: got a NoneType"),
        (torch.zeros(2), "cite: got a Tensor"),
    ],
)
def test_what_can_not_be_cited(thing: object, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        cite(RunSpec(), thing)
    assert "\n" not in str(caught.value)
    assert not capsys.readouterr().out


def test_citation_file_agrees() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    entries = parsed(cite())
    ours, paper = entries["disperse"], entries["wang2025diffuse"]
    assert ours["title"] == citation["title"]
    assert ours["version"] == citation["version"] == disperse.__version__
    assert ours["author"] == "{" + citation["authors"][0]["name"] + "}"
    assert citation["date-released"].startswith(ours["year"])
    (reference,) = citation["references"]
    assert paper["title"] == reference["title"]
    names = [f"{author['family-names']}, {author['given-names']}" for author in reference["authors"]]
    assert paper["author"] == " and ".join(names)
    assert paper["year"] == str(reference["year"])
    assert reference["notes"].removeprefix("arXiv:") in paper["journal"]


def test_latents_are_those_of_imagenet() -> None:
    assert set(keys(LatentSet.__new__(LatentSet))) == {"deng2009imagenet", "rombach2022ldm"}
