"""BibTeX of what a run, model, loss or sampler is built on: ``disperse.cite(spec)``."""

import math
from collections.abc import Iterable, Iterator

from torch import nn

from .data import DATASETS, LatentSet
from .errors import ConfigError, unknown
from .losses import VARIANTS, ContrastiveLoss, DispersiveLoss
from .models import DiffusionTransformer
from .models.presets import MODELS, preset
from .objectives import GaussianDiffusion, Interpolant, MeanFlow
from .regularizers import AlignmentRegularizer, ContrastiveRegularizer, DispersiveRegularizer
from .sampling import SamplerConfig
from .sampling.config import ALL_SOLVERS
from .spec import (
    OBJECTIVES,
    AlignmentSpec,
    ContrastiveSpec,
    DispersiveSpec,
    DiTSpec,
    MeanFlowSpec,
    OptimizerSpec,
    RunSpec,
    SiTSpec,
)

ALWAYS = ("wang2025diffuse", "disperse")

BIBTEX = {
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
    "peebles2023dit": """\
@inproceedings{peebles2023dit,
  title = {Scalable Diffusion Models with Transformers},
  author = {Peebles, William and Xie, Saining},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023}
}""",
    "ma2024sit": """\
@inproceedings{ma2024sit,
  title = {{SiT}: Exploring Flow and Diffusion-based Generative Models with Scalable Interpolant
           Transformers},
  author = {Ma, Nanye and Goldstein, Mark and Albergo, Michael S. and Boffi, Nicholas M. and
            Vanden-Eijnden, Eric and Xie, Saining},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2024}
}""",
    "geng2025meanflow": """\
@article{geng2025meanflow,
  title = {Mean Flows for One-step Generative Modeling},
  author = {Geng, Zhengyang and Deng, Mingyang and Bai, Xingjian and Kolter, J. Zico and He, Kaiming},
  journal = {arXiv preprint arXiv:2505.13447},
  year = {2025}
}""",
    "ho2020ddpm": """\
@inproceedings{ho2020ddpm,
  title = {Denoising Diffusion Probabilistic Models},
  author = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2020}
}""",
    "nichol2021improved": """\
@inproceedings{nichol2021improved,
  title = {Improved Denoising Diffusion Probabilistic Models},
  author = {Nichol, Alexander Quinn and Dhariwal, Prafulla},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2021}
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
    "oord2018cpc": """\
@article{oord2018cpc,
  title = {Representation Learning with Contrastive Predictive Coding},
  author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},
  journal = {arXiv preprint arXiv:1807.03748},
  year = {2018}
}""",
    "hadsell2006dimensionality": """\
@inproceedings{hadsell2006dimensionality,
  title = {Dimensionality Reduction by Learning an Invariant Mapping},
  author = {Hadsell, Raia and Chopra, Sumit and LeCun, Yann},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2006}
}""",
    "zbontar2021barlow": """\
@inproceedings{zbontar2021barlow,
  title = {Barlow Twins: Self-Supervised Learning via Redundancy Reduction},
  author = {Zbontar, Jure and Jing, Li and Misra, Ishan and LeCun, Yann and Deny, St{\\'e}phane},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2021}
}""",
    "wang2020alignment": """\
@inproceedings{wang2020alignment,
  title = {Understanding Contrastive Representation Learning through Alignment and Uniformity on the
           Hypersphere},
  author = {Wang, Tongzhou and Isola, Phillip},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2020}
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

# Name → keys. The dispersive losses are those of the paper made from these contrastive ones.
PARENTS = {
    "infonce-l2": ("oord2018cpc",),
    "infonce-cosine": ("oord2018cpc",),
    "hinge": ("hadsell2006dimensionality",),
    "covariance": ("zbontar2021barlow",),
}
SYSTEMS = {
    "dit": ("peebles2023dit", "ho2020ddpm", "nichol2021improved"),
    "sit": ("ma2024sit",),
    "meanflow": ("geng2025meanflow",),
}
SOLVERS = {
    "ddim": ("song2021ddim",),
    "ddpm": ("ho2020ddpm",),
    "dopri5": ("dormand1980family",),
    "meanflow": ("geng2025meanflow",),
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
NAMES = [*MODELS, *OBJECTIVES, *VARIANTS, *DATASETS, *ALL_SOLVERS, *MEASURES]


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
    text = "\n\n".join(entry for key, entry in BIBTEX.items() if key in used)
    print(text)
    return text


def keys(thing: object) -> Iterator[str]:
    """Keys of ``BIBTEX`` that one thing uses, beside ``ALWAYS``; some may come twice."""
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
        case SiTSpec() | DiTSpec() | MeanFlowSpec():
            yield from SYSTEMS[thing.kind]
            if isinstance(thing, MeanFlowSpec) and not math.isclose(thing.omega, 1 - thing.kappa):
                yield "ho2022guidance"
        case GaussianDiffusion():
            yield from SYSTEMS["dit"]
        case Interpolant() | MeanFlow():
            yield from keys(thing.spec)
        case DispersiveLoss() | ContrastiveLoss() | DispersiveSpec() | ContrastiveSpec():
            yield from PARENTS[thing.variant]
        case DispersiveRegularizer() | ContrastiveRegularizer():
            yield from keys(thing.loss)
        case AlignmentSpec() | AlignmentRegularizer():
            yield from MEASURES["alignment"]
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
    elif name in NAMES:
        for table in (SYSTEMS, PARENTS, SOLVERS, MEASURES):
            yield from table.get(name, ())
    else:
        raise unknown("cite", name, NAMES)


def _refused(thing: object) -> str:
    cure = "of a model of your own, cite its authors"
    if isinstance(thing, Iterable) and not isinstance(thing, nn.Module):
        cure = "pass its items one by one, cite(*things)"
    return (
        f"cite: got a {type(thing).__name__}, expected a RunSpec, a model, loss, objective, regulariser or "
        f"sampler configuration of disperse, or a name such as 'SiT-B/2'; {cure}"
    )
