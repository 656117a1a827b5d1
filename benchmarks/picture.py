"""A picture of a comparison: horizontal bars, one group for each size, as SVG."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

_BAR, _GAP, _LABEL, _WIDTH, _HEAD = 18, 4, 90, 640, 28
_OURS, _THEIRS = "#0b6e4f", "#9aa5b1"


def bars(rows: list[dict[str, Any]]) -> str:
    """SVG text; a bar's length is the steady pace, against the fastest of its size and place."""
    parts: list[str] = []
    y = 0
    for (place, size), group in groupby(rows, key=lambda row: (row["place"], row["size"])):
        entries = sorted(group, key=lambda row: -row["steady_megabytes_a_second"])
        fastest = entries[0]["steady_megabytes_a_second"]
        y += _HEAD
        title = f"{entries[0]['files']} recordings of {size}, {place}: MB/s, files/s"
        parts.append(f'<text x="0" y="{y - 8}" font-weight="bold">{escape(title)}</text>')
        for each in entries:
            pace = each["steady_megabytes_a_second"]
            length = round((_WIDTH - _LABEL - 130) * pace / fastest)
            colour = _OURS if each["name"].startswith("exporter") else _THEIRS
            words = f"{pace:.0f}, {each['steady_files_a_second']}"
            parts.append(
                f'<text x="0" y="{y + 13}">{escape(each["name"])}</text>'
                f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_BAR}" fill="{colour}"/>'
                f'<text x="{_LABEL + length + 6}" y="{y + 13}">{words}</text>'
            )
            y += _BAR + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 8}"'
        f' font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
    )
