"""The small networks whose features the Fréchet distance compares: classifiers and encoders."""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureNetwork(nn.Module, ABC):
    """A network with features of an image; a classifier has a ``head`` from them to its class scores."""

    num_features: int
    head: nn.Module

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """(b, c, h, w) in [−1, 1] → (b, d)."""


class DigitsClassifier(FeatureNetwork):
    """Three convolutions and two dense layers on 8×8 grey images."""

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.dense = nn.Linear(64 * 4 * 4, self.num_features)
        self.head = nn.Linear(self.num_features, 10)

    def features(self, x: Tensor) -> Tensor:
        """(b, 1, 8, 8) in [−1, 1] → (b, 64): the layer before the class scores, after its ReLU."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.relu(self.conv3(F.max_pool2d(x, 2)))
        return F.relu(self.dense(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """(b, 1, 8, 8) → class scores (b, 10)."""
        return self.head(self.features(x))


class Cifar10Classifier(FeatureNetwork):
    """A narrow residual network on 32×32 colour images: 413k parameters, 24M products an image.

    Eight convolutions of 16 to 128 channels, each with batch norm and ReLU; three poolings by 2.
    """

    num_features = 128

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 16)
        self.conv1 = _Convolution(16, 32)
        self.block1 = nn.Sequential(_Convolution(32, 32), _Convolution(32, 32))
        self.conv2 = _Convolution(32, 64)
        self.conv3 = _Convolution(64, 128)
        self.block3 = nn.Sequential(_Convolution(128, 128), _Convolution(128, 128))
        self.head = nn.Linear(self.num_features, 10)

    def features(self, x: Tensor) -> Tensor:
        """(b, 3, 32, 32) in [−1, 1] → (b, 128): the mean over places of the last block."""
        x = F.max_pool2d(self.conv1(self.stem(x)), 2)
        x = F.max_pool2d(self.conv2(x + self.block1(x)), 2)
        x = F.max_pool2d(self.conv3(x), 2)
        return (x + self.block3(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, 32, 32) → class scores (b, 10)."""
        return self.head(self.features(x))


class FashionClassifier(FeatureNetwork):
    """Four convolutions with batch norm and a dense layer on 28×28 grey images: 192k parameters.

    The features have no activation after them, so that none can be dead.
    """

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(1, 32)
        self.conv1 = _Convolution(32, 64)
        self.conv2 = _Convolution(64, 64)
        self.conv3 = _Convolution(64, 64)
        self.dense = nn.Linear(64 * 3 * 3, self.num_features)
        self.head = nn.Sequential(nn.GELU(), nn.Linear(self.num_features, 10))

    def features(self, x: Tensor) -> Tensor:
        """(b, 1, 28, 28) in [−1, 1] → (b, 64): the layer before the last activation."""
        x = F.max_pool2d(self.stem(x), 2)
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(x + self.conv3(self.conv2(x)), 2)
        return self.dense(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """(b, 1, 28, 28) → class scores (b, 10)."""
        return self.head(self.features(x))


class Encoder(FeatureNetwork):
    """Three convolutions and a dense layer without activation: features of images learned without labels.

    Args:
        shape: (c, h, w) of the images.
        num_features: d.
        halvings: after which of the first two convolutions the map is averaged to half its size.
    """

    def __init__(self, shape: tuple[int, int, int], num_features: int, halvings: tuple[bool, bool]):
        super().__init__()
        channels, height, width = shape
        self.num_features, self.halvings = num_features, halvings
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        factor = 2 ** sum(halvings)
        self.dense = nn.Linear(64 * (height // factor) * (width // factor), num_features)

    def features(self, x: Tensor) -> Tensor:
        """(b, c, h, w) in [−1, 1] → (b, d)."""
        for convolution, halved in zip((self.conv1, self.conv2), self.halvings, strict=True):
            x = F.gelu(convolution(x))
            x = F.avg_pool2d(x, 2) if halved else x
        return self.dense(F.gelu(self.conv3(x)).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        return self.features(x)


# Data set -> arguments of its encoder.
ENCODERS: dict[str, tuple[tuple[int, int, int], int, tuple[bool, bool]]] = {
    "digits": ((1, 8, 8), 32, (False, True)),
    "fashion": ((1, 28, 28), 64, (True, True)),
    "cifar16": ((3, 16, 16), 64, (True, True)),
}


class _Convolution(nn.Module):
    """3×3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, c', h, w)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)
