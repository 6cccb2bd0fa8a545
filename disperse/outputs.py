"""Which part of a layer's output holds the features, one row for each sample of the batch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .errors import TapError

Select = Callable[[Any], Tensor] | int | str

SECOND = ".transpose(0, 1)"


def pick(
    output: Any, select: Select | None, name: str, sizes: tuple[int, ...] = (), second: bool = False
) -> Tensor:
    """The tensor that ``select`` names; unless a function means it so, with the batch first.

    Args:
        output, select, name: of the layer.
        sizes: how many rows the model was given; empty: not known.
        second: the layer says that it has the batch second.

    Raises:
        TapError: it names no tensor, or one whose rows are no samples; says what there is to choose from.
    """
    parts = _parts(output)
    ordered = isinstance(output, Sequence) or hasattr(output, "to_tuple")  # ModelOutput: by position too
    key: Any = select
    if ordered and isinstance(select, int) and -len(parts) <= select < len(parts):
        key = list(parts)[select]
    try:
        value: Any = output if select is None else select(output) if callable(select) else parts.get(key)
    except Exception as error:  # whatever someone's function raises
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise TapError(f"{name}: select raised {why}; its output is {what(output)}") from error
    if isinstance(value, Tensor):
        if not callable(select) and not value.is_nested:
            step = "" if select is None else _step(output, key)
            first = select is None or key == next(iter(parts), None)
            _check_rows(value, sizes, second and first, name, step)
        return value
    inside = ", ".join(f"{key!r}: {what(part)}" for key, part in parts.items())
    was = f"its output is {what(output)}" + (f" of ({inside})" if inside else "")
    was += "" if select is None else f" and select={select!r} gave {what(value)}"
    if isinstance(output, Tensor):
        raise TapError(f"{name}: {was}; leave select out")
    if output is None:
        raise TapError(f"{name}: {was}; tap a layer that returns a tensor")
    ways = _ways(output, sizes, second)
    listed = [f"{way} (gives {list(shape)})" if len(ways) > 1 else way for way, shape in ways]
    raise TapError(f"{name}: {was}, not a tensor; pass select={' or '.join([*listed, 'a function of it'])}")


def _parts(output: Any) -> dict[Any, Any]:
    """What an output consists of, by the index, key or field that ``select`` takes."""
    if isinstance(output, PackedSequence):  # its data has steps of all sequences as rows
        return {}
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, Sequence) and not isinstance(output, str):
        return dict(zip(getattr(output, "_fields", None) or range(len(output)), output, strict=True))
    if isinstance(output, Tensor):
        return {}
    fields = getattr(output, "__dataclass_fields__", None) or getattr(output, "__dict__", {})
    return {key: getattr(output, key) for key in fields}


def _step(output: Any, key: Any) -> str:
    """How Python reads a part of an output."""
    indexed = isinstance(output, Mapping | Sequence) and not hasattr(output, "_fields")
    return f"[{key!r}]" if indexed else f".{key}"


def _ways(output: Any, sizes: tuple[int, ...], second: bool) -> list[tuple[str, tuple[int, ...]]]:
    """Each ``select`` that leads to what could be features, and the shape that it gives.

    Of all parts however deep, those that fit the batch best, of these the nearest.
    """
    found = []
    level = [("", None, output)]
    for depth in range(5):
        below = []
        for path, key, part in level:
            read = f"output{path}"
            if isinstance(part, PackedSequence):
                way = f"lambda output: torch.nn.utils.rnn.pad_packed_sequence({read}, batch_first=True)[0]"
                shape = (int(part.batch_sizes[0]), len(part.batch_sizes), *part.data.shape[1:])
                found.append(((0, depth), (way, shape)))
            elif isinstance(part, Tensor):
                if part.is_nested or part.ndim < 2 or not part.is_floating_point():
                    continue
                turn = _turn(part, sizes, second)
                if turn == SECOND:
                    found.append(((0, depth), (f"lambda output: {read}{turn}", part.transpose(0, 1).shape)))
                else:
                    fits = {"": 0, None: 2}.get(turn, 1)
                    way = repr(key) if depth == 1 else f"lambda output: {read}"
                    found.append(((fits, depth), (way, part.shape)))
            elif not depth or isinstance(part, Mapping | Sequence) or hasattr(part, "__dataclass_fields__"):
                below += [(path + _step(part, key), key, inner) for key, inner in _parts(part).items()]
        level = below
    best = min((rank for rank, _ in found), default=None)
    ways = [way for rank, way in found if rank == best]
    return ways[:1] if second else ways  # torch's own give states or attention after the features


def what(value: Any) -> str:
    """A value in an error: its type, of a tensor also the shape, and the dtype if it holds no floats."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.is_nested:  # has no shape
        return f"nested tensor of {value.size(0)}"
    kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
    return f"{type(value).__name__} {list(value.shape)}{kind}"


def batch_sizes(values: Iterable[Any]) -> tuple[int, ...]:
    """How many rows the tensors that a model is called with have."""
    return tuple(value.size(0) for value in values if isinstance(value, Tensor) and value.ndim)


def _turn(value: Tensor, sizes: tuple[int, ...], second: bool) -> str | None:
    """What puts the batch first in a tensor: "" where it stands there, None where shapes don't tell."""
    if second and value.ndim == 3:
        return SECOND
    if value.ndim < 2 or not sizes or len(value) in sizes:
        return ""
    if value.ndim > 2 and value.shape[1] in sizes and value.shape[1] > 1:
        return SECOND
    folded = [size for size in sizes if size > 1 and len(value) % size == 0 and len(value)]
    return f".unflatten(0, (-1, {len(value) // max(folded)}))" if folded else None


def _check_rows(value: Tensor, sizes: tuple[int, ...], second: bool, name: str, step: str) -> None:
    """Refuse rows that are no samples: another loss, and nothing would tell.

    Raises:
        TapError: the batch stands second, or is folded with something else.
    """
    turn = _turn(value, sizes, second)
    if not turn:
        return
    why = f"the model was given {max(sizes, default=0)} rows"
    if second and turn == SECOND:
        why = "batch_first=False of its layer puts the batch second"
    read = f"lambda output: output{step}" if step else "lambda z: z"
    only = "" if turn == SECOND else " if each sample's rows follow one another"
    raise TapError(
        f"{name}: its output{step} is {what(value)} where {why}; pass select={read}{turn}{only}, "
        f"or select={read} if the rows are meant so"
    )
