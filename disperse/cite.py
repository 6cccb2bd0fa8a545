"""BibTeX of what a run, model, loss or sampler is built on: ``disperse.cite(spec)``."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from .data import DATASETS, LatentSet
from .errors import ConfigError, unknown
from .losses import VARIANTS, ContrastiveLoss, DispersiveLoss
from .models import DiffusionTransformer
from .models.presets import MODELS, preset
from .objectives import OBJECTIVES, Objective
from .regularizers import REGULARIZERS, Regularizer
from .sampling import SamplerConfig, all_solvers
from .spec import ObjectiveSpec, OptimizerSpec, RunSpec, TermSpec

ALWAYS = ("wang2025diffuse", "disperse")

# What isn't a method with a file of its own, which has its own entries.
SHARED = {
    "wang2025diffuse": """\
@article{wang2025diffuse,
  title = {Diffuse and Disperse: Image Generation with Representation Regularization},
  author = {Wang, Runqian and He, Kaiming},
  journal = {arXiv preprint arXiv:2506.09027},
  year = {2025}
}""",
    "disperse": """\
@software{disperse,
  title = {disperse: Dispersive Loss for diffusion models, as a plug-in and as a reproduction},
  author = {{The disperse authors}},
  version = {0.1.0},
  year = {2026}
}""",
    "song2021ddim": """\
@inproceedings{song2021ddim,
  title = {Denoising Diffusion Implicit Models},
  author = {Song, Jiaming and Meng, Chenlin and Ermon, Stefano},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2021}
}""",
    "dormand1980family": """\
@article{dormand1980family,
  title = {A family of embedded {Runge--Kutta} formulae},
  author = {Dormand, J. R. and Prince, P. J.},
  journal = {Journal of Computational and Applied Mathematics},
  volume = {6},
  number = {1},
  pages = {19--26},
  year = {1980}
}""",
    "ho2022guidance": """\
@article{ho2022guidance,
  title = {Classifier-Free Diffusion Guidance},
  author = {Ho, Jonathan and Salimans, Tim},
  journal = {arXiv preprint arXiv:2207.12598},
  year = {2022}
}""",
    "roy2007effective": """\
@inproceedings{roy2007effective,
  title = {The Effective Rank: A Measure of Effective Dimensionality},
  author = {Roy, Olivier and Vetterli, Martin},
  booktitle = {European Signal Processing Conference (EUSIPCO)},
  year = {2007}
}""",
    "garrido2023rankme": """\
@inproceedings{garrido2023rankme,
  title = {{RankMe}: Assessing the Downstream Performance of Pretrained Self-Supervised Representations
           by Their Rank},
  author = {Garrido, Quentin and Balestriero, Randall and Najman, Laurent and LeCun, Yann},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2023}
}""",
    "kornblith2019similarity": """\
@inproceedings{kornblith2019similarity,
  title = {Similarity of Neural Network Representations Revisited},
  author = {Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2019}
}""",
    "song2012feature": """\
@article{song2012feature,
  title = {Feature Selection via Dependence Maximization},
  author = {Song, Le and Smola, Alex and Gretton, Arthur and Bedo, Justin and Borgwardt, Karsten},
  journal = {Journal of Machine Learning Research},
  volume = {13},
  year = {2012}
}""",
    "huh2024platonic": """\
@inproceedings{huh2024platonic,
  title = {The {Platonic} Representation Hypothesis},
  author = {Huh, Minyoung and Cheung, Brian and Wang, Tongzhou and Isola, Phillip},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2024}
}""",
    "mcinnes2018umap": """\
@article{mcinnes2018umap,
  title = {{UMAP}: Uniform Manifold Approximation and Projection for Dimension Reduction},
  author = {McInnes, Leland and Healy, John and Melville, James},
  journal = {arXiv preprint arXiv:1802.03426},
  year = {2018}
}""",
    "narayan2021density": """\
@article{narayan2021density,
  title = {Assessing Single-Cell Transcriptomic Variability through Density-Preserving Data Visualization},
  author = {Narayan, Ashwin and Berger, Bonnie and Cho, Hyunghoon},
  journal = {Nature Biotechnology},
  volume = {39},
  year = {2021}
}""",
    "loshchilov2019adamw": """\
@inproceedings{loshchilov2019adamw,
  title = {Decoupled Weight Decay Regularization},
  author = {Loshchilov, Ilya and Hutter, Frank},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2019}
}""",
    "karras2024analyzing": """\
@inproceedings{karras2024analyzing,
  title = {Analyzing and Improving the Training Dynamics of Diffusion Models},
  author = {Karras, Tero and Aittala, Miika and Lehtinen, Jaakko and Hellsten, Janne and Aila, Timo and
            Laine, Samuli},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2024}
}""",
    "alpaydin1998digits": """\
@misc{alpaydin1998digits,
  title = {Optical Recognition of Handwritten Digits},
  author = {Alpaydin, E. and Kaynak, C.},
  howpublished = {UCI Machine Learning Repository},
  year = {1998}
}""",
    "krizhevsky2009cifar": """\
@techreport{krizhevsky2009cifar,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto},
  year = {2009}
}""",
    "xiao2017fashion": """\
