"""Scores of all heads against eager attention and the definitions of the kinds in plain Python.

The references see whole maps of attention, one example at a time, without padding; needles are
found by searching for their text.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from tokenizers import normalizers
from torch import Tensor
from torch.nn.functional import pad

from needlework.evaluation.metrics import judge
from needlework.examples import Example
from needlework.heads.kinds import KINDS
from needlework.heads.probe import Probe
from needlework.heads.run_scores import read_run
from needlework.heads.score_file import HeadScores, read_scores, write_scores
from needlework.heads.scores import score_heads
from needlework.heads.similarity import similarity_table
from needlework.rendering.prompt import render
from tests.heads.probing import (
    LENGTH,
    NEW,
    SMALL,
    built,
    copying,
    eagerly,
    example,
    examples,
    found,
    maps,
    saying,
)

ROLES = ("answer", "bridge", "insight")
FAMILIES = ["llama", "mistral", "llama-adapter"]
PROBE = Probe(LENGTH, NEW)


def scored(model: Any, tokenizer: Any, given: Sequence[Example], **options: Any) -> HeadScores:
    return score_heads(
        model,
        tokenizer,
        given,
        dataclasses.replace(PROBE, **options),
        correct=judge("jsonl"),
        metadata={},
    )


# --- References ----------------------------------------------------------------------------------


class Answered(NamedTuple):
    """An example, its answer, and all heads' rows (layers, H, keys) that produced each token."""

    prompt: list[int]
    answer: list[int]
    rows: list[Tensor]


def by_steps(model: Any, tokenizer: Any, shown: Example, forced: list[int] | None) -> Answered:
    """Token by token with eager attention, as Wu et al. do it, or given the tokens."""
    prompt = render(shown, tokenizer, LENGTH).prompt
    answer, rows, given, cache = [], [], prompt, None
    with eagerly(model), torch.no_grad():
        for step in range(NEW if forced is None else len(forced)):
            ids = torch.tensor([given])
            output = model(
                input_ids=ids, past_key_values=cache, use_cache=True, output_attentions=True
            )
            token = int(output.logits[0, -1].argmax()) if forced is None else forced[step]
            if answer and "\n" in tokenizer.decode([token]):
                break
            last = [layer[:, :, -1] for layer in output.attentions if layer is not None]
            # A sliding window's cache has forgotten the first keys.
            whole = [pad(row, (len(prompt) + step - row.shape[-1], 0)) for row in last]
            rows.append(torch.cat(whole))
            answer.append(token)
            given, cache = [token], output.past_key_values
    return Answered(prompt, answer, rows)


def in_one_pass(model: Any, answered: Answered) -> Answered:
    """The same rows, from whole maps over the prompt and the answer."""
    whole = maps(model, answered.prompt + answered.answer[:-1])
    first = len(answered.prompt) - 1
    steps = range(len(answered.answer))
    return answered._replace(rows=[whole[:, :, first + step, : first + step + 1] for step in steps])


def by_definition(
    kind: str, rows: list[list[float]], prompt: list[int], needle: set[int], answer: list[int]
) -> float:
    """One head's score of one kind on one example."""

    if kind == "mass":
        return sum(row[position] for row in rows for position in needle) / len(rows)
    if kind == "topk":
        k = len(needle)
        tops = [(row, sorted(range(len(row)), key=row.__getitem__)[-k:]) for row in rows]
        return sum(row[position] for row, top in tops for position in top if position in needle) / k
    places = [max(range(len(row)), key=row.__getitem__) for row in rows]
    if kind == "argmax":
        return sum(place in needle for place in places) / len(rows)
    copied = [w for w, j in zip(answer, places, strict=True) if j in needle and prompt[j] == w]
    if kind == "copy_repeats":
        return len(copied) / len(needle)
    return len(set(copied)) / len({prompt[position] for position in needle})


Measures = dict[str, NDArray[np.float64]]


def expected(shown: Example, answered: Answered, tokenizer: Any) -> Measures:
    """All measures (layers, H) of one example."""
    layers, heads, _ = answered.rows[0].shape
    measures = {}
    for role in dict.fromkeys(needle.role for needle in shown.needles):
        texts = [shown.needle_text(needle) for needle in shown.needles if needle.role == role]
        needle = set().union(*(found(answered.prompt, text, tokenizer) for text in texts))
        for kind in KINDS:
            scores = np.zeros((layers, heads))
            for layer, head in itertools.product(range(layers), range(heads)):
                rows = [row[layer, head].tolist() for row in answered.rows]
                scores[layer, head] = by_definition(
                    kind, rows, answered.prompt, needle, answered.answer
                )
            measures[f"{kind}/{role}"] = scores
    return measures


