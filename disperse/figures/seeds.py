"""How many seeds a number stands on: in words, in legends, and at the ticks of an axis."""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes

Mark = tuple[float, str, int]  # of a mean: where it stands, of which series it is, how many seeds


def count_of_seeds(counts: set[int]) -> str:
    """``1 seed``, ``3 seeds`` or ``1 to 3 seeds``."""
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' * (low != 1)}"


def pair_counts(base: int, own: int, paired: int) -> str:
    """Seeds of a baseline, of what is compared with it, and of both: one number where all have as many.

    Also where one of the two has none: then nothing is paired.
    """
    if base == own == paired or not base or not own:
        return str(base or own)
    return f"{base} and {own}, paired {paired}"


def seeds_shown(counts: Iterable[int]) -> str:
    """What marks of means over so many seeds each show, and what a hollow one is."""
    found = set(counts)
    if not found:
        return "none yet"
    if found == {1}:
        return "one seed, no interval"
    return "95% where n > 1; hollow: one seed" if 1 in found else f"95% over {count_of_seeds(found)}"


def with_count(name: str, seeds: int, among: Iterable[int]) -> str:
    """A name in a legend, with its number of seeds where those that are shown aren't all the same."""
    return f"{name}, n = {seeds}" if {seeds, *among} != {seeds} else name


def name_counts(
    ax: Axes,
    names: Mapping[float, str],
    marks: Iterable[Mark],
    *,
    among: Iterable[int] = (),
    across: bool = False,
    always: bool = False,
    short: bool = False,
) -> None:
    """Ticks with their names and, where numbers of seeds aren't all the same, with those of the marks there.

    Beside marks they would lie on lines, bars and other marks. Where series at a tick differ, their numbers
    stand in the order that is added to the axis' label: so call it last.

    Args:
        ax: whose ticks are set.
        names: place of a tick → its name.
        marks: what stands at the ticks.
        among: numbers of seeds that other panels of the picture show.
        across: the places lie on the vertical axis.
        always: also where all numbers are the same.
        short: numbers alone, where ticks stand too close for ``n = 3``.
    """
    drawn = list(marks)
    found: dict[float, dict[str, set[int]]] = {}
    if always or len({*among, *(n for _, _, n in drawn)}) > 1:
        for place, series, n in drawn:
            found.setdefault(place, {}).setdefault(series, set()).add(n)
    told = {
        place: {series: _span(sorted(each)) for series, each in by_series.items()}
        for place, by_series in found.items()
    }
    differ = [by_series for by_series in told.values() if len(set(by_series.values())) > 1]
    order = [s for s in dict.fromkeys(s for _, s, _ in drawn) if any(s in by_series for by_series in differ)]
    lines, labels = max((name.count("\n") for name in names.values()), default=0), []
    for place, name in names.items():
        by_series = told.get(place, {})
        if by_series in differ:
            text = ", ".join(by_series.get(series, "–") for series in order)
        else:
            text = "".join(("" if short else "n = ") + each for each in list(by_series.values())[:1])
        if text and not across:  # names may have several lines: the numbers stand in one row
            name += "\n" * (1 + lines - name.count("\n"))
        elif text and name:
            name += "\n"
        labels.append(name + text)
    axis, places = ax.yaxis if across else ax.xaxis, list(names)
    axis.set_ticks(places, labels=labels)
    notes = ["under the ticks: number of seeds"] if short and found else []
    notes += [f"n of {', '.join(order)}"] if order else []
    if notes:
        axis.set_label_text("\n".join(filter(None, [axis.get_label_text(), f"({'; '.join(notes)})"])))


def _span(counts: Sequence[int]) -> str:
    """``3``, or ``1–3``."""
    return "–".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
