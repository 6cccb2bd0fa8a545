"""A small model, and the value and gradients that a tap should give."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.calls = 0

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.calls += 1
        return torch.tanh(self.linear(x))


class Model(nn.Module):
    """Four blocks; ``checkpointed`` is None or the value of use_reentrant; stops before ``stop``."""

    def __init__(self, checkpointed=None):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.checkpointed, self.stop = checkpointed, 4

    def forward(self, x):
        for block in self.blocks[: self.stop]:
            if self.checkpointed is None:
                x = block(x)
            else:
                x = checkpoint(block, x, use_reentrant=self.checkpointed)
        return x

    def encode(self, x):
        return self.forward(x)


def make(checkpointed=None):
    torch.manual_seed(0)
    return Model(checkpointed).requires_grad_(True)


def batch(seed=0, size=5):
    return torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))


def expected(model, x, index=2):
    """What block ``index`` outputs, by hand and without calling any module."""
    for block in list(model.blocks)[: index + 1]:
        linear = getattr(block, "_orig_mod", block).linear
        x = torch.tanh(x @ linear.weight.T + linear.bias)
    return x


def total(prediction, value):
    """A loss in which both the output and the tapped value have a gradient."""
    return prediction.square().mean() + 0.5 * value.square().mean()


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def expected_gradients(x):
    model = make()
    total(expected(model, x, 3), expected(model, x, 2)).backward()
    return gradients(model)


def assert_gradients(model, x):
    torch.testing.assert_close(gradients(model), expected_gradients(x))
    without = make()
    without(x).square().mean().backward()
    assert not torch.allclose(gradients(model)[0], gradients(without)[0], rtol=1e-3)
