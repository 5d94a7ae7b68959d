"""Look-ups with one answer, at any length, whose numbers are right when the end is cut off."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from needlework.examples import Example
from needlework.rendering.prompt import render
from needlework.rendering.room import Room
from needlework.synthesis.key_value import wording
from needlework.synthesis.key_value.drawing import integer, integer_above, subkeys_around
from needlework.synthesis.key_value.tasks import kv_multi_subkey, kv_simple, parity_depths
from needlework.synthesis.key_value.unique import check_unique

FAMILIES: list[Callable[..., Example]] = [kv_simple, kv_multi_subkey]


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    """A byte-level BPE that knows the words of the tasks, and numbers in pieces."""
    rng = random.Random(0)
    lines = [wording.INSTRUCTION, wording.simple_question(122, template=True)]
    lines.append(wording.subkeys_question([616, 141, 623], template=True))
    lines = lines * 50 + [
        f"Dictionary [{i % 90}] {{{rng.randint(100, 9999)}: {rng.randint(100, 9999)}}}"
        for i in range(500)
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=900, special_tokens=["</s>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def _characters(texts: list[str], **_: Any) -> dict[str, list[bytes]]:
    """A tokenizer of bytes, which is fast."""
    return {"input_ids": [text.encode() for text in texts]}


def _room(length: int) -> Room:
    return Room([_characters], length)


def _pairs(example: Example) -> list[dict[Any, int]]:
    return [ast.literal_eval(document.text) for document in example.documents]


def _keys(pairs: dict[Any, int]) -> list[set[int]]:
    return [set(key) if isinstance(key, tuple) else {key} for key in pairs]


def _asked(example: Example) -> set[int]:
    """The gold key or subkeys, read from the question."""
    match = re.search(r"(?:value of|contains the integers|key) ([\d, ]+\d)", example.question)
    assert match
    return set(map(int, match[1].split(", ")))


def _check_one_answer(example: Example) -> None:
    """The question has the answer that is given, and no other."""
    asked, value = _asked(example), int(example.answers[1])
    found = [
        (number, pairs[key])
        for number, pairs in enumerate(_pairs(example), start=1)
        for key in pairs
        if asked <= (set(key) if isinstance(key, tuple) else {key})
    ]
    gold = example.source["gold_dictionary"]
    assert found == [(gold, value)]
    numbers = Counter(
        n for d in example.documents for n in re.findall(r"\d+", f"{d.title} {d.text}")
    )
    assert numbers[str(value)] == 1
    (needle,) = example.needles
    assert example.needle_text(needle) == str(value)
    assert (needle.role, needle.hop, needle.relation) == ("answer", 1, "look-up")
    (document,) = (d for d in example.documents if d.gold)
    assert document.title == f"Dictionary [{gold}]" == example.documents[gold - 1].title
    assert re.search(r"\d+\)?: $", document.text[: needle.start])
    assert list(_pairs(example)[gold - 1].values())[example.source["gold_pair"] - 1] == value
    assert example.answers[0].endswith(f" {value} and it is in Dictionary [{gold}].")


_RANGES = st.sampled_from([(3, 4), (3, 3), (4, 4), (2, 4), (5, 6)])


@given(
    seed=st.integers(0, 2**32), length=st.integers(1000, 5000), digits=_RANGES,
    template=st.booleans(), least=st.integers(1, 5), more=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60)
def test_a_simple_look_up_has_one_answer(
    seed: int, length: int, digits: tuple[int, int], template: bool, least: int, more: int
) -> None:
    example = kv_simple(
        "x", _room(length), random.Random(seed), template=template, pairs=(least, least + more),
        digits=digits,
    )  # fmt: skip
    _check_one_answer(example)
    gold = example.source["gold_dictionary"]
    for number, pairs in enumerate(_pairs(example), start=1):
        # A key that is drawn twice leaves a dictionary shorter, but never the gold one.
        assert len(pairs) <= (least if number == gold else least + more)
        assert all(digits[0] <= len(str(n)) <= digits[1] for pair in pairs.items() for n in pair)
    assert len(_pairs(example)[gold - 1]) == least


@given(
    seed=st.integers(0, 2**32), length=st.integers(1000, 5000), template=st.booleans(),
    gold=st.integers(2, 4), least=st.integers(2, 4), more=st.integers(0, 2),
    subkey_digits=st.sampled_from([(1, 1), (1, 2), (3, 3)]), share=st.sampled_from([0, 0.5, 1]),
    value_digits=st.sampled_from([(3, 3), (4, 4)]),
)  # fmt: skip
@settings(max_examples=60)
def test_a_look_up_by_subkeys_has_one_answer(
    seed: int, length: int, template: bool, gold: int, least: int, more: int,
    subkey_digits: tuple[int, int], share: float, value_digits: tuple[int, int],
) -> None:  # fmt: skip
    example = kv_multi_subkey(
        "x", _room(length), random.Random(seed), template=template, gold_key_size=gold,
        key_sizes=(least, least + more), common_subkeys=min(gold, least) - 1, share=share,
        share_each=0.9, subkey_digits=subkey_digits, value_digits=value_digits,
    )  # fmt: skip
    _check_one_answer(example)
    assert len(_asked(example)) == gold
    for pairs in _pairs(example):
        assert all(
            least <= len(key) <= least + more or _asked(example) == set(key) for key in pairs
        )


def test_subkeys_are_shared_as_often_as_asked() -> None:
    def shares(**options: Any) -> list[float]:
        counts = Counter[int]()
        for seed in range(30):
            example = kv_multi_subkey(
                "x", _room(4000), random.Random(seed), template=False, **options
            )
            asked = _asked(example)
            counts.update(len(asked & key) for pairs in _pairs(example) for key in _keys(pairs))
            counts[3] -= 1  # the gold key itself
        total = sum(counts.values())
        return [counts[n] / total for n in range(4)]

    # Half of the keys share; each of two common subkeys with probability 0.5 then.
    assert shares() == pytest.approx([0.5 + 0.125, 0.25, 0.125, 0], abs=0.03)
    assert shares(share=1, share_each=1) == pytest.approx([0, 0, 1, 0], abs=0.01)
    assert shares(share=0) == pytest.approx([1, 0, 0, 0], abs=0.02)
    assert shares(common_subkeys=0) == pytest.approx([1, 0, 0, 0], abs=0.02)


def test_questions_and_answers_are_worded_as_in_the_paper() -> None:
    assert wording.simple_question(122, template=True) == (
        "Above is a list of dictionaries such that each key and value is an integer. Report the "
        "value of key 122 and the dictionary it is in. Answer in the following template:\n"
        "The value of key 122 is <fill-in-value> and it is in Dictionary "
        "[<fill-in-dictionary-name>]."
    )
    assert wording.simple_answer(122, 765, 3) == (
        "The value of key 122 is 765 and it is in Dictionary [3]."
    )
    assert wording.subkeys_question([616, 141, 623], template=False) == (
        "Above is a list of dictionaries such that each key is a tuple of integers and each value "
        "is an integer. Report the key that contains the integers 616, 141, 623 (not necessarily "
        "in order), its value, and the dictionary it is in."
    )
    assert wording.subkeys_answer([616, 141, 623], (141, 623, 616), 5617, 6) == (
        "The key that contains the integers 616, 141, 623 is (141, 623, 616). Its value is 5617 "
        "and it is in Dictionary [6]."
    )
    with_template = wording.subkeys_question([616, 141, 623], template=True)
    form = with_template.removeprefix(wording.subkeys_question([616, 141, 623], template=False))
    filled = (
        form.replace("<fill-in-key>", "(141, 623, 616)").replace("<fill-in-value>", "5617")
        .replace("<fill-in-dictionary-name>", "6")
    )  # fmt: skip
    assert filled == " Answer in the following template:\n" + wording.subkeys_answer(
        [616, 141, 623], (141, 623, 616), 5617, 6
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_changes_nothing_but_the_question(family: Callable[..., Example]) -> None:
    bare, shown = (
        family("x", _room(3000), random.Random(3), template=template) for template in (False, True)
    )
    assert shown.question.startswith(f"{bare.question} Answer in the following template:\n")
    assert shown.answers == bare.answers
    assert shown.documents == bare.documents
    assert shown.source == bare.source
    assert (bare.variant, shown.variant) == (family.__name__, f"{family.__name__}_template")
    assert bare.style == "dictionaries"
    assert {d.unit for d in bare.documents} == {"entry"}


def _tokens(example: Example, shown: int, tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens of prompt and answer with the first dictionaries alone."""
    lines = [f"{document.title} {document.text}" for document in example.documents[:shown]]
    prompt = "\n".join([wording.INSTRUCTION, "", *lines, "", example.question])
    return len(tokenizer(f"{prompt}\n{example.answers[0]}")["input_ids"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [256, 300, 1000, 4096, 32768, 131072])
def test_any_length_is_filled(
    family: Callable[..., Example], length: int, bpe: PreTrainedTokenizerFast
) -> None:
    room = Room([bpe], length)
    for seed in range(20 if length < 4096 else 1):
        example = family(f"x{seed}", room, random.Random(seed), template=True)
        shown = example.source["dictionaries_shown"]
        assert 1 <= example.source["gold_dictionary"] <= shown < len(example.documents)
        # 40 tokens are left to a chat template, and a dictionary takes no more than 60.
        assert length - 100 - 0.003 * length < _tokens(example, shown, bpe) <= length
        assert _tokens(example, len(example.documents), bpe) > 1.05 * length
        assert room.is_full(example.documents)
        assert sum(map(room.size, example.documents)) < 1.1 * length + 120


@pytest.mark.parametrize("family", FAMILIES)
def test_no_number_is_missing_when_the_end_is_cut_off(
    family: Callable[..., Example], bpe: PreTrainedTokenizerFast
) -> None:
    for seed in range(20):
        example = family(f"x{seed}", Room([bpe], 1000), random.Random(seed), template=True)
        shown = render(example, bpe, 1000).example
        titles = [document.title for document in shown.documents]
        assert titles == [f"Dictionary [{i}]" for i in range(1, len(titles) + 1)]
        assert 5 < len(titles) < len(example.documents)
        assert shown.answers == example.answers


@pytest.mark.parametrize("family", FAMILIES)
def test_a_length_that_holds_not_even_the_gold_dictionary_is_refused(
    family: Callable[..., Example],
) -> None:
    with pytest.raises(ValueError, match=r"gold dictionary take \d+ tokens, more than the length"):
        family("x", _room(200), random.Random(0), template=False)


def test_the_gold_dictionary_is_anywhere_among_those_shown() -> None:
    room = _room(1000)
    drawn = [
        kv_simple("x", room, random.Random(seed), template=False, pairs=(3, 3), digits=(3, 3))
        for seed in range(1500)
    ]
    # A key drawn twice may make room for one dictionary more.
    ((shown, number),) = Counter(e.source["dictionaries_shown"] for e in drawn).most_common(1)
    assert number > 1000
    alike = [example for example in drawn if example.source["dictionaries_shown"] == shown]
    places = Counter(example.source["gold_dictionary"] for example in alike)
    assert set(places) == set(range(1, shown + 1))
    assert chisquare([places[i] for i in range(1, shown + 1)]).pvalue > 0.001
    inside = Counter(example.source["gold_pair"] for example in drawn)
    assert chisquare([inside[i] for i in (1, 2, 3)]).pvalue > 0.001


@pytest.mark.parametrize("family", FAMILIES)
def test_a_depth_puts_the_gold_dictionary_there(family: Callable[..., Example]) -> None:
    for depth, place in [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]:
        example = family("x", _room(4000), random.Random(1), template=False, depth=depth)
        last = example.source["dictionaries_shown"] - 1
        assert example.source["gold_dictionary"] - 1 == round(place * last)
        assert last > 20


def test_pairs_and_repeated_keys_are_those_of_the_released_generator() -> None:
    examples = [
        kv_simple("x", _room(4580), random.Random(seed), template=True) for seed in range(100)
    ]
    first_85 = [_pairs(example)[:85] for example in examples]
    keys = [[key for pairs in dictionaries for key in pairs] for dictionaries in first_85]
    assert mean(map(len, keys)) == pytest.approx(296.7, abs=2)
    assert mean(len(drawn) - len(set(drawn)) for drawn in keys) == pytest.approx(12.8, abs=1)


def test_parity_depths_favour_the_beginning_of_a_few_rows() -> None:
    for rows, firsts, early in [(350, 17, 10), (150, 7, 4), (19, 0, 0)]:
        depths = parity_depths(rows, random.Random(rows))
        assert len(depths) == rows
        assert depths.count(0.0) == firsts
        assert sum(d is not None and 0 < d < 0.05 for d in depths) == early
        assert depths.count(None) == rows - firsts - early
    assert parity_depths(350, random.Random(1)) != parity_depths(350, random.Random(2))


def test_numbers_of_digits_are_as_likely_and_numbers_uniform() -> None:
    rng = random.Random(0)
    drawn = [integer(rng, (1, 3)) for _ in range(30_000)]
    digits = Counter(len(str(n)) for n in drawn)
    assert chisquare([digits[d] for d in (1, 2, 3)]).pvalue > 0.001
    two = Counter(n for n in drawn if 10 <= n < 100)
    assert chisquare([two[n] for n in range(10, 100)]).pvalue > 0.001
    assert set(range(1, 1000)) == set(drawn)
    assert {integer_above(rng, (1, 2), 90) for _ in range(200)} == set(range(91, 100))
    with pytest.raises(ValueError, match="must be larger than 99, the number of the dictionaries"):
        integer_above(rng, (1, 2), 99)


def test_common_subkeys_stand_anywhere_in_a_key() -> None:
    rng = random.Random(0)
    drawn = [subkeys_around([7, 8], 3, rng, (3, 3)) for _ in range(3000)]
    orders = Counter((key.index(7), key.index(8)) for key in drawn)
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 0.001


def test_the_question_lists_the_subkeys_in_any_order() -> None:
    orders = Counter[tuple[int, ...]]()
    for seed in range(600):
        example = kv_multi_subkey("x", _room(1000), random.Random(seed), template=False)
        match = re.search(r"integers ([\d, ]+) is \(([\d, ]+)\)", example.answers[0])
        assert match
        asked, key = (list(map(int, listed.split(", "))) for listed in match.groups())
        assert f"contains the integers {match[1]} (not necessarily" in example.question
        orders[tuple(map(key.index, asked))] += 1
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 0.001


def test_the_same_random_numbers_give_the_same_example() -> None:
    for family in FAMILIES:
        one, two, other = (
            family("x", _room(2000), random.Random(seed), template=True) for seed in (4, 4, 5)
        )
        assert one == two
        assert one != other


@pytest.mark.parametrize(
    ("dictionaries", "key", "value", "message"),
    [
        ([{1: 2}, {1: 3}], 1, 2, "2 keys hold all integers of the gold key 1 and 1 pairs"),
        ([{1: 2}, {3: 2}], 1, 2, "1 keys hold .* and 2 pairs have its value 2"),
        ([{(1, 2): 3}, {(2, 1): 4}], (1, 2), 3, "2 keys hold"),
        ([{(1, 2): 3}, {(2, 5, 1): 4}], (1, 2), 3, "2 keys hold"),
        ([{1: 3}], 1, 2, "1 keys hold .* and 0 pairs"),
    ],
)
def test_a_second_answer_is_noticed(
    dictionaries: list[dict[wording.Key, int]], key: wording.Key, value: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_unique(dictionaries, key, value)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (kv_simple, {"digits": (0, 3)}, r"digits is \(0, 3\); expected"),
        (kv_simple, {"digits": (4, 3)}, r"digits is \(4, 3\); expected"),
        (kv_simple, {"digits": (1, 1)}, "allow more digits or choose a shorter length"),
        (kv_simple, {"pairs": (0, 3)}, r"pairs is \(0, 3\); expected"),
        (kv_simple, {"pairs": (4, 3)}, r"pairs is \(4, 3\); expected"),
        (kv_multi_subkey, {"common_subkeys": 3}, "all sizes larger than common_subkeys"),
        (kv_multi_subkey, {"key_sizes": (2, 3)}, "all sizes larger than common_subkeys"),
        (kv_multi_subkey, {"key_sizes": (4, 3)}, "expected the least size first"),
        (kv_multi_subkey, {"value_digits": (5, 4)}, r"value_digits is \(5, 4\)"),
        (
            kv_multi_subkey,
            {"gold_key_size": 9, "subkey_digits": (1, 1), "key_sizes": (9, 9)},
            "there are 9 integers of so many digits",
        ),
        (
            kv_multi_subkey,
            {"subkey_digits": (1, 1), "key_sizes": (200, 200)},
            "1000 draws of a key all held the gold subkeys",
        ),
    ],
)
def test_options_out_of_range_are_refused(
    family: Callable[..., Example], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        family("x", _room(2000), random.Random(0), template=False, **options)
