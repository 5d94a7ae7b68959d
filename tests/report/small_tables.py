"""Small tables with the columns of docs/formats.md, from means, p values and spreads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from needlework.layout import holds_real

PAIR = {"model": "m", "task": "t"}
Tables = dict[str, pd.DataFrame]


def tables(
    means: Mapping[str, float],
    p: Mapping[tuple[str, str], float] | None = None,
    *,
    reference: str = "real",
    controls: tuple[str, ...] = (),
    spread: float = np.nan,
    metrics: tuple[str, ...] = ("f1", "exact_match"),
    **more: Any,
) -> Tables:
    """Tables of one model and task.

    Args:
        means: by variant, in the order of the study; the same in every metric.
        p: adjusted, by pair of variants, either way round; 0.5 where it is not given.
        reference: the yardstick of the contrast of that name.
        controls: which of the variants are controls.
        spread: over training seeds, of every variant and of every difference; NaN: one seed.
        metrics: of the task.
        more: columns of variants.csv that are other than made up here.
    """
    synthetic = [v for v in means if v not in ("untuned", *controls) and not holds_real(v)]
    variants = pd.DataFrame(
        _variant(name, mean, metric, synthetic, means, spread) | more
        for metric in metrics for name, mean in means.items()
    )  # fmt: skip
    best = max(synthetic, key=lambda name: means[name], default="")
    comparisons = pd.DataFrame(
        _comparison(a, b, kind, means, metric, p or {}, spread)
        for metric in metrics for a, b, kind in _contrasts(list(means), reference, best, synthetic)
    )  # fmt: skip
    single = variants.assign(seed=0, unparseable=0, cut=0)
    return {
        "variants": variants,
        "comparisons": comparisons,
        "scores": single,
        "head_similarity": similarities([name for name in means if name != reference], reference),
        "correlations": correlation(),
        "reliability": agreement(0.95, variant=reference),
    }


def _variant(
    name: str, mean: float, metric: str, synthetic: list[str], means: Mapping[str, float],
    spread: float,
) -> dict[str, Any]:  # fmt: skip
    ranked = name in synthetic and len(synthetic) > 1
    rank = 1 + sum(means[other] > mean for other in synthetic) if ranked else np.nan
    limits = (1, len(synthetic)) if ranked else (np.nan, np.nan)
    return PAIR | {
        "variant": name, "condition": "plain", "metric": metric, "mean": mean, "low": mean - 0.1,
        "high": mean + 0.1, "bca_low": mean - 0.1, "bca_high": mean + 0.1,
        "seeds": 1 if np.isnan(spread) else 3, "seed_sd": spread, "seed_low": mean - spread,
        "seed_high": mean + spread, "rank": rank, "rank_low": limits[0], "rank_high": limits[1],
        "best": (0.875 if rank == 1 else 0.125) if ranked else np.nan, "n": 60, "n_clusters": 30,
    }  # fmt: skip


def _contrasts(
    names: list[str], reference: str, best: str, synthetic: list[str]
) -> list[tuple[str, str, str]]:
    found: dict[frozenset[str], tuple[str, str, str]] = {}
    for kind, b, others in (
        ("untuned", "untuned", names), ("reference", reference, names), ("best", best, synthetic),
        *(("other", b, names[i:]) for i, b in enumerate(names)),
    ):  # fmt: skip
        for a in others:
            if a != b and b in names:
                found.setdefault(frozenset((a, b)), (a, b, kind))
    return list(found.values())


def _comparison(
    a: str, b: str, kind: str, means: Mapping[str, float], metric: str,
    p: Mapping[tuple[str, str], float], spread: float,
) -> dict[str, Any]:  # fmt: skip
    difference = means[a] - means[b]
    adjusted = p.get((a, b), p.get((b, a), 0.5))
    return PAIR | {
        "condition": "plain", "metric": metric, "variant_a": a, "variant_b": b, "contrast": kind,
        "difference": difference, "low": difference - 0.1, "high": difference + 0.05,
        "bca_low": difference - 0.1, "bca_high": difference + 0.05, "p": adjusted / 2,
        "p_adjusted": adjusted, "p_sign_flip": adjusted, "n": 60, "n_clusters": 30,
        "detectable": 0.2, "seeds": 1 if np.isnan(spread) else 3, "seed_spread": spread,
    }  # fmt: skip


def similarity(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `head_similarity.csv`, of variant a and reference b unless said otherwise."""
    given = {
        "model": "m", "task_a": "t", "variant_a": "low", "seed_a": 0, "task_b": "t",
        "variant_b": "real", "seed_b": 0, "set": "positive", "measure": "recall", "value": 0.5,
        "low": 0.4, "high": 0.6, "random": 0.1, "random_layer": 0.2, "heads_a": 4, "heads_b": 8,
        "shared": 4, "n_a": 16, "n_b": 16,
    }  # fmt: skip
    return pd.DataFrame([given | row for row in rows])