@article{xiao2017fashion,
  title = {{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal = {arXiv preprint arXiv:1708.07747},
  year = {2017}
}""",
    "deng2009imagenet": """\
@inproceedings{deng2009imagenet,
  title = {{ImageNet}: A Large-Scale Hierarchical Image Database},
  author = {Deng, Jia and Dong, Wei and Socher, Richard and Li, Li-Jia and Li, Kai and Fei-Fei, Li},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2009}
}""",
    "rombach2022ldm": """\
@inproceedings{rombach2022ldm,
  title = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and
            Ommer, Bj{\\"o}rn},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2022}
}""",
}

# Name → keys of what isn't a method with a file of its own.
SOLVERS = {
    "ddim": ("song2021ddim",),
    "ddpm": ("ho2020ddpm",),
    "dopri5": ("dormand1980family",),
    "sde-euler": ("ma2024sit",),
    "sde-heun": ("ma2024sit",),
}
IMAGES = {
    "digits": ("alpaydin1998digits",),
    "cifar10": ("krizhevsky2009cifar",),
    "cifar16": ("krizhevsky2009cifar",),
    "fashion": ("xiao2017fashion",),
    "imagenet256-latents": ("deng2009imagenet", "rombach2022ldm"),
}
MEASURES = {
    "alignment": ("wang2020alignment",),
    "uniformity": ("wang2020alignment",),
    "effective_rank": ("roy2007effective", "garrido2023rankme"),
    "cka": ("kornblith2019similarity", "song2012feature"),
    "cknna": ("huh2024platonic", "kornblith2019similarity", "song2012feature"),
    "umap": ("mcinnes2018umap",),
    "densmap": ("narayan2021density", "mcinnes2018umap"),
}


def bibtex() -> dict[str, str]:
    """Key → entry of every work, those of the methods' own files among them."""
    methods: tuple[Any, ...] = (*OBJECTIVES.values(), *REGULARIZERS.values(), *VARIANTS.values())
    return SHARED | {key: entry for method in methods for key, entry in method.cites.items()}


def names() -> list[str]:
    """Every name that can be cited."""
    return [*MODELS, *OBJECTIVES, *VARIANTS, *DATASETS, *all_solvers(), *REGULARIZERS, *MEASURES]


def cite(*things: object) -> str:
    """Print and return BibTeX for the paper, this repository, and what ``things`` are built on.

    Args:
        things: any of a ``RunSpec``, a model of ours, a loss, an objective or a regulariser or the
            specification of one, a ``SamplerConfig``, or the name of a model, objective, variant, data set,
            solver, measure or projection: ``"SiT-B/2"``, ``"meanflow"``, ``"hinge"``, ``"cifar10"``,
            ``"ddim"``, ``"effective_rank"``.

    Returns:
        str: one entry per work, none twice, a blank line between them.

    Raises:
        ConfigError: something else.

    Example:
        cite(spec, SamplerConfig("dopri5", guidance=1.5))
    """
    used = {*ALWAYS, *(key for thing in things for key in keys(thing))}
    text = "\n\n".join(entry for key, entry in bibtex().items() if key in used)
    print(text)
    return text


def keys(thing: object) -> Iterator[str]:
    """Keys of ``bibtex`` that one thing uses, beside ``ALWAYS``; some may come twice."""
    match thing:
        case str():
            yield from _of_name(thing)
        case RunSpec():
            for part in (thing.model, thing.objective, *thing.regularizers, thing.optimizer, thing.data):
                yield from keys(part)
            if any(name.startswith("power") for name in thing.ema):
                yield "karras2024analyzing"
        case DiffusionTransformer():
            yield "peebles2023dit"  # the backbone of all
            yield from keys(thing.objective)
        case ObjectiveSpec():
            yield from OBJECTIVES[thing.kind].cited(thing)
        case Objective() | Regularizer():
            yield from keys(thing.spec)
        case DispersiveLoss() | ContrastiveLoss():
            yield from VARIANTS[thing.variant].cites
        case TermSpec():
            yield from REGULARIZERS[thing.kind].cites
            if (variant := getattr(thing, "variant", None)) in VARIANTS:
                yield from VARIANTS[variant].cites
        case OptimizerSpec():
            yield "loshchilov2019adamw"
        case SamplerConfig():
            yield from SOLVERS.get(thing.solver, ())
            if thing.guidance != 1:
                yield "ho2022guidance"
        case LatentSet():
            yield from IMAGES["imagenet256-latents"]
        case _:
            raise ConfigError(_refused(thing))


def _of_name(name: str) -> Iterator[str]:
    data = name.split("@")[0].split(":")[0]
    if name in MODELS:
        yield "peebles2023dit"
        yield from keys(preset(name).objective)
    elif data in DATASETS:
        yield from IMAGES.get(data, ())
    elif name in names():
        methods: dict[str, Any] = {**OBJECTIVES, **VARIANTS, **REGULARIZERS}
        yield from methods[name].cites if name in methods else ()
        for table in (SOLVERS, MEASURES):
            yield from table.get(name, ())
    else:
        raise unknown("cite", name, names())


def _refused(thing: object) -> str:
    cure = "of a model of your own, cite its authors"
    if isinstance(thing, Iterable) and not isinstance(thing, nn.Module):
        cure = "pass its items one by one, cite(*things)"
    return (
        f"cite: got a {type(thing).__name__}, expected a RunSpec, a model, loss, objective, regulariser or "
        f"sampler configuration of disperse, or a name such as 'SiT-B/2'; {cure}"
    )
