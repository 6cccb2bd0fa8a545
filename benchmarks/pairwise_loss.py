"""Time and accuracy of the ℓ2 dispersive loss, forward and backward, beside its ``pdist`` form.

Both run in one process, in turn, so that whatever else the machine does hits both alike: the ratio
means something, the absolute times little. Writes no files.

    python benchmarks/pairwise_loss.py --batch 256 --dim 65536 --repeats 7
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from disperse.losses import infonce_l2

TAU = 0.5
MIB = 2**20
Loss = Callable[[Tensor], Tensor]


def ours(z: Tensor) -> Tensor:
    """The library's loss."""
    return infonce_l2(z, tau=TAU)


def pdist_form(z: Tensor) -> Tensor:
    """``log E_ij[exp(−D_ij/τ)]``: each pair i < j counts twice, and b pairs i = j have D = 0."""
    b, d = z.shape
    squared = torch.pdist(z).square() / d
    return ((2 * torch.exp(-squared / TAU).sum() + b) / b**2).log()


FORMS: dict[str, Loss] = {"ours": ours, "pdist": pdist_form}


def gradient(loss: Loss, z: Tensor) -> Tensor:
    """One forward and backward pass."""
    leaf = z.detach().requires_grad_()
    (result,) = torch.autograd.grad(loss(leaf), leaf)
    return result


def extra_memory(loss: Loss, z: Tensor) -> int:
    """Peak bytes that one pass allocates beyond what is held already (CUDA)."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradient(loss, z)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure(device: str, batch: int, dim: int, repeats: int) -> None:
    """Print the table of one device."""
    generator = torch.Generator().manual_seed(0)
    z = (0.7 * torch.randn(batch, dim, generator=generator)).to(device)
    exact = gradient(pdist_form, z.double())
    errors = {
        name: ((gradient(loss, z).double() - exact).norm() / exact.norm()).item()
        for name, loss in FORMS.items()
    }
    del exact
    threads = torch.get_num_threads()
    timers = {
        name: Timer("gradient(loss, z)", globals={"gradient": gradient, "loss": loss, "z": z},
                    num_threads=threads)
        for name, loss in FORMS.items()
    }  # fmt: skip
    for timer in timers.values():
        timer.timeit(1)
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(repeats):
        for name, timer in timers.items():
            times[name].append(timer.timeit(1).median)

    where = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {threads} threads"
    print(f"\n{where}, float32, b={batch}, d={dim}, tau={TAU}, {repeats} repeats in turn")
    print(f"{'form':6} {'median ms':>10} {'min ms':>10} {'gradient error':>15} {'peak MiB':>9}")
    for name, loss in FORMS.items():
        memory = f"{extra_memory(loss, z) / MIB:.0f}" if device == "cuda" else "-"
        median, least = statistics.median(times[name]), min(times[name])
        print(f"{name:6} {1e3 * median:10.2f} {1e3 * least:10.2f} {errors[name]:15.1e} {memory:>9}")
    median = statistics.median(times["pdist"]) / statistics.median(times["ours"])
    print(f"pdist/ours: median {median:.1f}x, min {min(times['pdist']) / min(times['ours']):.1f}x")


def positive(text: str) -> int:
    """Parse an integer ≥ 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected an integer ≥ 1")
    return value


def main() -> None:
    """Measure on the CPU, and on CUDA where there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=positive, default=256, help="rows b, at least 2")
    parser.add_argument("--dim", type=positive, default=65536, help="dimensions d")
    parser.add_argument("--repeats", type=positive, default=7, help="timings of each form")
    arguments = parser.parse_args()
    if arguments.batch < 2:
        parser.error("--batch: one row has no pairs")
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        measure(device, arguments.batch, arguments.dim, arguments.repeats)


if __name__ == "__main__":
    main()