def gold(shown: Example, tokenizer: Any) -> list[int]:
    tokens: list[int] = tokenizer(f" {shown.answers[0]}")["input_ids"]
    return tokens


@functools.cache
def references(family: str, answers: str, tokenizer: Any) -> list[tuple[Answered, Measures]]:
    """What the examples are expected to give, from decoding token by token."""
    model = copying(family, tokenizer)
    found = []
    for each in examples():
        given = gold(each, tokenizer) if answers == "gold" else None
        answered = by_steps(model, tokenizer, each, given)
        found.append((answered, expected(each, answered, tokenizer)))
    return found


def assert_equal(scores: HeadScores, references: list[Measures]) -> None:
    names = {f"{kind}/{role}" for kind in KINDS for role in ROLES}
    assert set(scores.measures) == names
    assert [instance.id for instance in scores.instances] == [each.id for each in examples()]
    for index, measures in enumerate(references):
        for name in names:
            if name in measures:
                np.testing.assert_allclose(
                    scores.measures[name][index], measures[name], rtol=0, atol=1e-5, err_msg=name
                )
            else:
                assert np.isnan(scores.measures[name][index]).all()


# --- Scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["own", "gold"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_whole_maps_and_of_decoding_token_by_token(
    family: str, answers: str, tokenizer: Any
) -> None:
    model, stepwise = copying(family, tokenizer), references(family, answers, tokenizer)
    single = scored(model, tokenizer, examples(), answers=answers)
    assert_equal(single, [measures for _, measures in stepwise])
    for (answered, measures), each in zip(stepwise, examples(), strict=True):
        whole = expected(each, in_one_pass(model, answered), tokenizer)
        for name, scores in whole.items():
            np.testing.assert_allclose(scores, measures[name], rtol=0, atol=1e-5)
    texts = [tokenizer.decode(answered.answer).strip() for answered, _ in stepwise]
    assert [instance.generated for instance in single.instances] == texts
    # Else little was compared.
    copied, repeats = single.measures["copy/answer"], single.measures["copy_repeats/answer"]
    assert (copied > 0).sum() >= 3
    assert (copied != repeats)[copied > 0].all()
    assert (single.measures["topk/answer"] > 0.001).sum() >= 30


