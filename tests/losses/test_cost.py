"""What the losses cost: no (b, b, d) tensor, one product each way, the right kernels."""

from shutil import which
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from disperse.losses import DispersiveLoss
from disperse.losses.distances import _full_precision

from .cases import DIAGONALS, NAMES, features, function

B, D = 32, 64


class Record(TorchDispatchMode):
    """Notes each operator and the largest tensor that any of them returned."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators.append(func.overloadpacket.__name__)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.largest = max(self.largest, leaf.numel(), storage_size(leaf))
        return result

    def products(self) -> int:
        """How many matrix products were taken."""
        return sum(name in ("mm", "bmm", "addmm", "baddbmm", "einsum") for name in self.operators)


def storage_size(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def test_record_sees_an_explicit_difference() -> None:
    z = features(B, D).float().requires_grad_()
    with Record() as seen:
        (z[:, None] - z[None]).square().sum().backward()
    assert seen.largest == B * B * D
    with Record() as seen:
        (z @ z.mT).sum().backward()
    assert seen.products() == 3


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_large_buffer_and_one_product_each_way(name: str, diagonal: str, dtype: torch.dtype) -> None:
    z = features(B, D).to(dtype).requires_grad_()
    with Record() as forward:
        value = function(name)(z, diagonal=diagonal)
    with Record() as backward:
        (gradient,) = torch.autograd.grad(value, z)
    assert gradient.abs().sum() > 0 or name == "hinge"
    limit = max(B * D, B * B)
    assert 0 < forward.largest <= limit
    assert 0 < backward.largest <= limit
    assert (forward.products(), backward.products()) == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_large_is_saved_for_backward(name: str) -> None:
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(storage_size(tensor))
        return tensor

    z = features(B, D).float().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        DispersiveLoss(name, local_batch=16)(z)
    assert 0 < max(sizes) <= max(B * D, B * B)


@pytest.mark.parametrize("name", NAMES)
def test_backward_scatters_no_diagonal(name: str) -> None:
    # Compiled, that operator can give wrong gradients: see the next test.
    z = features(8, 5).requires_grad_()
    value = function(name)(z)
    with Record() as seen:
        torch.autograd.grad(value, z)
    assert seen.operators
    assert not {"diagonal_backward", "diagonal", "diagonal_scatter"} & set(seen.operators)


@pytest.mark.skipif(not (which("g++") or which("clang++")), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_compiled_gradient() -> None:
    z = features(16, 40, std=0.7).float().requires_grad_()
    loss = DispersiveLoss("hinge")
    (expected,) = torch.autograd.grad(loss(z), z)
    (gradient,) = torch.autograd.grad(torch.compile(loss, fullgraph=True)(z), z)
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="PyTorch before 2.9")
def test_products_use_no_reduced_float32() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        # Both ways to ask for TF32; after the second, the getter of the first raises.
        torch.set_float32_matmul_precision("high")
        for _ in range(2):
            with _full_precision("cuda"):
                assert matmul.fp32_precision == "ieee"
            assert matmul.fp32_precision == "tf32"
            torch.set_float32_matmul_precision("highest")
            matmul.fp32_precision = "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = before
