"""Read the output of an inner layer of any module, without changing the module.

Hooks stay on the model once registered and only switch on and off: torch.compile never sees one that
was added after it traced the layer, and would trace again at each step for one that came and went.
What hooks see is kept in a slot; a new tap takes over a free slot of its layer.
"""

import copy
import difflib
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TapError
from .outputs import Select, batch_sizes, pick, what

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


class _Slot:
    """What the hooks of one tap have seen of the current forward."""

    active = False

    def reset(self, active: bool) -> None:
        self.active = active
        self.started = self.running = self.fired = self.grad = self.cut = False
        self.output: Any = None
        self.sizes: tuple[int, ...] = ()
        self.version: int | None = None

    def start(self, _: nn.Module, args: Any, kwargs: Any) -> None:  # the model is called: forget the last
        if not _in_backward():
            self.started = self.running = True
            self.fired, self.output = False, None
            self.grad = torch.is_grad_enabled()
            # Sizes kept by a compiled graph would compile it again for each new one.
            compiling = torch.compiler.is_compiling()
            self.sizes = () if compiling else batch_sizes([*args, *kwargs.values()])

    def record(self, module: nn.Module, args: Any, output: Any) -> None:  # first of a forward
        if self.active and not (self.running and self.fired) and not _in_backward():
            self.fired, self.output = True, output
            self.sizes = self.sizes if self.running else ()
            self.version = _version(output)
            self.cut = self.running and self.grad and not torch.is_grad_enabled()

    def stop(self, *_: Any) -> None:  # from here a call of the layer is a forward of its own
        self.running = False


