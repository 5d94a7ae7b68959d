"""Every variant by name: what is made of an example, what stays, what two variants share."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.corpus import Corpus
from needlework.examples import Example, write_examples
from needlework.layout import REAL
from needlework.rendering.room import Room
from needlework.study.values import VARIANTS
from needlework.synthesis.concepts import parts_of, stands
from needlework.synthesis.contexts import FILLER, PASSAGE, topic_of
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.variants import (
    MAKERS,
    REWRITTEN,
    WRITTEN,
    Materials,
    possible_variants,
)  # fmt: skip
from tests.synthesis import by_hand
from tests.synthesis.by_hand import EXTRACTIVE, SHAPES, all_shapes

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]
SENTENCES = ["low_low", "low_high", "low_repeated", "high_low", "high_high", "high_repeated"]
INDEPENDENT = [
    "kv_simple", "kv_simple_template", "kv_multi_subkey", "kv_multi_subkey_template",
    "needle_in_haystack",
]  # fmt: skip


@cache
def _room() -> Room:
    return Room([by_hand.word_tokenizer()], 900)


def _rewrite(example: Example) -> Rewrite:
    return Rewrite(example.id, [f"So: {fact.state()}" for fact, _ in parts_of(example)], [])


def _materials(examples: Sequence[Example], seed: int = 4, **changes: Any) -> Materials:
    """All that variants of `examples` can be made from."""
    topics = {topic_of(document): None for e in examples for document in e.documents}
    more = [f"Lake {i}" for i in range(80)]
    text = "Rain fell on number {}. Wind blew over it. A bird sang. Grass grew there all year."
    values: dict[str, Any] = {
        "room": _room(),
        "seed": seed,
        "names": NAMES,
        "rewrites": {example.id: _rewrite(example) for example in examples},
        "documents": {topic: text.format(i) for i, topic in enumerate([*topics, *more])},
    }
    return Materials(**(values | changes))


def _made(variant: str, example: Example, **changes: Any) -> Example:
    made = MAKERS[variant](example, _materials([example], **changes))
    assert isinstance(made, Example), made
    return made


def _possible(example: Example) -> list[str]:
    return sorted(possible_variants("factbook_citation" if example.cites else "musique"))


def test_every_variant_of_a_study_has_a_maker_and_no_other_name_has() -> None:
    assert set(MAKERS) == set(VARIANTS)
    assert {"high_low", "high_high", "high_repeated"} == REWRITTEN
    assert {"low_high", "high_high"} == WRITTEN


def test_possible_variants_are_those_that_can_be_made() -> None:
    assert possible_variants("factbook_lookup") == possible_variants("jsonl") == set(VARIANTS)
    for task in ("summhay", "factbook_citation"):
        assert possible_variants(task) == set(VARIANTS) - {"multidoc_qa"}
    assert possible_variants("flenqa") == {"real", *INDEPENDENT}
    # A true-or-false question has no facts: what is said to be possible of it is.
    bare = by_hand.one_hop().model_copy(update={"facts": [], "needles": []})
    for variant in possible_variants("flenqa"):
        assert isinstance(MAKERS[variant](bare, _materials([])), Example)
    for variant in ("symbolic", "low_low"):
        with pytest.raises(ValueError, match="one has no facts"):
            MAKERS[variant](bare, _materials([]))


@pytest.mark.parametrize("name", SHAPES)
def test_every_possible_variant_is_made_of_every_shape(name: str) -> None:
    example = all_shapes()[name]
    for variant in _possible(example):
        made = _made(variant, example)
        assert Example.model_validate(made.model_dump()) == made  # as whole as when it is written
        assert (made.id, made.task, made.cluster) == (example.id, example.task, example.cluster)
        assert made.variant == variant
        if variant not in INDEPENDENT:
            assert (made.cites, made.style) == (example.cites, example.style)
        if variant not in {*REAL, "kv_simple", "kv_multi_subkey"}:
            assert _room().is_full(made.documents)
        again = _made(variant, example, room=Room([by_hand.word_tokenizer()], 900))
        assert made == again
        if variant not in REAL:
            assert made != _made(variant, example, seed=5)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"multidoc_qa"}))
def test_the_needles_are_on_the_answers(corpus: Corpus, room: Room, variant: str) -> None:
    for example in corpus.train[:5]:
        made = _made(variant, example, room=room)
        last = max(made.needles, key=lambda needle: needle.hop)
        text = made.needle_text(last)
        assert text == made.answers[0] or variant.startswith("kv_")
        assert text in made.answers[0]


@pytest.mark.parametrize("name", SHAPES)
def test_low_contexts_differ_in_their_documents_only(name: str) -> None:
    low, high, again = (_made(f"low_{x}", all_shapes()[name]) for x in ("low", "high", "repeated"))
    assert low.question == high.question == again.question
    assert low.source == high.source == again.source
    assert low.source["sentences"]
    if name in EXTRACTIVE:
        assert low.answers == high.answers == again.answers
    texts = [" ".join(d.text for d in made.documents) for made in (low, high, again)]
    assert [FILLER[1] in text for text in texts] == [True, False, False]
    assert [PASSAGE[0] in text for text in texts] == [False, False, True]
    assert ["A bird sang." in text for text in texts] == [False, True, False]
    for made in (low, high, again):
        for sentence in made.source["sentences"]:
            assert any(sentence in d.text for d in made.documents if d.gold)


@pytest.mark.parametrize("name", SHAPES)
def test_high_concepts_are_the_rewrites_and_the_real_question(name: str) -> None:
    example = all_shapes()[name]
    for context in ("low", "high", "repeated"):
        made = _made(f"high_{context}", example)
        assert made.source["sentences"] == _rewrite(example).sentences
        assert made.question == example.question
        assert made.source == {
            "from": example.id, "seed": 4, "sentences": _rewrite(example).sentences,
        }  # fmt: skip


@pytest.mark.parametrize("name", [*EXTRACTIVE, "citing"])
@pytest.mark.parametrize("variant", ["low_low", "low_repeated", "symbolic"])
def test_no_real_name_is_left(name: str, variant: str) -> None:
    example = all_shapes()[name]
    made = _made(variant, example)
    shown = " ".join([made.question, *(f"{d.title} {d.text}" for d in made.documents)])
    for fact in example.facts:
        for real in filter(None, (fact.subject, fact.other, fact.answer)):
            assert not stands(real, shown)
    answers = [] if example.cites else made.answers
    assert all(re.fullmatch("[BFKQXZ]{4}", answer) for answer in answers)


def test_a_name_is_no_word_of_either_context() -> None:
    example = by_hand.one_hop()
    words = {word.upper() for text in (*FILLER, *PASSAGE) for word in re.findall(r"\w+", text)}
    four = sorted(word for word in words if len(word) == 4)
    assert len(four) > 8
    for variant in ("low_low", "low_repeated"):
        made = _made(variant, example, names=[*four * 9, "ZZZZ", "ZZZX"])
        assert made.answers[0] in {"ZZZZ", "ZZZX"}


def test_why_an_example_has_no_variant() -> None:
    example = by_hand.linear(2)
    facts = [example.facts[0], example.facts[1].model_copy(update={"statement": None})]
    bare = example.model_copy(update={"facts": facts})
    uncovered = "no template covers a relation"
    for variant in ("low_low", "low_high", "low_repeated", "real_limited"):
        assert MAKERS[variant](bare, _materials([example])) == uncovered
    refused = _materials([example], rewrites={example.id: Rewrite(example.id, None, ["empty"])})
    missing = _materials([example], rewrites={})
    unwritten = _materials([example], documents={})
    for variant in REWRITTEN:
        assert MAKERS[variant](example, refused) == "every rewrite was refused"
        with pytest.raises(ValueError, match="linear-2 has no rewrite; rewrites and corpus are"):
            MAKERS[variant](example, missing)
    for variant in WRITTEN:
        reason = MAKERS[variant](example, unwritten)
        assert reason == "no document was written on the topic of its gold document"
    for variant in set(VARIANTS) - WRITTEN - REWRITTEN:
        assert isinstance(MAKERS[variant](example, _materials([], documents={})), Example)


def test_real_examples_stay_as_they_are() -> None:
    example = by_hand.tree()
    assert _made("real", example) is example
    limited = _made("real_limited", example)
    assert limited.model_copy(update={"variant": "real"}) == example
    without = example.model_copy(update={"facts": []})
    assert MAKERS["real_limited"](without, _materials([])) == "no template covers a relation"


@pytest.mark.parametrize("family", ["kv_simple", "kv_multi_subkey"])
def test_a_template_changes_the_question_only(family: str) -> None:
    plain, shown = (_made(f"{family}{end}", by_hand.one_hop()) for end in ("", "_template"))
    assert plain.documents == shown.documents
    assert plain.answers == shown.answers
    assert plain.question != shown.question


def test_the_town_of_a_haystack_is_invented_and_not_in_it() -> None:
    towns = set()
    for seed in range(5):
        made = _made("needle_in_haystack", by_hand.one_hop(), seed=seed)
        match = re.search(r"town of ([BFKQXZ]{4})\?", made.question)
        assert match
        towns.add(match[1])
        sentences = {s for d in made.documents for s in re.split(r"(?<=[.])\s", d.text)}
        assert len(sentences - set(PASSAGE)) == 1
    assert len(towns) == 5


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - REAL))
def test_examples_of_one_source_differ_by_their_id_alone(variant: str) -> None:
    one = by_hand.one_hop()
    examples = [one.model_copy(update={"id": str(number)}) for number in range(20)]
    materials = _materials(examples)
    made = [MAKERS[variant](example, materials) for example in examples]
    assert made == [MAKERS[variant](e, materials) for e in examples[::-1]][::-1]
    documents = [one.documents for one in made if isinstance(one, Example)]
    assert len({tuple(d.text for d in shown) for shown in documents}) > 1


_SCRIPT = """
import sys
from pathlib import Path
from itertools import product
from needlework.examples import read_examples, write_examples
from needlework.layout import REAL
from needlework.rendering.room import Room
from needlework.synthesis.contexts import topic_of
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.variants import MAKERS, Materials
folder = Path(sys.argv[1])
def characters(texts, **_):
    return {"input_ids": [text.encode() for text in texts]}
examples = read_examples(folder / "real.jsonl")
materials = Materials(
    Room([characters], 900), 4, ["".join(n) for n in product("BFKQXZ", repeat=4)],
    {e.id: Rewrite(e.id, [f"So: {f.state()}" for f, _ in parts_of(e)], []) for e in examples},
    {t: f"Rain fell on {i}. A bird sang. It grew." for i, t in enumerate(sorted(
        {topic_of(d) for e in examples for d in e.documents}))},
)
for variant, maker in MAKERS.items():
    made = [maker(e, materials) for e in examples if not (e.cites and variant == "multidoc_qa")]
    write_examples(folder / sys.argv[2] / variant, made)
"""


def test_every_process_makes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    write_examples(tmp_path / "real.jsonl", all_shapes().values())
    for hash_seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(tmp_path), hash_seed],
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": hash_seed},
            check=True,
        )
    for variant in VARIANTS:
        digests = {
            hashlib.sha256((tmp_path / folder / variant).read_bytes()).hexdigest()
            for folder in ("1", "2")
        }
        assert len(digests) == 1