@pytest.mark.parametrize("answers", ["own", "gold"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_padded_batch_gives_the_scores_of_single_examples(
    family: str, answers: str, tokenizer: Any
) -> None:
    model = copying(family, tokenizer)
    together = scored(model, tokenizer, examples(), answers=answers, batch=3)
    assert_equal(together, [measures for _, measures in references(family, answers, tokenizer)])
    alone = scored(model, tokenizer, examples(), answers=answers)
    assert together.instances == alone.instances
    for name, scores in alone.measures.items():
        np.testing.assert_allclose(together.measures[name], scores, rtol=0, atol=3e-6)


def test_answers_of_a_batch_end_one_after_another(tokenizer: Any) -> None:
    """The rows of one that goes on are not those of one that has ended, or of its padding."""
    model = copying("llama", tokenizer)
    with saying(model, "r\n", tokenizer):
        stepwise = [by_steps(model, tokenizer, each, None) for each in examples()]
        together = scored(model, tokenizer, examples(), batch=3)
    assert len({len(answered.answer) for answered in stepwise}) == 3
    pairs = zip(examples(), stepwise, strict=True)
    assert_equal(together, [expected(*pair, tokenizer) for pair in pairs])


def test_instances_stand_in_the_order_of_the_examples(tokenizer: Any) -> None:
    """Whatever is read with them: each has the text and scores that it has alone."""
    model = copying("mistral", tokenizer)
    alone = {each.id: scored(model, tokenizer, [each]) for each in examples()}
    for order in itertools.permutations(examples()):
        together = scored(model, tokenizer, order, batch=2)
        assert [instance.id for instance in together.instances] == [each.id for each in order]
        for index, each in enumerate(order):
            assert together.instances[index] == alone[each.id].instances[0]
            for name, scores in alone[each.id].measures.items():
                np.testing.assert_allclose(
                    together.measures[name][index], scores[0], rtol=0, atol=3e-6
                )


def test_an_adapter_has_scores_of_its_own_and_leaves_the_base_its(tokenizer: Any) -> None:
    tuned = copying("llama-adapter", tokenizer)
    with tuned.disable_adapter():
        off = scored(tuned, tokenizer, examples())
    on, base = (scored(m, tokenizer, examples()) for m in (tuned, copying("llama", tokenizer)))
    assert off.instances == base.instances
    for name in base.measures:
        np.testing.assert_array_equal(off.measures[name], base.measures[name])
    assert np.nanmax(np.abs(on.measures["mass/answer"] - base.measures["mass/answer"])) > 0.1


# --- Roles and instances -------------------------------------------------------------------------


def test_only_roles_that_exist_are_measured(tokenizer: Any) -> None:
    """And an instance without a needle of a role is no instance of it, not one of score 0."""
    bridged, twice, insight = examples()
    model = copying("llama", tokenizer)
    plain = scored(model, tokenizer, [twice])
    assert set(plain.measures) == {f"{kind}/answer" for kind in KINDS}
    both = scored(model, tokenizer, [twice, bridged], role="bridge")
    assert set(both.measures) == {f"{kind}/{role}" for kind in KINDS for role in ROLES[:2]}
    assert np.isnan(both.measures["mass/bridge"][0]).all()
    assert both.of().shape == (1, 2, 16)
    assert [each.cluster for each in both.counted()] == ["cluster of bridged"]
    counted = both.counted(role="answer")
    assert [each.cluster for each in counted] == ["cluster of twice", "cluster of bridged"]
    only = insight.model_copy(update={"needles": insight.needles[1:]})
    assert set(scored(model, tokenizer, [only], role="insight").measures) == {
        f"{kind}/insight" for kind in KINDS
    }


def test_needles_of_another_role_change_no_score(tokenizer: Any) -> None:
    model, bridged = copying("llama", tokenizer), examples()[0]
    without = bridged.model_copy(update={"needles": bridged.needles[:1]})
    with_bridge, plain = (scored(model, tokenizer, [each]) for each in (bridged, without))
    for name, scores in plain.measures.items():
        np.testing.assert_array_equal(with_bridge.measures[name], scores)


def test_a_role_that_no_example_has_is_refused_before_the_model_runs(tokenizer: Any) -> None:
    message = "no example of the probe has a needle of the role 'insight'; the roles are answer, br"
    with pytest.raises(ValueError, match=message):
        scored(None, tokenizer, examples()[:2], role="insight")


def test_scores_of_all_instances_or_of_those_answered_right(tokenizer: Any) -> None:
    model = copying("llama", tokenizer)
    of_all = scored(model, tokenizer, examples())
    assert [instance.correct for instance in of_all.instances] == [False] * 3
    assert len(of_all.of()) == 3
    none = scored(model, tokenizer, examples(), instances="correct")
    assert none.of().shape == (0, 2, 16)
    assert np.isnan(none.mean()).all()
    with saying(model, ": Lima\n", tokenizer):
        some = scored(model, tokenizer, examples(), instances="correct")
        every = scored(model, tokenizer, examples())
    # Token F1 of "Lima": 0.5 for "minerals to Lima" and for "Lima at noon", 1 for "Lima".
    assert [instance.correct for instance in some.instances] == [False, True, False]
    assert [instance.generated for instance in some.instances] == ["Lima"] * 3
    np.testing.assert_array_equal(some.of("mass"), some.measures["mass/answer"][[1]])
    np.testing.assert_array_equal(some.measures["mass/answer"], every.measures["mass/answer"])
    assert len(every.of()) == 3


# --- What cannot be scored -----------------------------------------------------------------------


def unscorable() -> list[Example]:
    """One that is too long, one whose needle is lost in the tokens, one without needles."""
    return [
        example("long", [f"Lima {'so ' * 300}"], [(0, "answer", "Lima")]),
        example("lost", ["Who holds the ♠ now?"], [(0, "answer", "♠")], answer="♠"),
        example("bare", ["Nothing is here."], []),
    ]


@pytest.fixture(scope="module")
def forgetful(tokenizer: Any) -> Any:
    """A tokenizer that, as one trained on other texts may, leaves a character out."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("♠", "")
    return tokenizer


def test_examples_that_cannot_be_scored_are_counted_and_the_others_scored(
    tokenizer: Any, forgetful: Any, tmp_path: Path
) -> None:
    model, (first, second, third) = copying("llama", tokenizer), examples()
    long, lost, bare = unscorable()
    again = bare.model_copy(update={"id": "bare too"})
    given = [bare, first, long, second, lost, again, third]
    mixed = scored(model, forgetful, given, batch=2)
    assert mixed.failures == {
        "no needle is marked": ["bare", "bare too"],
        "longer than the length": ["long"],
        "needle not found in the tokens": ["lost"],
    }
    alone = scored(model, forgetful, examples(), batch=2)
    assert alone.failures == {}
    assert mixed.instances == alone.instances
    for name, scores in alone.measures.items():
        np.testing.assert_array_equal(mixed.measures[name], scores)
    write_scores(tmp_path / "probe.json", mixed)
    assert read_scores(tmp_path / "probe.json").failures == mixed.failures


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (0, "none of the 1 examples .* the first: long: .* more than the length of 600; raise"),
        (1, "none of the 1 examples .* the first: lost: no token overlaps the characters"),
        (2, "none of the 1 examples .* the first: bare: no needle is marked"),
    ],
)
def test_a_probe_of_which_nothing_can_be_scored_says_why(
    forgetful: Any, index: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scored(None, forgetful, [unscorable()[index]])


def test_no_examples_are_an_error(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="none of the 0 examples"):
        scored(None, tokenizer, [])


# --- Windows, and layers without heads -----------------------------------------------------------


def out_of_reach(model: Any, tokenizer: Any) -> list[dict[str, int]]:
    """By layer and role, how many examples have no attention on a needle in any row of theirs."""
    counts: list[dict[str, int]] = []
    for each in examples():
        answered = in_one_pass(model, by_steps(model, tokenizer, each, None))
        for role in dict.fromkeys(needle.role for needle in each.needles):
            texts = [each.needle_text(needle) for needle in each.needles if needle.role == role]
            needle = set().union(*(found(answered.prompt, text, tokenizer) for text in texts))
            seen = torch.stack([row[:, :, sorted(needle)] for row in answered.rows])
            counts = counts or [{} for _ in range(seen.shape[1])]
            for layer in range(seen.shape[1]):
                if not seen[:, layer].any():
                    counts[layer][role] = counts[layer].get(role, 0) + 1
    return counts


@pytest.mark.parametrize("seen", [0, 1])
def test_needles_out_of_a_windows_reach_are_counted(seen: int, tokenizer: Any) -> None:
    """The window of the first row ends right after a needle, or on its last position."""
    bridged, *_ = examples()
    prompt = render(bridged, tokenizer, LENGTH).prompt
    last = max(found(prompt, bridged.needle_text(bridged.needles[0]), tokenizer))
    torch.manual_seed(0)
    config = hf.Qwen3Config(
        **SMALL, use_sliding_window=True, max_window_layers=1,
        sliding_window=len(prompt) - 1 - last + seen,
    )  # fmt: skip
    model: Any = hf.AutoModelForCausalLM.from_config(config).eval()
    scores = scored(model, tokenizer, examples(), batch=2)
    assert [layer.attention for layer in scores.layers] == ["full", "sliding"]
    assert [layer.window for layer in scores.layers] == [None, config.sliding_window]
    assert [layer.unseen for layer in scores.layers] == out_of_reach(model, tokenizer)
    assert scores.layers[1].unseen.get("answer", 0) == 1 - seen
    assert (scores.measures["mass/answer"][0, 1] > 0).any() == bool(seen)


@pytest.fixture(scope="module")
def partly(tokenizer: Any) -> HeadScores:
    """The scores of a model of which one layer of three has attention heads."""
    return scored(built("lfm2"), tokenizer, examples(), batch=2, kind="mass")


def test_layers_without_attention_heads_have_no_scores(
    partly: HeadScores, tokenizer: Any, tmp_path: Path
) -> None:
    assert [layer.attention for layer in partly.layers] == ["none", "full", "none"]
    assert [(layer.heads, layer.kv_heads) for layer in partly.layers] == [(0, 0), (16, 4), (0, 0)]
    for index, each in enumerate(examples()):
        answered = in_one_pass(built("lfm2"), by_steps(built("lfm2"), tokenizer, each, None))
        for name, scores in expected(each, answered, tokenizer).items():
            np.testing.assert_allclose(
                partly.measures[name][index, 1], scores[0], rtol=0, atol=1e-5
            )
    for scores in partly.measures.values():
        assert np.isnan(scores[:, [0, 2]]).all()
    write_scores(tmp_path / "probe.json", partly)
    document = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    for measure in document["measures"].values():
        for part in ("mean", "scores"):
            assert list(measure[part]) == [f"1-{head}" for head in range(16)]


def test_layers_without_attention_heads_change_no_comparison(
    partly: HeadScores, tmp_path: Path
) -> None:
    def table(folder: Path, keep: slice) -> pd.DataFrame:
        paths = []
        for seed, variant in enumerate(["real", "symbolic"]):
            measures = {
                name: np.roll(scores, seed, axis=2)[:, keep]
                for name, scores in partly.measures.items()
            }
            run = dataclasses.replace(partly, layers=partly.layers[keep], measures=measures)
            paths.append(folder / f"m/jsonl/{variant}/seed1/validation.json")
            write_scores(paths[-1], run)
        runs = [read_run(path) for path in paths]
        return similarity_table(runs, reference="real", top_count=4, resamples=20, seed=1)

    whole = table(tmp_path / "whole", slice(None))
    assert whole["value"].notna().all()
    assert (whole.loc[whole["set"] == "positive", "heads_a"] == 16).all()
    pd.testing.assert_frame_equal(whole, table(tmp_path / "heads", slice(1, 2)))
