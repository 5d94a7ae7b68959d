"""The sentences that lead the page say what the tables say, and claim no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from needlework.report.findings.findings import Finding, find
from needlework.report.tables.main_table import main_table
from tests.report.small_tables import (
    Tables,
    agreement,
    check_numbers,
    intervention,
    similarity,
    tables,
    text,
)

ORDER = {"untuned": 0.3, "real": 0.8, "low_low": 0.6, "symbolic": 0.35}
HELPS = {("low_low", "untuned"): 0.001}
CHOSEN = HELPS | {("low_low", "symbolic"): 0.002}


def findings(given: Tables, **more: Any) -> list[Finding]:
    settings: dict[str, Any] = {"reference": "real", "alpha": 0.05, "controls": ()} | more
    main = main_table(given, reference=settings["reference"])
    found = find(main, given, **settings)
    files = {f"statistics/{name}.csv": table for name, table in given.items()}
    files |= {"tables/main.csv": main}
    for finding in found:
        for sentence in [finding.answer, *finding.sure, *finding.next]:
            check_numbers(sentence, files)
    return found


def one(given: Tables, **more: Any) -> Finding:
    (finding,) = findings(given, **more)
    return finding


def sure(given: Tables, **more: Any) -> str:
    return " ".join(map(text, one(given, **more).sure))


def after(given: Tables, **more: Any) -> str:
    return " ".join(map(text, one(given, **more).next))


def test_a_significant_gain_is_the_answer() -> None:
    finding = one(tables(ORDER, HELPS))
    assert text(finding.answer) == (
        "Train on low_low: of the synthetic data it works best, with 0.60 token F1, +0.30 against "
        "no tuning and −0.20 against real data."
    )
    assert finding.metrics == ["f1", "exact_match"]


def test_a_gain_that_is_not_significant_is_not_claimed() -> None:
    answer = text(one(tables(ORDER)).answer)
    assert answer.startswith("No synthetic data is shown to beat no tuning: the highest, low_low,")
    assert "Train on" not in answer


def test_a_significant_loss_is_no_gain() -> None:
    given = tables(ORDER | {"untuned": 0.7}, {(v, "untuned"): 0.001 for v in ORDER})
    assert text(one(given).answer).startswith("No synthetic data beats no tuning")
    assert "−0.10" in text(one(given).answer)


def test_a_gain_no_larger_than_single_trainings_differ_is_not_established() -> None:
    larger = one(tables(ORDER, HELPS, spread=0.1))
    assert text(larger.answer).startswith("Train on low_low")
    smaller = one(tables(ORDER, HELPS, spread=0.35))
    assert text(smaller.answer).startswith(
        "No synthetic data is shown to beat no tuning by more than trainings differ"
    )
    assert "and so not established" in text(smaller.sure[0])
    # (2.8 * 0.35 / 0.3) ** 2 is 10.7
    assert any("About 11 training seeds would show" in text(line) for line in smaller.next)


def test_the_only_synthetic_data_is_not_called_the_best() -> None:
    finding = one(tables({"untuned": 0.3, "real": 0.8, "low_low": 0.6}, HELPS))
    assert "the only synthetic data of the study helps" in text(finding.answer)
    assert not any("picked on the test" in text(line) for line in finding.sure)
    assert not any("resampled tests" in text(line) for line in finding.sure)


def test_a_study_without_synthetic_data_says_so() -> None:
    finding = one(tables({"untuned": 0.3, "real": 0.8}))
    assert text(finding.answer).startswith("No synthetic data was compared")
    assert finding.sure == []


def test_neither_a_control_nor_a_mixture_with_real_data_is_the_best_synthetic_data() -> None:
    means = {"untuned": 0.3, "real": 0.8, "wide": 0.9, "real:0.5+low_low:0.5": 0.85, "low_low": 0.5}
    finding = one(tables(means, controls=("wide",)), controls=["wide"])
    assert "the highest, low_low," in text(finding.answer)
    assert "wide" not in text(finding.answer)
    assert "real:0.5" not in text(finding.answer)


def test_every_model_and_task_has_its_own_finding() -> None:
    first = tables(ORDER)
    second = tables({"untuned": 0.1, "real": 0.2, "low_low": 0.15, "symbolic": 0.1})
    for name in set(second) - {"head_similarity"}:
        second[name] = second[name].assign(task="u")
    second["head_similarity"] = similarity([{"task_a": "u", "task_b": "u", "value": np.nan}])
    both = {name: pd.concat([first[name], second[name]], ignore_index=True) for name in first}
    found = findings(both)
    assert [finding.task for finding in found] == ["t", "u"]
    assert ["has 0.60 token F1" in text(finding.answer) for finding in found] == [True, False]
    assert "has 0.15 token F1" in text(found[1].answer)
    assert text(found[1].reasons[0]) == "Too few heads have a positive score to compare them."


def test_names_are_escaped() -> None:
    finding = one(tables({"untuned": 0.3, "real": 0.8, "<i>&": 0.6, "low": 0.5}))
    every = [finding.answer, *finding.sure, *finding.reasons, *finding.next]
    assert not any("<i>" in sentence for sentence in every)
    assert "the highest, &lt;i&gt;&amp;, has" in finding.answer


def test_a_difference_has_its_interval_and_p_and_a_verdict() -> None:
    assert "low_low against no tuning: +0.30 [+0.20, +0.35], p = 0.5 after Holm; this test" in sure(
        tables(ORDER)
    )
    said = sure(tables(ORDER, HELPS | {("low_low", "real"): 0.0004}))
    assert "p = 0.001 after Holm; more than chance explains." in said
    assert "low_low against real data: −0.20 [−0.30, −0.15], p < 0.001 after Holm; more" in said


def test_a_single_cluster_has_no_interval_and_no_p() -> None:
    given = tables(ORDER)
    for name in ("p", "p_adjusted", "low", "high", "detectable"):
        given["comparisons"][name] = np.nan
    assert "low_low against no tuning: +0.30; this test cannot tell them apart." in sure(given)
    assert "The test has 60 test examples in 30 clusters." in sure(given)
    assert "test examples to be seen" not in after(given)


def test_rivals_are_those_that_are_not_told_apart() -> None:
    means = ORDER | {"high_low": 0.55}
    said = sure(tables(means, {("symbolic", "low_low"): 0.01}))
    assert "It is told apart from symbolic (−0.25 [−0.35, −0.20], p = 0.01 after Holm)." in said
    assert "It is not told apart from high_low (−0.05" in said
    many = tables(ORDER | {f"v{i}": 0.4 + i / 100 for i in range(5)})
    assert "not told apart from v4, v3, v2, v1, v0 and symbolic, which" in sure(many)


def test_rank_seeds_size_and_choice_are_told() -> None:
    said = sure(tables(ORDER, HELPS, spread=0.04))
    assert "In 88% of the resampled tests it is the best" in said
    assert "the limits of its rank are 1 and 2." in said
    assert "low_low was trained with 3 seeds: from 0.56 to 0.64, standard deviation 0.040" in said
    assert "60 test examples in 30 clusters show a true difference of 0.20 from no tuning" in said
    assert "picked on the test that it is measured on" in said
    assert "Each variant was trained once" in sure(tables(ORDER, HELPS))


def test_a_metric_that_would_choose_otherwise_is_named() -> None:
    given = tables(ORDER)
    assert "By exact match" not in sure(given)
    exact = given["variants"]["metric"] == "exact_match"
    given["variants"].loc[exact & (given["variants"]["variant"] == "symbolic"), "mean"] = 0.7
    assert "By exact match another would be the best: symbolic with 0.70." in sure(given)


def test_a_test_that_would_show_the_gain_is_computed() -> None:
    given = tables(ORDER | {"low_low": 0.4})
    # 60 * (0.2 / 0.1) ** 2, and for the lead of 0.05 over symbolic 60 * (0.2 / 0.05) ** 2
    assert "A gain of +0.10, if it is real, takes about 240 test examples" in after(given)
    assert "tasks.t.test" in after(given)
    assert "To tell low_low from symbolic, if −0.05 is their true difference, takes about 960" in (
        after(given)
    )
    within = after(tables(ORDER))
    assert "A gain of +0.30 is within reach of this test" in within
    tiny = after(tables(ORDER | {"low_low": 0.301, "symbolic": 0.2}))
    assert "takes more than 20,000 test examples" in tiny
    assert "test examples to be seen" not in after(tables(ORDER, CHOSEN))


def test_what_lacks_is_looked_for_in_the_data_or_in_the_training() -> None:
    data = after(tables(ORDER, {("real", "untuned"): 0.001}))
    assert "Training on real data does help (+0.50), so the training works" in data
    training = after(tables(ORDER))
    assert "Training on real data is not shown to help either (+0.50): look at the training" in (
        training
    )
    cut = tables(ORDER)
    cut["scores"]["cut"] = np.where(cut["scores"]["variant"] == "low_low", 7, 0)
    assert "Of 60 answers after low_low 7 were cut" in after(cut)


def test_a_mixture_is_proposed_where_real_data_is_ahead_and_the_study_has_none() -> None:
    behind = CHOSEN | {("low_low", "real"): 0.01}
    assert "try the mixture real:0.2+low_low:0.8" in after(tables(ORDER, behind))
    assert "try the mixture" not in after(tables(ORDER, CHOSEN))
    known = tables(ORDER | {"real:0.2+low_low:0.8": 0.7}, behind)
    assert "try the mixture" not in after(known)
    mixed = {"untuned": 0.3, "real": 0.8, "low_low:0.5+symbolic:0.5": 0.6}
    pairs = {("low_low:0.5+symbolic:0.5", other): 0.001 for other in ("untuned", "real")}
    assert "try the mixture" not in after(tables(mixed, pairs))


def test_heads_that_would_pick_other_data_are_told() -> None:
    given = tables(ORDER, CHOSEN)
    rows = [{"variant_a": "low_low", "value": 0.4}, {"variant_a": "symbolic", "value": 0.7}]
    given["head_similarity"] = similarity(rows)
    assert "symbolic has the highest recall (0.70; low_low has 0.40), so go by the score." in (
        after(given)
    )
    unsure = tables(ORDER)
    unsure["head_similarity"] = similarity(rows)
    assert "so keep both until a larger test decides." in after(unsure)
    rows[0]["value"] = 0.9
    agreed = tables(ORDER) | {"head_similarity": similarity(rows)}
    assert "The recall of heads picks low_low, too (0.90)." in after(agreed)


def test_a_larger_probe_is_wanted_where_ranks_do_not_settle() -> None:
    given = tables(ORDER)
    assert "tasks.t.validation" not in after(given)
    given["reliability"] = agreement(0.5, 0.7)
    assert "The probe is too small for its ranks of heads to settle" in after(given)
    own = given["reliability"]["measure"] == "spearman"
    given["reliability"].loc[own & (given["reliability"]["examples"] == 4), "value"] = 0.95
    given["reliability"].loc[own, "predicted"] = given["reliability"]["examples"] == 4
    assert "Ranks of heads settle from about 4 probe examples on" in after(given)


def test_interventions_are_cited_from_the_table_over_seeds() -> None:
    given = tables(ORDER)
    given["interventions"] = pd.DataFrame(
        [intervention(seed=seed, difference=-0.1 * (1 + seed)) for seed in (0, 1)]
    )
    line = text(one(given).reasons[-1])
    assert "changes token F1, against no mask, by −0.15 [−0.40, −0.20] (real, p = 0.02)" in line