class _Hook:
    """A method of a slot. A copy or a pickle of the model gets one that does nothing instead."""

    def __init__(self, slot: _Slot, event: Callable[..., None]) -> None:
        self.slot, self.event = slot, event

    def __call__(self, *args: Any) -> None:
        self.event(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")  # of the standard library: loads without us


def _in_backward() -> bool:
    """Whether autograd is recomputing a checkpointed forward (not asked inside a traced graph)."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class Tap:
    """The output of one layer in the model's last forward; made by :func:`tap`.

    Leaving a ``with`` block closes the tap and keeps its value; entering it again reopens it.
    """

    def __init__(self, root: nn.Module, layer: nn.Module, name: str, select: Select | None) -> None:
        self._root, self._layer, self._name, self._select = root, layer, name, select
        self._open()

    def _open(self) -> None:
        """Take a slot of this layer that no tap uses; register hooks only when there is none."""
        if torch.compiler.is_compiling():  # only fullgraph=True shows this; else Python opens it, rightly
            raise TapError(f"{self._name}: open the tap outside the compiled function")
        root, layer = self._root, self._layer
        ours = [hook.slot for hook in root._forward_pre_hooks.values() if isinstance(hook, _Hook)]
        here = [hook.slot for hook in layer._forward_hooks.values() if isinstance(hook, _Hook)]
        slot = next((slot for slot in here if slot in ours and not slot.active), _Slot())
        if slot not in here:
            root.register_forward_pre_hook(_Hook(slot, slot.start), with_kwargs=True)
            layer.register_forward_hook(_Hook(slot, slot.record))
            root.register_forward_hook(_Hook(slot, slot.stop), always_call=True)
        slot.reset(active=True)  # until the block ends, remove(), or the tap is dropped
        self._slot: _Slot | None = slot
        self._release: Any = weakref.finalize(self, slot.reset, active=False)

    def __enter__(self) -> "Tap":
        if not getattr(self._release, "alive", False):
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._slot = copy.copy(self._slot)
        self._release()

    def __getstate__(self) -> dict[str, Any]:  # a model that keeps its tap: its copy's is closed
        return {**vars(self), "_slot": None, "_release": bool}

    def remove(self) -> None:
        """Close the tap and let its value go; its hooks stay on the model and do nothing."""
        self._slot = None
        self._release()

    @property
    def value(self) -> Tensor:
        """The layer's output, or the part of it that ``select`` picks, with its gradient.

        Raises:
            TapError: no forward has reached the layer, its output is not a tensor, or it was
                computed without a graph inside a checkpoint with use_reentrant=True; unless a function
                selects: its first axis is not the batch that the model was called with; without
                ``select``: the model changed it in place afterwards (neither is seen inside torch.compile).
        """
        slot, name = self._slot, self._name
        if slot is None:
            raise TapError(f"{name}: this tap was removed; open another with tap(model, {name!r})")
        if not slot.fired:
            seen = "the last forward did not reach this layer" if slot.started else "no forward yet"
            raise TapError(
                f"{name}: {seen}; call the model while the tap is open; if it was compiled and "
                "called before this tap, register the tap before the first compiled call, or call "
                "torch.compiler.reset() after registering"
            )
        value = pick(slot.output, self._select, name, slot.sizes, _batch_second(self._layer))
        changed = slot.version is not None and _version(value) != slot.version
        if changed and self._select is None:
            raise TapError(
                f"{name}: the model changed this layer's output in place afterwards, by an in-place ReLU "
                "or a +=; tap the layer that did, or pass select=lambda z: z to read it as it is now"
            )
        lost = slot.cut and torch.is_grad_enabled() and not value.requires_grad
        if lost and any(p.requires_grad for p in self._layer.parameters()):
            raise TapError(
                f"{name}: the model ran this layer without a graph, so no gradient would reach it; "
                "checkpoint with use_reentrant=False, or read the value under torch.no_grad()"
            )
        return value


def _batch_second(layer: nn.Module) -> bool:
    """Whether a layer of PyTorch's own has the batch second; others may hold such a one and transpose."""
    if isinstance(layer, nn.TransformerEncoder | nn.TransformerDecoder):
        layer = layer.layers[0]
    if isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        layer = layer.self_attn
    return isinstance(layer, nn.MultiheadAttention | nn.RNNBase) and not layer.batch_first


def _version(output: Any) -> int | None:
    """How often a tensor was changed in place; None where nothing counts that."""
    known = isinstance(output, Tensor) and not torch.compiler.is_compiling() and not output.is_inference()
    return output._version if known else None


def _plain(name: str) -> str:
    """A layer's name without what DistributedDataParallel or torch.compile put in it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def tap(model: nn.Module, name: str, select: Select | None = None) -> Tap:
    """Read the output of the layer ``name`` of any module: in a ``with`` block, or kept open.

    Args:
        model (Module): any module, also inside DistributedDataParallel or torch.compile.
        name (str): the layer's name in ``model.named_modules()``, e.g. "blocks.2".
        select: for an output that is not a tensor with the batch first: the index, key or field of
            the part to read, or a function of the output that returns a tensor.

    Returns:
        Tap: ``.value`` is the output in the last forward; ``.remove()`` closes a tap kept open.

    Raises:
        TapError: the model has no such layer, or one that is never called or runs without hooks; ``select``
            is no index, key, field or function.

    Example:
        with tap(model, "blocks.2") as z:
            prediction = model(x_t, t, y)
        loss = mse(prediction, target) + 0.5 * loss_fn(z.value)

    A layer called several times in one forward: the first output is kept. Outside a call of the
    model (``model.encode(x)``), every call of the layer replaces the value.

    Measured: a hook registered after the first compiled call never fires in what is compiled by
    then. Under activation checkpointing a hook fires again in the backward pass; that is ignored.
    A checkpoint around the layer inside torch.compile makes the model run uncompiled, or fail with
    fullgraph=True, unless
    ``torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True``.
    """
    if not isinstance(model, nn.Module) or not isinstance(name, str):
        got = f"{what(model)}, {what(name)}"
        raise TapError(f"tap(model, name): expected a torch.nn.Module and a layer's name, got {got}")
    if not (select is None or isinstance(select, int | str) or callable(select)):
        raise TapError(
            f"{name}: select: expected an index, a key or field, or a function, got {what(select)}"
        )
    layers = dict(model.named_modules(remove_duplicate=False))
    chain = [model]  # DistributedDataParallel, torch.compile, ..., and the model inside
    while type(chain[-1]).__module__.startswith("torch."):
        inner = [child for key, child in chain[-1].named_children() if key in _WRAPPERS]
        if not inner:
            break
        chain += inner[:1]
    same = [key for key in layers if key and name and _plain(key) == _plain(name)]
    key = min(same, key=lambda key: (key != name, not key.endswith("." + name)), default="")
    if layers[key] in chain:
        names = sorted(filter(None, dict.fromkeys(map(_plain, layers))), key=lambda n: n.count("."))
        near = sorted((key for key in names if key.endswith(f".{name}")), key=len)  # under more wrappers
        near += difflib.get_close_matches(name, names, 1)
        hint = "".join(f" did you mean {key}?" for key in near[:1])
        some = ", ".join(names[:16]) + (f", ... ({len(names)} in all)" if names[16:] else "")
        raise TapError(f"{name}: no such layer;{hint} layers are {some}")
    layer = layers[key]
    if isinstance(layer, torch.jit.ScriptModule) and not isinstance(layer, torch.jit.TopLevelTracedModule):
        raise TapError(
            f"{name}: a scripted or traced model runs without hooks; tap the module that it was made of"
        )
    if getattr(layer.forward, "__func__", None) is nn.Module.forward:  # raises
        if isinstance(chain[-1], torch.fx.GraphModule):
            raise TapError(
                f"{name}: a graph that was exported doesn't call its layers; tap the module that was "
                "exported, or torch.export.unflatten(program)"
            )
        inside = ", ".join(f"{name}.{child}" for child, _ in list(layer.named_children())[:4])
        raise TapError(
            f"{name}: a {type(layer).__name__} only holds layers and is never called; tap one of them: "
            f"{inside or 'it holds none'}"
        )
    return Tap(chain[-1], layer, name, select)
