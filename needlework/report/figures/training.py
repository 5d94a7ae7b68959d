"""The figure of the trainings: loss against step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from needlework.report.figures.style import INK, Style, keys, legend, nothing, panels, styles
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR

_POINTS = 60  # of a line: a step of every twenty is seen on no screen
_SINGLE: dict[str, Any] = {"lw": 0.5, "alpha": 0.35}
_SPAN = 10.0  # the ratio of losses from which on their axis is logarithmic


def loss_points(curves: pd.DataFrame) -> pd.DataFrame:
    """Losses of all runs, means over so many neighbouring steps that a line has at most 60 points.

    Args:
        curves: `training_curves.csv`.

    Returns:
        model, task, variant, seed (empty: the mean over seeds, where there are several), seeds,
        step (mean of those put together), steps (their number), loss.
    """
    variant = [*PAIR, "variant"]
    longest = curves.groupby(PAIR)["step"].transform("max")
    width = -(-longest // _POINTS)
    part = (curves["step"] - 1) // width
    run = [*variant, "seed", part.rename("part")]
    kept = {"step": ("step", "mean"), "steps": ("step", "size"), "loss": ("loss", "mean")}
    single = curves.groupby(run, sort=False).agg(**kept).reset_index()
    seeds = single.groupby(variant)["seed"].nunique().rename("seeds").reset_index()
    single = single.merge(seeds, on=variant)
    several = single[single["seeds"] > 1].groupby([*variant, "part"], sort=False)
    means = several[["seeds", "step", "steps", "loss"]].mean().reset_index()
    found = pd.concat([single, means], ignore_index=True)
    return found[[*variant, "seed", "seeds", "step", "steps", "loss"]]


def training_figure(points: pd.DataFrame, variants: Sequence[str]) -> Figure:
    """Loss against step, a line per variant and thin ones per seed; a panel per model and task.

    Args:
        points: what `loss_points` gives.
        variants: all of the study.
    """
    pairs = list(points.groupby(PAIR, sort=False))
    if not pairs:
        return nothing("No training of this study has a record of its losses.")
    figure, axes = panels(len(pairs), 3, 11 / min(3, max(2, len(pairs))), 2.8)
    look = styles(variants)
    for axis, ((model, task), part) in zip(axes, pairs, strict=True):
        _losses(axis, part, look)
        axis.set_title(f"{model}\non {task}")
    trained = set(points["variant"])
    marks = keys({name: style for name, style in look.items() if name in trained})
    if (points["seeds"] > 1).any():
        marks.append(Line2D([], [], color=INK, label="single seeds", **_SINGLE))
    legend(figure, marks)
    return figure


def _losses(axis: Axes, part: pd.DataFrame, look: dict[str, Style]) -> None:
    for place, (variant, rows) in enumerate(part.groupby("variant", sort=False)):
        style = look[str(variant)]
        single, mean = rows[rows["seed"].notna()], rows[rows["seed"].isna()]
        if len(mean):
            for _, run in single.groupby("seed"):
                axis.plot(run["step"], run["loss"], color=style.colour, **_SINGLE)
        line = mean if len(mean) else single
        every = max(1, len(line) // 5)  # marks of several lines stand side by side
        (drawn,) = axis.plot(line["step"], line["loss"], color=style.colour, ls=style.line, lw=1.4,
                             markevery=(place % every, every), **style.mark(4.5))  # fmt: skip
        first, last = line.iloc[0], line.iloc[-1]
        tip(drawn, f"{variant}: loss {first['loss']:.3g} at step {first['step']:g}, "
            f"{last['loss']:.3g} at step {last['step']:g}, "
            f"{last['seeds']:.0f} seed{'s' if len(mean) else ''}")  # fmt: skip
    lowest, highest = part["loss"].min(), part["loss"].max()
    if lowest > 0 and highest > _SPAN * lowest:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    else:
        axis.set_ylim(bottom=min(0.0, lowest))
    axis.set_xlabel("optimizer step")
    width = part["steps"].max()
    axis.set_ylabel(f"loss, mean of {width:.0f} steps" if width > 1 else "loss of a step")
    axis.grid()
