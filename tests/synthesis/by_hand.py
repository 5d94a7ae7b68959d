"""Small examples written by hand, one of each shape that facts take, and a second tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from needlework.examples import Document, Example, Fact, Needle, citation
from needlework.relations.templates import load_openers

ALIAS = "Ciudad de los Reyes"
INSIGHT_TEXT = "Ferries carried 12,400 more people in May because bridges were closed for repairs."


def document(name: str, text: str, *, gold: bool = False, title: str = "") -> Document:
    return Document(id=name, title=title, text=text, gold=gold)


def needle(held: Document, text: str, role: str, hop: int = 1, relation: str = "") -> Needle:
    """The first place of `text` in a document."""
    start = held.text.index(text)
    return Needle.model_validate(
        {
            "document": held.id, "start": start, "end": start + len(text), "role": role,
            "hop": hop, "relation": relation or None,
        }
    )  # fmt: skip


def fact(
    relation: str, subject: str, answer: str, *, hop: int = 1, asked: str = "", **more: Any
) -> Fact:
    """A fact whose templates name its relation, unless `asked` has another question."""
    values = {
        "question": asked or f"What is the {relation} of {{subject}}?",
        "statement": f"The {relation} of {{subject}} is {{answer}}.",
    }
    return Fact(hop=hop, relation=relation, subject=subject, answer=answer, **(values | more))


def _example(
    name: str,
    question: str,
    golds: Sequence[Document],
    needles: Sequence[Needle],
    facts: Sequence[Fact],
    answers: Sequence[str] = (),
    *,
    cites: bool = False,
) -> Example:
    others = [
        document(f"{name}-{i}", f"{land} is dry. Few people live there. {land} has a harbour.",
                 title=f"{land}: Climate")
        for i, land in enumerate(("Atlantis", "Elbonia", "Ruritania", "Zamunda"))
    ]  # fmt: skip
    # A gold document stands first, the last one behind all but one of the others.
    documents = [golds[0], *others[:2], *golds[1:-1], others[2], *golds[1:][-1:], others[3]]
    cited = [gold.id for gold in golds] if cites else []
    return Example(
        id=name,
        task="by_hand",
        variant="real",
        question=question,
        answers=[citation(documents, cited)] if cites else list(answers),
        documents=documents,
        needles=list(needles),
        cluster=f"cluster of {name}",
        source={"corpus": "by hand"},
        facts=list(facts),
        cites=cited,
        style="citation" if cites else "documents",
    )


def one_hop() -> Example:
    gold = document(
        "peru", "Peru lies on the coast. Its capital is Lima. It is large.", gold=True,
        title="Peru: Capital",
    )  # fmt: skip
    return _example(
        "one", "What is the capital of Peru?", [gold],
        [needle(gold, "Lima", "answer", 1, "capital")], [fact("capital", "Peru", "Lima")],
        ["Lima", ALIAS],
    )  # fmt: skip


def linear(hops: int) -> Example:
    """A chain in which an answer and the next subject differ by an article."""
    facts = [
        fact("former ruler", "Suriname", "Netherlands"),
        fact("longest neighbour", "the Netherlands", "Belgium", hop=2, subject_hop=1),
        fact("capital", "Belgium", "Brussels", hop=3, subject_hop=2),
    ][:hops]
    golds = [
        document(
            f"hop-of-{one.hop}", f"This is an article. It names {one.answer} once. It ends here.",
            gold=True, title=f"{one.subject}: {one.relation}",
        )
        for one in facts
    ]  # fmt: skip
    phrases = ["the former ruler of Suriname", "the longest neighbour of {}", "the capital of {}"]
    asked = phrases[0]
    for phrase in phrases[1:hops]:
        asked = phrase.format(asked)
    needles = [
        needle(gold, one.answer, "answer" if one.hop == hops else "bridge", one.hop, one.relation)
        for gold, one in zip(golds, facts, strict=True)
    ]
    return _example(
        f"linear-{hops}", f"What is {asked}?", golds, needles, facts, [facts[-1].answer]
    )


def tree() -> Example:
    """Two roots whose answers the last hop asks for together."""
    golds = [
        document("acme", "Acme is a firm. It was founded by Ann Lee.", gold=True, title="Acme"),
        document("bolt", "Bolt is a firm. It has its home in Ghent.", gold=True, title="Bolt"),
        document("trip", "A trip was made in 1951. It was short.", gold=True, title="A trip"),
    ]
    facts = [
        fact("founder", "Acme", "Ann Lee"),
        fact("home", "Bolt", "Ghent", hop=2),
        fact(
            "visit", "Ann Lee", "1951", hop=3, asked="When did {subject} visit {other}?",
            statement="The year when {subject} paid {other} a visit is {answer}.", subject_hop=1,
            other="Ghent", other_hop=2,
        ),
    ]  # fmt: skip
    needles = [
        needle(golds[0], "Ann Lee", "bridge", 1, "founder"),
        needle(golds[1], "Ghent", "bridge", 2, "home"),
        needle(golds[2], "1951", "answer", 3, "visit"),
    ]
    question = "When did the founder of Acme visit the home of Bolt?"
    return _example("tree", question, golds, needles, facts, ["1951"])


def citing_facts() -> Example:
    """Each document to be cited states a fact of its own."""
    countries = ["Chile", "Cuba", "Spain"]
    golds = [
        document(
            name.lower(), f"{name} is a country. Spanish is spoken. It is warm.", gold=True,
            title=f"{name}: Languages",
        )
        for name in countries
    ]  # fmt: skip
    needles = [needle(gold, "Spanish", "insight", 1, "language") for gold in golds]
    facts = [fact("official language", name, "Spanish") for name in countries]
    question = "Which documents list Spanish among the official languages?"
    return _example("citing", question, golds, needles, facts, cites=True)


def citing_insight() -> Example:
    """All documents to be cited mention one insight; the last one in words of its own."""
    golds = [
        document("a", f"The month was busy. {INSIGHT_TEXT} That is all.", gold=True),
        document("b", f"{INSIGHT_TEXT} Then it rained for a week.", gold=True),
        document("c", "Boats were full in spring. The bridges were shut.", gold=True),
    ]
    insight = Fact(
        hop=1, relation="insight", subject="ferries", answer=INSIGHT_TEXT,
        question="Which articles mention {subject}?", statement="{answer}",
    )  # fmt: skip
    needles = [needle(gold, INSIGHT_TEXT, "insight", 1, "travel") for gold in golds[:2]]
    question = f'Which of the articles mention this insight: "{INSIGHT_TEXT}"?'
    return _example("insight", question, golds, needles, [insight], cites=True)


def all_shapes() -> dict[str, Example]:
    made = [
        one_hop(), linear(2), linear(3), tree(), citing_facts(), citing_insight(),
    ]  # fmt: skip
    return {example.id: example for example in made}


SHAPES = list(all_shapes())
EXTRACTIVE = ["one", "linear-2", "linear-3", "tree"]


@cache
def word_tokenizer() -> Any:
    """A byte-level BPE with merges, so that words are tokens: unlike the tiny model's bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, show_progress=False, special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    texts = [d.text for e in all_shapes().values() for d in e.documents]
    openers = [opener.statement for opener in load_openers().openers]
    tokenizer.train_from_iterator(texts * 3 + openers, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
