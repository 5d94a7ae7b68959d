"""Which figures a study yields: known before anything is run, and without a drawing library."""

from __future__ import annotations

from needlework.study.sections import Study


def of_pair(kind: str, model: str, task: str) -> str:
    """The name of a figure that is drawn once for every model and task."""
    return f"{kind}-{model}-{task}"


def figure_names(study: Study) -> list[str]:
    """The figures of a study in the order of the page; each is an SVG, a PNG and a CSV file.

    Head maps and masking have a figure for every model and task, the others one for all.
    """
    pairs = [(model, task) for model in study.models for task in study.tasks.chosen()]
    names = ["scores", *(of_pair("heads", *pair) for pair in pairs)]
    names += ["similarity", "recall", "reliability"]
    if study.masking is not None:
        names += [of_pair("masking", *pair) for pair in pairs]
    if study.patching is not None:
        names.append("patching")
    return names
