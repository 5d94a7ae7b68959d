"""What figures and sentences take from the tables: the decisive metric, seeds put together.

Scores of variants are over seeds in variants.csv. Of heads and interventions, which have a row per
seed, a number is the mean over the seeds and an interval spans the widest of theirs.
"""

from __future__ import annotations

import pandas as pd

PAIR = ["model", "task"]

# What an intervention does, in the words of interventions.csv.
_DONE = ["chosen", "k", "kind", "during", "positions", "source"]


def decisive(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` in the metric that decides: the first of its task in `scores`."""
    first = scores.drop_duplicates(PAIR)[[*PAIR, "metric"]]
    wanted = table[PAIR].merge(first, on=PAIR, how="left")["metric"]
    return table[table["metric"].to_numpy() == wanted.to_numpy()]


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test as it is: not cut, not moved, with all heads at work."""
    return table[table["condition"] == "plain"]


def over_seeds(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per `keys`: means of the other columns, the widest interval, the highest p."""
    how = {"low": "min", "high": "max", "difference_low": "min", "difference_high": "max",
           "p_adjusted": "max", "p_sign_flip": "max", "detectable": "max",
           "seed": "nunique"}  # fmt: skip
    taken = {name: (name, how.get(name, "mean")) for name in table.columns if name not in keys}
    return table.groupby(keys, sort=False, dropna=False).agg(**taken).reset_index()


def against_reference(similarity: pd.DataFrame, reference: str) -> pd.DataFrame:
    """How every variant's heads resemble those of the reference variant on the same task.

    Args:
        similarity: `head_similarity.csv`.
        reference: the variant whose heads are wanted; it has no row of its own.

    Returns:
        model, task, variant, set, measure, value, low, high, random, random_layer, heads_a,
        heads_b, shared, n_a, n_b.
    """
    same = similarity[
        (similarity["task_a"] == similarity["task_b"])
        & (similarity["variant_b"] == reference)
        & (similarity["variant_a"] != reference)
    ]
    named = same.rename(columns={"task_a": "task", "variant_a": "variant"})
    keys = [*PAIR, "variant", "set", "measure"]
    return over_seeds(named.drop(columns=["seed_a", "seed_b", "task_b", "variant_b"]), keys)


def recall_points(variants: pd.DataFrame, similarity: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Score and recall of every variant, the points of the figure.

    The reference has the recall 1 by definition, where it has heads at all; NaN is a recall that is
    not defined.

    Args:
        variants: `variants.csv`.
        similarity: `head_similarity.csv`.
        reference: the variant whose heads are wanted.

    Returns:
        model, task, variant, metric, mean, low, high, n, recall, recall_low, recall_high, random,
        heads_a (found), heads_b (wanted), shared.
    """
    heads = against_reference(similarity, reference)
    chosen = heads[(heads["set"] == "positive") & (heads["measure"] == "recall")]
    columns = {"value": "recall", "low": "recall_low", "high": "recall_high"}
    kept = [*PAIR, "variant", *columns, "random", "heads_a", "heads_b", "shared"]
    means = decisive(plain(variants), variants)
    means = means[[*PAIR, "variant", "metric", "mean", "low", "high", "n"]]
    points = means.merge(chosen[kept].rename(columns=columns), on=[*PAIR, "variant"], how="left")
    wanted = points.groupby(PAIR)["heads_b"].transform("max")
    points.loc[(points["variant"] == reference) & (wanted > 0), "recall"] = 1.0
    return points


def cosine_matrix(similarity: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the score vectors of every two training sets of a model, both ways round.

    Seeds are put together; a training set with itself is the mean over pairs of its seeds, or 1
    where it has one seed only.

    Returns:
        model, task_a, variant_a, task_b, variant_b, value, low, high, random.
    """
    chosen = similarity[(similarity["set"] == "scores") & (similarity["measure"] == "cosine")]
    a, b = ["task_a", "variant_a"], ["task_b", "variant_b"]
    numbers = ["value", "low", "high", "random"]
    turned = chosen.rename(columns=dict(zip([*a, *b], [*b, *a], strict=True)))
    both = pd.concat([chosen, turned])[["model", *a, *b, *numbers]]
    table = over_seeds(both, ["model", *a, *b])
    own = table[["model", *a]].drop_duplicates()
    own = own.assign(task_b=own["task_a"], variant_b=own["variant_a"], value=1.0)
    return pd.concat([table, own]).drop_duplicates(["model", *a, *b], ignore_index=True)


def masking_points(interventions: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Score against the number of masked heads: a row per point, single random draws among them.

    Returns:
        model, task, variant, kind, during, metric, chosen (top, random, lowest, plain), k (0:
        plain), draw (empty: the mean over draws), mean, low, high, n.
    """
    rows = decisive(interventions, scores)
    masks = rows[(rows["action"] == "mask") & (rows["against"] == "plain")]
    keys = [*PAIR, "variant", "kind", "during", "metric", "chosen", "k"]
    numbers = ["mean", "low", "high", "n"]
    single = masks[masks["draw"].notna()]
    lines = over_seeds(masks[masks["draw"].isna()][[*keys, *numbers]], keys)
    unmasked = plain(rows)[[*PAIR, "variant", "metric", *numbers]]
    panels = masks[keys[:5]].drop_duplicates()
    start = over_seeds(unmasked, [*PAIR, "variant", "metric"]).merge(panels, on=keys[:3])
    start = start.assign(chosen="plain", k=0)
    return pd.concat([start, lines, single])[[*keys, "draw", *numbers]].reset_index(drop=True)


def patching_points(interventions: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Change of the score by patching: a row per bar, and one per random draw.

    Returns:
        model, task, variant, source, positions, metric, chosen (intersection, complement, random),
        draw (empty: the bar), heads, difference, difference_low, difference_high, p_adjusted, n.
    """
    rows = decisive(interventions, scores)
    patches = rows[(rows["action"] == "patch") & (rows["against"] == "plain")]
    keys = [*PAIR, "variant", "source", "positions", "metric", "chosen"]
    numbers = ["heads", "difference", "difference_low", "difference_high", "p_adjusted", "n"]
    bars = over_seeds(patches[patches["draw"].isna()][[*keys, *numbers]], keys)
    single = patches[patches["draw"].notna()]
    return pd.concat([bars, single])[[*keys, "draw", *numbers]].reset_index(drop=True)


def intervention_rows(interventions: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of an intervention, in the decisive metric, each with its record.

    Single random draws are left out; the mean over them has the first one's record and their
    number. A record is a file below the folder of the results. Rows keep their index.
    """
    table = decisive(interventions, scores)
    run = [*PAIR, "variant", "seed"]
    same = [*run, *_DONE]
    single = table["draw"].notna()
    group = table.groupby(same, dropna=False).ngroup()
    draws = (
        table[single]
        .groupby(group[single])
        .agg(draws=("draw", "nunique"), first=("condition", "first"))
    )
    rows = table[~single & table["against"].notna()]
    of_rows = draws.reindex(group[rows.index]).set_index(rows.index)
    named = rows.assign(condition=of_rows["first"].fillna(rows["condition"]))
    record = named[[*run, "condition"]].apply(
        lambda row: "interventions/{}/{}/{}/seed{}/{}.json".format(*row), axis=1
    )
    return rows.assign(draws=of_rows["draws"], record=record)


def interventions_over_seeds(interventions: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """`tables/interventions.csv`: what every mask and patch did to a variant, in decisive metrics.

    Random draws are put together, too. The first rows of a variant are its plain answers to the
    same examples, `action` empty.

    Returns:
        model, task, variant, action, chosen, k, kind, during, positions, source, metric, against,
        heads, mean, low, high, difference, difference_low, difference_high, p_adjusted,
        p_sign_flip, detectable, seeds, n, n_clusters.
    """
    table = decisive(interventions, scores)
    keys = [*PAIR, "variant", "action", *_DONE, "metric", "against"]
    numbers = [
        "heads", "mean", "low", "high", "difference", "difference_low", "difference_high",
        "p_adjusted", "p_sign_flip", "detectable", "seed", "n", "n_clusters",
    ]  # fmt: skip
    rows = over_seeds(table[table["draw"].isna()][[*keys, *numbers]], keys)
    return rows.rename(columns={"seed": "seeds"})
