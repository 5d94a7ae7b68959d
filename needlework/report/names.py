"""Which figures and tables the report of a study has: known before anything is run."""

from __future__ import annotations

from needlework.study.runs import scored_runs, tuned_runs
from needlework.study.sections import Study


def of_pair(kind: str, model: str, task: str) -> str:
    """The name of a figure that is drawn once for every model and task."""
    return f"{kind}-{model}-{task}"


def scored_pairs(study: Study) -> list[tuple[str, str]]:
    """The models and tasks whose heads are scored, in the order of the study."""
    return list(dict.fromkeys((run.model, run.task) for run in scored_runs(study)))


def figure_names(study: Study) -> list[str]:
    """The figures of a study in the order of the page; each is an SVG, a PNG and a CSV file.

    Head maps and masking have a figure for every model and task whose heads are scored, the others
    one for all.
    """
    pairs = scored_pairs(study)
    names = ["scores"]
    names += ["positions"] if pairs else []
    names += ["lengths"] if set(study.evaluation.lengths) - {study.length} else []
    names += [of_pair("heads", *pair) for pair in pairs]
    names += ["similarity", "recall", "reliability"] if pairs else []
    names += [of_pair("masking", *pair) for pair in pairs] if study.masking else []
    names += ["patching"] if study.patching else []
    names += ["general"] if study.general and pairs else []
    names += ["training"] if tuned_runs(study) else []
    return names


def published_names(study: Study) -> list[str]:
    """The tables for a paper, files below tables/, in the order of `publication.published`."""
    names = ["main"]
    names += ["interventions"] if study.masking or study.patching else []
    names += ["heads"] if scored_pairs(study) else []
    return [f"{name}.{kind}" for name in names for kind in ("tex", "md")]
