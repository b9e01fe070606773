"""Numbers of values, bytes and operations in few characters."""

from transferkit.inspection.layers import Layer, Pair


def count(number: float) -> str:
    """`1,728`, `590 k`, `102.8 M`, `15.5 G`."""
    if 100_000 <= number < 1e6:
        return f"{number / 1000:.0f} k"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.{2 if number < 10 * size else 1}f} {letter}"
    return f"{number:,.0f}"


def memory(number: float) -> str:
    """`589 kB`, `12.8 MB`, `1.02 GB`; of 1,000 bytes each."""
    for size, letter in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            digits = 2 if number < 10 * size and letter == "GB" else 1 if number < 100 * size else 0
            return f"{number / size:.{digits}f} {letter}"
    return f"{number:.0f} B"


def share(part: float, whole: float) -> str:
    """`74.3 %`; empty for nothing."""
    return f"{100 * part / whole:.1f} %" if whole and part else ""


def shape(values: tuple[int, ...]) -> str:
    """`64x112x112`."""
    return "x".join(map(str, values))


def sides(pair: Pair | None) -> str:
    """`3x3`; empty for None."""
    return "" if pair is None else f"{pair[0]}x{pair[1]}"


def one_side(pair: Pair | None) -> str:
    """`2`, or `2x1` if they differ; empty for None."""
    return "" if pair is None else str(pair[0]) if pair[0] == pair[1] else sides(pair)


def window(layer: Layer) -> str:
    """Kernel and stride of a layer: `7x7/2`, `3x3` for stride 1."""
    stride = "" if layer.stride in (None, (1, 1)) else f"/{one_side(layer.stride)}"
    return f"{sides(layer.kernel)}{stride}"
