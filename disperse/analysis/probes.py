"""What can be read from features: accuracy of a linear probe and of nearest neighbours.

Neither is what the network itself reads: a probe can find what no later layer uses, and miss what they use by
way of more than one layer.
"""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..data import ImageSet, load_data
from ..errors import ConfigError
from ..evaluation import Estimate
from ..evaluation.frechet import proportion
from ..losses.dispersive import check_positive
from ..losses.groups import check_tensor
from .geometry import rows_of
from .similarity import check_neighbours

MOST_STEPS = 1000  # of the probe's fit
CLASSES = 10  # that are read, where there are no held-out images and of each of many a probe would see few


def probe_sets(data: str, split: str, count: int) -> tuple[ImageSet, ImageSet]:
    """Images that a probe learns from, twice as many, and others that it reads; spread evenly over the set.

    Where there are none but those of training, as of latents, both are of it, and of ten of its classes.

    Args:
        data: name of the data set.
        split: of the images that are read; ``"train"``: there are no held-out ones.
        count: at most so many are read.

    Raises:
        DataError: the data are not there.
    """
    train = load_data(data, "train")
    if split != "train":
        return train.few(2 * count), load_data(data, split).few(count)
    classes = train.labels.unique()
    wanted = torch.isin(train.labels, classes[torch.arange(CLASSES) * len(classes) // CLASSES])
    rows = wanted.nonzero()[:, 0]
    seen = train.take(rows[train.labels[rows].argsort(stable=True)]).few(3 * count)
    shown = torch.arange(len(seen)) % 3 == 0  # class by class, so that every class is in both parts
    return seen.take((~shown).nonzero()[:, 0]), seen.take(shown.nonzero()[:, 0])


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, penalty: float = 1.0
) -> Estimate:
    """Accuracy of logistic regression on standardised features, with Wilson's 95% interval over test samples.

    How it misleads: it is trained, so it needs samples of its own (train and test must not share any), and
    with more dimensions than samples its penalty decides much: compare models at the same n and penalty. A
    linear probe of a *noised* image says how early the class is decided, not how good the features are.

    Args:
        train, test (Tensor): features (b, ...), of the same width.
        train_labels, test_labels (Tensor): classes, shape (b,).
        penalty: on the squared weights, > 0; larger is smoother.

    Raises:
        ConfigError: as many labels as rows are expected, the same width, two classes, penalty > 0; or the fit
            found no minimum, as with next to no penalty.
        NonFiniteError: NaN or infinity.
    """
    train, test = rows_of(train), rows_of(test)
    _check(train, train_labels)
    _check(test, test_labels)
    if train.shape[1] != test.shape[1]:
        raise ConfigError(f"features: expected one width, got {train.shape[1]} and {test.shape[1]}")
    classes = len(train_labels.unique())
    if classes < 2:
        raise ConfigError(f"train_labels: expected two classes or more, got {classes} of {len(train)} rows")
    check_positive("penalty", penalty)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=MOST_STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # a probe that stopped early is not this measure
        try:
            model.fit(train.numpy(), train_labels.cpu().numpy())
        except ConvergenceWarning:
            raise ConfigError(
                f"linear probe: no minimum after {MOST_STEPS} steps with penalty = {penalty:g}: "
                "take a larger one"
            ) from None
    right = model.predict(test.numpy()) == test_labels.cpu().numpy()
    return proportion(int(right.sum()), len(right))


def neighbour_accuracy(z: Tensor, labels: Tensor, *, neighbours: int = 10) -> Estimate:
    """Share of rows whose class is the commonest among their nearest others, with Wilson's 95% interval.

    Leave-one-out, by the cosine of centred rows; of classes that are equally common the one whose row is
    nearest wins. Chance is the share of the largest class.

    How it misleads: classes that are near each other *and* apart score 1 as well; it sees the neighbourhood
    and nothing beyond. It falls with the number of rows, not with the features alone.

    Args:
        z (Tensor): features (b, ...).
        labels (Tensor): classes, shape (b,).
        neighbours: from 1 to b − 1.

    Raises:
        ConfigError: as many labels as rows are expected, and neighbours in range.
        NonFiniteError: NaN or infinity.
    """
    z = rows_of(z)
    _check(z, labels)
    check_neighbours(neighbours, len(z))
    directions = torch.nn.functional.normalize(z - z.mean(dim=0), dim=1)
    similar = (directions @ directions.mT).fill_diagonal_(-torch.inf)
    nearest = labels.cpu()[similar.topk(neighbours, dim=1).indices]  # nearest first
    votes = (nearest[:, :, None] == nearest[:, None, :]).sum(dim=2)
    winner = nearest.gather(1, votes.argmax(dim=1, keepdim=True)).squeeze(1)  # the first of equals
    return proportion(int((winner == labels.cpu()).sum()), len(z))


def _check(z: Tensor, labels: Tensor) -> None:
    check_tensor("labels", labels)
    if labels.shape != (len(z),):
        raise ConfigError(f"labels: expected shape ({len(z)},), one of each row, got {tuple(labels.shape)}")
