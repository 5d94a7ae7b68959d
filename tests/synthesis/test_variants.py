"""Every variant's examples: needle on the answer, the shape of the real one, equal sizes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from needlework.corpora.factbook import Corpus, factbook_lookup
from needlework.examples import Document, Example, Needle, write_examples
from needlework.study import VARIANTS
from needlework.synthesis.concepts import facts_of
from needlework.synthesis.contexts import FILLER
from needlework.synthesis.gates import refusal
from needlework.synthesis.rewriting import Rewrite
from needlework.synthesis.variants import MAKERS, REWRITTEN, make_dataset
from needlework.text import contains_answer

_SYNTHETIC = [variant for variant in VARIANTS if variant != "real"]
_INVENTED = ["low_low", "symbolic"]


def _rewrites(examples: Sequence[Example], failed: Sequence[str] = ()) -> list[Rewrite]:
    """Rewrites as a good generator gives them, but for the failed ones."""
    rewrites = []
    for example in examples:
        sentences = [f"It is known that {fact.state()}" for fact in facts_of(example)]
        assert [refusal(s, f) for s, f in zip(sentences, facts_of(example), strict=True)] == [None]
        fails = example.id in failed
        reasons = ["lost the answer"] if fails else []
        rewrites.append(Rewrite(example.id, None if fails else sentences, reasons))
    return rewrites


def _made(variant: str, examples: Sequence[Example], seed: int = 4) -> list[Example]:
    made = make_dataset(variant, examples, _rewrites(examples), wanted=len(examples), seed=seed)
    assert made.skipped == {}
    return made.examples


def _shown(example: Example) -> list[str]:
    """All that a model may read of an example."""
    documents = [f"{document.title} {document.text}" for document in example.documents]
    return [example.question, *example.answers, *documents]


def test_every_variant_of_a_study_can_be_made() -> None:
    assert set(MAKERS) == set(VARIANTS)
    assert set(MAKERS) >= REWRITTEN


def test_real_examples_are_as_they_are(corpus: Corpus) -> None:
    assert _made("real", corpus.train) == corpus.train


@pytest.mark.parametrize("variant", _SYNTHETIC)
def test_an_example_has_the_shape_of_the_real_one(corpus: Corpus, variant: str) -> None:
    for made, real in zip(_made(variant, corpus.train), corpus.train, strict=True):
        assert (made.id, made.task, made.cluster) == (real.id, real.task, real.cluster)
        assert made.variant == variant
        assert made.source["from"] == real.id
        assert [d.id for d in made.documents] == [d.id for d in real.documents]
        assert [d.gold for d in made.documents] == [d.gold for d in real.documents]
        assert {d.title for d in made.documents} == {""}
        assert len(made.answers) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_needle_is_on_the_answer_in_the_gold_document(corpus: Corpus, variant: str) -> None:
    for made in _made(variant, corpus.train):
        (needle,) = made.needles
        assert made.needle_text(needle) == made.answers[0]
        (gold,) = (document for document in made.documents if document.gold)
        assert needle.document == gold.id
        rest = gold.text[: needle.start] + " # " + gold.text[needle.end :]
        assert not contains_answer(rest, made.answers[0])
        for document in made.documents:
            assert document.gold or not contains_answer(document.text, made.answers[0])


@pytest.mark.parametrize("variant", ["high_low", "low_low"])
def test_documents_are_about_as_long_as_the_real_ones(corpus: Corpus, variant: str) -> None:
    longest = max(map(len, FILLER)) + 2
    for made, real in zip(_made(variant, corpus.train), corpus.train, strict=True):
        (sentence,) = made.source["sentences"]
        for document, of in zip(made.documents, real.documents, strict=True):
            shortest = len(FILLER[0]) + 1 + len(sentence)
            low, high = len(of.text) - longest, max(len(of.text), shortest)
            assert low <= len(document.text) <= high


def test_high_low_keeps_question_and_answer_and_has_the_rewrite_in_filler(corpus: Corpus) -> None:
    for made, real in zip(_made("high_low", corpus.train), corpus.train, strict=True):
        (fact,) = facts_of(real)
        assert (made.question, made.answers) == (real.question, [fact.answer])
        (gold,) = (document for document in made.documents if document.gold)
        assert f"It is known that {fact.state()}" in gold.text
        assert any(sentence in gold.text for sentence in FILLER)


@pytest.mark.parametrize("variant", _INVENTED)
def test_no_real_name_is_left(corpus: Corpus, variant: str) -> None:
    for made, real in zip(_made(variant, corpus.train), corpus.train, strict=True):
        (fact,) = facts_of(real)
        places = [document.title.split(":")[0] for document in real.documents]
        for name in [fact.subject, *real.answers, *places]:
            for text in _shown(made):
                assert not contains_answer(text, name), (name, text)


def test_low_low_asks_of_an_invented_name_what_its_sentence_states(corpus: Corpus) -> None:
    for made, real in zip(_made("low_low", corpus.train), corpus.train, strict=True):
        (fact,) = facts_of(real)
        (sentence,) = made.source["sentences"]
        pattern = re.escape(fact.state("SUBJECT", "ANSWER"))
        match = re.fullmatch(
            pattern.replace("SUBJECT", "([A-Z]{4})").replace("ANSWER", "([A-Z]{4})"), sentence
        )
        assert match, sentence
        subject, answer = match.groups()
        assert subject != answer
        assert (made.question, made.answers) == (fact.ask(subject), [answer])


def test_no_name_is_a_word_of_its_context(corpus: Corpus) -> None:
    def names(example: Example) -> set[str]:
        (made,) = make_dataset("low_low", [example], [], wanted=1, seed=8).examples
        return {made.question.split()[-1].rstrip("?"), *made.answers}

    example = corpus.train[0]
    (fact,) = facts_of(example)
    drawn = names(example)
    assert len(drawn) == 2
    for name in drawn:  # the same draw, where one of the names is a word of the template
        statement = f"{name.lower()}: {fact.statement}"
        facts = [fact.model_copy(update={"statement": statement}).model_dump()]
        assert name not in names(example.model_copy(update={"source": {"facts": facts}}))


def _two_hops() -> Example:
    texts = {"b": "Yura is led by Ana Paz.", "n": "Nobody leads here.", "a": "Its seat is Yura."}
    asked = {"question": "{subject}?", "statement": "The {relation} of {subject} is {answer}."}
    facts = [
        {"hop": 1, "relation": "seat", "subject": "Puno", "answer": "Yura"},
        {"hop": 2, "relation": "head", "subject": "Yura", "answer": "Ana Paz"},
    ]
    for fact in facts:
        statement = asked["statement"].replace("{relation}", str(fact["relation"]))
        fact.update(question=asked["question"], statement=statement)
    return Example(
        id="two",
        task="t",
        variant="real",
        question="Who is the head of the seat of Puno?",
        answers=["Ana Paz"],
        documents=[
            Document(id=name, title=name, text=text * 9, gold=name != "n")
            for name, text in texts.items()
        ],
        needles=[
            Needle(document="a", start=12, end=16, role="bridge", hop=1, relation="seat"),
            Needle(document="b", start=15, end=22, role="answer", hop=2, relation="head"),
        ],
        cluster="c",
        source={"facts": facts},
    )


def test_low_low_chains_its_hops() -> None:
    (made,) = make_dataset("low_low", [_two_hops()], [], wanted=1, seed=1).examples
    names = [re.findall(r"[A-Z]{4}", sentence) for sentence in made.source["sentences"]]
    (first, bridge), (again, answer) = names
    assert bridge == again
    assert made.question == f"Who is the head of the seat of {first}?"
    assert made.answers == [answer]
    found = {(needle.role, needle.document, made.needle_text(needle)) for needle in made.needles}
    assert found == {("bridge", "a", bridge), ("answer", "b", answer)}


def test_variants_have_equal_sizes_when_rewrites_fail_and_there_are_spare_examples(
    corpus: Corpus,
) -> None:
    failed = [corpus.train[i].id for i in (0, 3, 4)]
    rewrites = _rewrites(corpus.train, failed)
    sizes = {}
    for variant in VARIANTS:
        made = make_dataset(variant, corpus.train, rewrites, wanted=9, seed=2)
        sizes[variant] = len(made.examples)
        skipped = {"every rewrite was refused": failed} if variant in REWRITTEN else {}
        assert made.skipped == skipped
        wanted = [e.id for e in corpus.train if e.id not in failed or variant not in REWRITTEN][:9]
        assert [example.id for example in made.examples] == wanted
    assert set(sizes.values()) == {9}


def test_too_few_spare_examples_give_fewer_and_say_which_failed(corpus: Corpus) -> None:
    failed = [example.id for example in corpus.train[:6]]
    made = make_dataset("high_low", corpus.train, _rewrites(corpus.train, failed), wanted=9, seed=2)
    assert len(made.examples) == len(corpus.train) - 6 < 9
    assert made.skipped == {"every rewrite was refused": failed}


def test_examples_after_the_last_wanted_one_are_not_counted_as_skipped(corpus: Corpus) -> None:
    rewrites = _rewrites(corpus.train, failed=[corpus.train[5].id])
    made = make_dataset("high_low", corpus.train, rewrites, wanted=5, seed=2)
    assert (len(made.examples), made.skipped) == (5, {})


def test_a_missing_rewrite_is_an_error_that_names_the_example(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match=rf"{corpus.train[2].id} has no rewrite; rewrites and"):
        make_dataset("high_low", corpus.train, _rewrites(corpus.train[:2]), wanted=3, seed=0)


def test_an_example_does_not_depend_on_those_beside_it(corpus: Corpus) -> None:
    for variant in VARIANTS:
        alone = [_made(variant, [example])[0] for example in corpus.train]
        assert alone == _made(variant, corpus.train)


@pytest.mark.parametrize("variant", _SYNTHETIC)
def test_every_example_draws_a_depth_of_its_own(corpus: Corpus, variant: str) -> None:
    longest = max(corpus.train, key=lambda e: max(len(d.text) for d in e.documents if d.gold))
    copies = [longest.model_copy(update={"id": str(number)}) for number in range(20)]
    assert len({example.needles[0].start for example in _made(variant, copies)}) > 3


@pytest.mark.parametrize("variant", _SYNTHETIC)
def test_another_seed_gives_other_examples(corpus: Corpus, variant: str) -> None:
    one, two = (_made(variant, corpus.train, seed) for seed in (1, 2))
    assert [example.documents for example in one] != [example.documents for example in two]


def test_the_same_input_gives_the_same_bytes_in_every_process(
    corpus: Corpus, tmp_path: Path
) -> None:
    script = (
        "import json, sys; from pathlib import Path;"
        "from needlework.examples import read_examples, write_examples;"
        "from needlework.synthesis.rewriting import read_rewrites;"
        "from needlework.synthesis.variants import MAKERS, make_dataset;"
        "folder = Path(sys.argv[1]); real = read_examples(folder / 'real.jsonl');"
        "rewrites = read_rewrites(folder / 'rewrites.jsonl');"
        "[write_examples(folder / sys.argv[2] / v,"
        " make_dataset(v, real, rewrites, wanted=9, seed=4).examples) for v in MAKERS]"
    )
    write_examples(tmp_path / "real.jsonl", corpus.train)
    rows = [json.dumps(rewrite._asdict()) + "\n" for rewrite in _rewrites(corpus.train)]
    (tmp_path / "rewrites.jsonl").write_text("".join(rows))
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), hash_seed],
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": hash_seed},
            check=True,
        )
    for variant in VARIANTS:
        write_examples(tmp_path / "0" / variant, _made(variant, corpus.train)[:9])
        hashes = {
            hashlib.sha256((tmp_path / folder / variant).read_bytes()).hexdigest()
            for folder in ("0", "1", "2")
        }
        assert len(hashes) == 1


def test_every_relation_of_the_task_can_be_made_into_every_variant() -> None:
    examples = factbook_lookup(train=0, validation=0, test=60, documents=4, seed=9).test
    for variant in VARIANTS:
        assert len(_made(variant, examples)) == 60
