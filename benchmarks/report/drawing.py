"""Draws plots.json as PNG and SVG; run in an environment that has matplotlib and nothing of ours.

Guarantee: what is drawn is what the file says. Never: a figure computed here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

COLUMNS = 3


def main(directory: Path) -> None:
    """Every plot; their names are printed."""
    for plot in json.loads((directory / "plots.json").read_text("utf-8")):
        draw(plot, directory)
        print(plot["name"])


def draw(plot: dict[str, Any], directory: Path) -> None:
    """One file of each kind, with one panel beside the other."""
    panels = plot["panels"]
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    size = (5.4 * columns, 4.2 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, panel in zip(axes.flat, panels, strict=False):
        _panel(axis, panel)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(plot["title"])
    for kind in ("png", "svg"):
        figure.savefig(directory / f"{plot['name']}.{kind}", dpi=120)
    plt.close(figure)


def _panel(axis: Any, panel: dict[str, Any]) -> None:
    for line in panel["lines"]:
        axis.plot(line["x"], line["y"], marker="o", markersize=4, label=line["label"])
    _bars(axis, panel["bars"])
    axis.set(xlabel=panel["x"], ylabel=panel["y"], title=panel["title"])
    if panel["x_scale"] != "linear":  # setting it would take the names from bars
        axis.set_xscale(panel["x_scale"], **({"linthresh": 100} if panel["x_scale"] == "symlog" else {}))
    axis.set_yscale(panel["y_scale"])
    if panel["y_scale"] == "linear":
        axis.set_ylim(bottom=0)
    axis.grid(visible=True, alpha=0.3)
    if panel["bars"]:
        axis.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    elif panel["lines"]:
        axis.legend(fontsize="small")


def _bars(axis: Any, bars: list[dict[str, Any]]) -> None:
    """Stacked: each has a label, and a height at each of the same names."""
    floor: list[float] = []
    for bar in bars:
        floor = floor or [0.0] * len(bar["y"])
        axis.bar(bar["x"], bar["y"], bottom=floor, label=bar["label"])
        floor = [below + height for below, height in zip(floor, bar["y"], strict=True)]
    if bars:
        axis.tick_params(axis="x", rotation=45)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
