"""Contexts of the Factbook tasks at every length: full, of real sections, and of one split."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from needlework.corpora import factbook_chain, factbook_citation, factbook_lookup
from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_pool import LONGEST_DISTRACTOR, Pool
from needlework.corpora.factbook_sections import names, section, splits
from needlework.examples import Example
from needlework.rendering.room import Room
from needlework.text import padded

SEED = 11
TASKS: dict[str, Callable[..., Corpus]] = {
    "factbook_lookup": factbook_lookup.factbook_lookup,
    "factbook_chain": factbook_chain.factbook_chain,
    "factbook_citation": factbook_citation.factbook_citation,
}
CAPACITIES: dict[str, Callable[..., dict[str, int]]] = {
    "factbook_lookup": factbook_lookup.capacity,
    "factbook_chain": factbook_chain.capacity,
    "factbook_citation": factbook_citation.capacity,
}


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 4,000 tokens, trained on the introductions of the Factbook."""
    texts = [found.text for code in names() if (found := section(code, "Introduction/Background"))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def room_of(bpe: PreTrainedTokenizerFast) -> Callable[[int], Room]:
    """The room of a length; what one test has measured, others need not."""
    return cache(lambda length: Room([bpe], length))


def few(task: str, room: Room, number: int = 3, **options: Any) -> dict[str, list[Example]]:
    """Some examples of each split."""
    wanted = {"train": number, "validation": number, "test": number}
    corpus = TASKS[task](**wanted, room=room, seed=SEED, **options)
    return {split: getattr(corpus, split) for split in ("train", "validation", "test")}


@pytest.mark.parametrize("length", [256, 352, 2048, 32_768, 131_072])
def test_a_context_fills_its_length(room_of: Callable[[int], Room], length: int) -> None:
    room = room_of(length)
    for task in TASKS:
        for split, examples in few(task, room, number=3 if length < 10_000 else 1).items():
            for example in examples:
                tokens = [room.size(document) for document in example.documents]
                golds = [room.size(d) for d in example.documents if d.gold]
                assert sum(tokens) >= length
                assert sum(tokens) - max(tokens) < length  # no more than it takes
                assert sum(golds) <= (0.5 if example.cites else 0.6) * length
                countries = {document.id.split("/")[0] for document in example.documents}
                assert countries <= set(splits(SEED)[split])
                _check_distractors(example)


def _check_distractors(example: Example) -> None:
    known = {padded(fact.answer) for fact in example.facts}
    if not example.cites:
        known |= set(map(padded, [*example.answers, *(fact.subject for fact in example.facts)]))
    for document in example.documents:
        if not document.gold:
            code, key = document.id.split("/", 1)
            real = section(code, key)
            assert real is not None
            assert (document.title, document.text) == (real.title, real.text)
            assert len(document.text) <= LONGEST_DISTRACTOR
            assert not [words for words in known if words in real.words]


@pytest.mark.parametrize(
    "task",
    [
        "factbook_lookup",
        pytest.param("factbook_chain", marks=pytest.mark.slow),
        pytest.param("factbook_citation", marks=pytest.mark.slow),
    ],
)
def test_every_split_fills_the_longest_context(room_of: Callable[[int], Room], task: str) -> None:
    short = CAPACITIES[task](room=room_of(2048), seed=SEED)
    long = CAPACITIES[task](room=room_of(131_072), seed=SEED)
    for split, number in short.items():
        assert long[split] > 0.9 * number > 300


def test_a_split_is_not_without_end(room_of: Callable[[int], Room]) -> None:
    assert set(factbook_citation.capacity(room=room_of(10**7), seed=SEED).values()) == {0}


@pytest.mark.parametrize("task", list(TASKS))
def test_what_is_counted_is_drawn(room_of: Callable[[int], Room], task: str) -> None:
    room = room_of(300)
    most = CAPACITIES[task](room=room, seed=SEED)
    corpus = TASKS[task](train=0, validation=most["validation"], test=0, room=room, seed=SEED)
    assert len(corpus.validation) == most["validation"]
    assert all(room.is_full(example.documents) for example in corpus.validation)


@pytest.mark.parametrize("task", list(TASKS))
def test_gold_documents_begin_at_the_depths_in_turns(
    room_of: Callable[[int], Room], task: str
) -> None:
    examples = few(task, room_of(2048), test_depths=[0.0, 1.0])
    for example, at_start in zip(examples["test"], [True, False, True], strict=True):
        gold = [document.gold for document in example.documents]
        assert gold == sorted(gold, reverse=at_start)
        if not example.cites:
            order = [document.id for document in example.documents if document.gold]
            assert order == [needle.document for needle in example.needles]


def test_the_same_section_takes_its_share(room_of: Callable[[int], Room]) -> None:
    room = room_of(352)
    for share in (0.0, 0.25, 1.0):
        for examples in few("factbook_lookup", room, distractor_share=share).values():
            for example in examples:
                others = [d for d in example.documents if not d.gold]
                alike = [d for d in others if d.id.endswith(example.source["section"])]
                need = 352 - sum(room.size(d) for d in example.documents if d.gold)
                sizes = list(map(room.size, alike))
                assert sum(sizes) - max(sizes, default=0) <= share * need
                if share < 1:
                    assert sum(sizes) >= share * need
                else:
                    assert alike == others


def test_a_bound_on_documents_may_fall_short(room_of: Callable[[int], Room]) -> None:
    room = room_of(3000)
    for examples in few("factbook_lookup", room, documents=4).values():
        assert [len(example.documents) for example in examples] == [4, 4, 4]
    for examples in few("factbook_lookup", room, documents=1000).values():
        assert all(room.is_full(example.documents) for example in examples)


def test_contexts_share_their_texts(room_of: Callable[[int], Room]) -> None:
    examples = few("factbook_lookup", room_of(32_768))["validation"]
    texts: dict[str, int] = {}
    shared = 0
    for example in examples:
        for document in example.documents:
            shared += document.id in texts
            assert texts.setdefault(document.id, id(document.text)) == id(document.text)
    assert shared > 50


def test_a_pool_knows_which_sections_contain_a_text(room_of: Callable[[int], Room]) -> None:
    pool = Pool(["pe", "ci"], SEED, room_of(300))
    for text in ("Chile", "Pacific Ocean", "shares the", "of", "Zorkland", "the"):
        words = padded(text)
        expected = {i for i, one in enumerate(pool.sections) if words in one.words}
        assert pool.containing(words) == expected
    assert len(pool.containing(padded("Chile"))) > 100


def test_a_pool_knows_how_many_tokens_it_has(room_of: Callable[[int], Room]) -> None:
    room = room_of(300)
    pool = Pool(["pe", "ci"], SEED, room)
    outside = set(range(0, len(pool.sections), 3))
    rest = [index for index in range(len(pool.sections)) if index not in outside]
    tokens = sum(room.size(pool.document(index)) for index in rest)
    assert pool.has(1, outside)
    assert pool.has(tokens, outside)
    assert not pool.has(tokens + 1, outside)
    assert pool.size(rest) == tokens