def similarities(names: list[str], reference: str = "real") -> pd.DataFrame:
    """Recall 0.2, precision 0.3 and cosine 0.4 of every variant."""
    measures = [("positive", "recall"), ("positive", "precision"), ("scores", "cosine")]
    return similarity(
        [
            {"variant_a": v, "variant_b": reference, "set": of, "measure": measure,
             "value": 0.2 + 0.1 * i}
            for v in names for i, (of, measure) in enumerate(measures)
        ]
    )  # fmt: skip


def correlation(
    r: float = 0.8, p: float = 0.33, low: float = -0.28, n: int = 8, everywhere: float | None = None
) -> pd.DataFrame:
    """Rows of `correlations.csv`; `everywhere`: r of those within all models and tasks."""
    columns = ["model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n",
               "groups"]  # fmt: skip
    rows = [
        ("m", "t", "f1", of, "recall", method, r if (of, method) == ("positive", "spearman") else 0,
         low, 0.98, p, n, 1)
        for of in ("above", "positive") for method in ("pearson", "spearman")
    ]  # fmt: skip
    if everywhere is not None:
        rows.append(("all", "all", "all", "positive", "recall", "within", everywhere, 0.1, 0.7,
                     0.012, 24, 3))  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def agreement(
    *values: float, predicted: tuple[float, ...] = (), variant: str = "real"
) -> pd.DataFrame:
    """Rows of `reliability.csv`, with 2, 4, 8 … examples; only the cosine's are predicted."""
    rows = [
        PAIR | {"variant": name, "seed": 0, "measure": measure, "examples": 2 ** (i + 1),
                "value": value if name == variant else 0.1, "predicted": i >= len(values)}
        for name in (variant, "low") for measure in ("cosine", "spearman")
        for i, value in enumerate((*values, *predicted) if measure == "cosine" else values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def intervention(**given: Any) -> dict[str, Any]:
    """A row of `interventions.csv`: a mask of the real data's top five heads, unless given."""
    row: dict[str, Any] = PAIR | {
        "variant": "real", "seed": 0, "condition": "c", "action": "mask", "chosen": "top", "k": 5,
        "heads": 5, "draw": np.nan, "kind": "zero", "during": "decoding", "positions": np.nan,
        "source": np.nan, "metric": "f1", "mean": 0.5, "low": 0.4, "high": 0.6, "against": "plain",
        "difference": -0.3, "difference_low": -0.4, "difference_high": -0.2, "p": 0.01,
        "p_adjusted": 0.02, "p_sign_flip": 0.01, "detectable": 0.2, "n": 9, "n_clusters": 9,
    }  # fmt: skip
    return row | given


PLAIN = {"condition": "plain", "action": np.nan, "against": np.nan, "mean": 0.8, "low": 0.7,
         "high": 0.9, "k": np.nan, "chosen": np.nan, "kind": np.nan, "during": np.nan,
         "heads": np.nan, "difference": np.nan, "difference_low": np.nan,
         "difference_high": np.nan, "p": np.nan, "p_adjusted": np.nan}  # fmt: skip
PATCH = {"action": "patch", "chosen": "intersection", "variant": "low", "k": np.nan,
         "kind": np.nan, "during": np.nan, "source": "real", "positions": "last"}  # fmt: skip


def text(sentence: Markup) -> str:
    """What a reader sees of a sentence."""
    return sentence.striptags()


_NUMBER = re.compile(
    r'<data class="n" value="([^"]*)" data-csv="([^"]*)" data-row="(\d+)" data-column="(\w+)">'
    r"([^<]*)</data>"
)


def check_numbers(sentence: Markup, files: Mapping[str, pd.DataFrame]) -> int:
    """Every cited number is the cell that it names, rounded; returns how many there are."""
    found = _NUMBER.findall(sentence)
    assert len(found) == sentence.count('class="n"')
    for value, csv, row, column, shown in found:
        cell = files[csv].loc[int(row), column]
        assert value == f"{cell:.6g}", (csv, row, column)
        bare = re.sub(r"&lt;|[=%\s]", "", shown).replace("−", "-")
        number = float(bare) / (100 if "%" in shown else 1)
        digits = max(len(shown.partition(".")[2]), 2 if "%" in shown else 0)
        assert "&lt;" in shown or abs(number - cell) <= 0.51 * 10**-digits or "e" in shown, sentence
    return len(found)
