"""Numbers as a reader wants them, few digits and a unit: filters of the page's template."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NONE = "\u2013"  # a dash, where there is no value
RANGE = "\u2013"
MINUS = "\u2212"
SPACE = "\u202f"  # narrow, before a unit, where no line breaks


def or_dash(words: Callable[[float], str]) -> Callable[[float | None], str]:
    """`words`, but a dash for None."""

    @functools.wraps(words)
    def filter_(number: float | None) -> str:
        return NONE if number is None else words(number)

    return filter_


@or_dash
def percent(share: float) -> str:
    """0.841 as "84.1%"."""
    return f"{share:.1%}"


def interval(row: Mapping[str, Any], key: str) -> str:
    """The interval of a share, `<key>_low` to `<key>_high` in percent: "73-93"; "" for none."""
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return "" if low is None or high is None else f"{100 * low:.0f}{RANGE}{100 * high:.0f}"


def estimate(row: Mapping[str, Any], key: str) -> str:
    """A share with its interval: "84.1% (73-93)"."""
    between = interval(row, key)
    return percent(row[key]) + (f" ({between})" if between else "")


def points(row: Mapping[str, Any], key: str, low: str, high: str) -> str:
    """A difference of shares in percentage points with its interval: "+12.3 (+2 to +22)"."""
    if row[key] is None:
        return NONE
    if row[low] is None or row[high] is None:
        return signed(row[key], 1)
    return f"{signed(row[key], 1)} ({signed(row[low], 0)} to {signed(row[high], 0)})"


def signed(share: float, digits: int) -> str:
    """-0.123 as "-12.3"; what rounds to 0 has no sign."""
    text = f"{100 * share:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


@or_dash
def count(number: float) -> str:
    """1234567 as "1,234,567"."""
    return f"{number:,.0f}"


@or_dash
def short(number: float) -> str:
    """1234567 as "1.23 M"."""
    rounded = float(f"{number:.3g}")
    power = min(4, int(math.log10(rounded) // 3)) if rounded >= 1 else 0
    unit = ("", "k", "M", "G", "T")[power]
    return f"{rounded / 1000**power:.3g}{SPACE if unit else ''}{unit}"


@or_dash
def decimal(number: float) -> str:
    """0.56789 as "0.568"."""
    return f"{number:.3f}"


@or_dash
def significant(number: float) -> str:
    """2.34567 as "2.35"."""
    return f"{number:.3g}"


@or_dash
def duration(seconds: float) -> str:
    """0.0811 as "81 ms"; "3.2 s", "35 s", "2 min 05 s" and "3 h 12 min" likewise."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f}{SPACE}ms"
    if seconds < 59.5:
        return f"{seconds:.{0 if seconds >= 9.95 else 1}f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02}{SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{SPACE}h {minutes:02}{SPACE}min"


@or_dash
def megabytes(number: float) -> str:
    """933.9 as "934 MB", 4400 as "4.4 GB"."""
    if number >= 999.5:
        return f"{number / 1000:.3g}{SPACE}GB"
    return f"{number:.3g}{SPACE}MB"


@or_dash
def probability(value: float) -> str:
    """A p-value to three decimals, or "< 0.001"."""
    return f"{value:.3f}" if value >= 0.0005 else f"<{SPACE}0.001"


def listed(names: Sequence[object]) -> str:
    """Names in a sentence: "a, b and c"."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def shortened(text: str, most: int) -> str:
    """`text` on one line of `most` letters at most, cut in the middle: names differ at the ends."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    end = (most - 1) // 2
    return f"{line[: most - 1 - end]}\u2026{line[len(line) - end :]}"


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "interval": interval,
    "estimate": estimate,
    "points": points,
    "count": count,
    "short": short,
    "decimal": decimal,
    "significant": significant,
    "duration": duration,
    "megabytes": megabytes,
    "probability": probability,
    "listed": listed,
    "shortened": shortened,
}
