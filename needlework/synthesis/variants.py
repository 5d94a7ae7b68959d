"""Every variant of a dataset by name, and how an example of it is made from the real one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from needlework.examples import Example
from needlework.provenance import derived_seed
from needlework.rendering.room import Room
from needlework.synthesis.baselines import multidoc_qa, needle_in_haystack
from needlework.synthesis.concepts import Concept, parts_of, rewritten, templated
from needlework.synthesis.contexts import FILLER, PASSAGE, Context, answers_shown, repeated, written
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.key_value.tasks import kv_multi_subkey, kv_simple
from needlework.synthesis.names import invented
from needlework.synthesis.symbolic import symbolic


@dataclass(frozen=True)
class Materials:
    """What synthetic examples are made from, beside the real ones.

    Attributes:
        room: how much text an example holds.
        seed: of all draws.
        names: what invented names are drawn from.
        rewrites: the facts of each example in a language model's words, by the example's id.
        documents: what a language model wrote, by topic.
    """

    room: Room
    seed: int
    names: Sequence[str] = ()
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)

    def rng(self, *parts: str) -> random.Random:
        """Random numbers of their own for each purpose."""
        return random.Random(derived_seed(self.seed, *parts))


Made = Example | str  # an example, or the reason why there is none
Maker = Callable[[Example, Materials], Made]


def _real(example: Example, materials: Materials) -> Made:
    return example


def _real_limited(example: Example, materials: Materials) -> Made:
    covered = all(fact.statement is not None for fact in example.facts) and example.facts
    return _as(example, "real_limited") if covered else "no template covers a relation"


def _as(example: Example, variant: str) -> Example:
    return example.model_copy(update={"variant": variant})


def _high(example: Example, materials: Materials, variant: str) -> Concept | str:
    rewrite = materials.rewrites.get(example.id)
    if rewrite is None:
        raise ValueError(f"{example.id} has no rewrite; rewrites and corpus are of different runs")
    if rewrite.sentences is None:
        return "every rewrite was refused"
    return rewritten(example, rewrite.sentences)


def _low(example: Example, materials: Materials, variant: str) -> Concept | str:
    # Low context or high, the same fact has the same names: the variants differ in context only.
    rng = materials.rng("names", example.id)
    return templated(example, materials.names, rng, " ".join((*FILLER, *PASSAGE)))


def _filler(example: Example, concept: Concept, materials: Materials, variant: str) -> Context:
    rng = materials.rng(variant, "depth", example.id)
    return repeated(example, concept, FILLER, materials.room, rng)


def _passage(example: Example, concept: Concept, materials: Materials, variant: str) -> Context:
    rng = materials.rng(variant, "depth", example.id)
    return repeated(example, concept, PASSAGE, materials.room, rng, unit="word")


def _written(
    example: Example, concept: Concept, materials: Materials, variant: str
) -> Context | str:
    rng = materials.rng(variant, "depth", example.id)
    return written(example, concept, materials.documents, materials.room, rng)


_CONCEPTS = {"high": _high, "low": _low}
_CONTEXTS = {"high": _written, "low": _filler, "repeated": _passage}


def _maker(concept_level: str, context_level: str) -> Maker:
    variant = f"{concept_level}_{context_level}"

    def make(example: Example, materials: Materials) -> Made:
        concept = _CONCEPTS[concept_level](example, materials, variant)
        if isinstance(concept, str):
            return concept
        context = _CONTEXTS[context_level](example, concept, materials, variant)
        if isinstance(context, str):
            return context
        return Example(
            id=example.id,
            task=example.task,
            variant=variant,
            question=concept.question,
            answers=answers_shown(example, concept, context.documents),
            documents=context.documents,
            needles=context.needles,
            cluster=example.cluster,
            source={
                "from": example.id,
                "seed": materials.seed,
                "sentences": [statement.sentence for statement in concept.statements],
            },
            cites=example.cites,
            style=example.style,
        )

    return make


def _symbolic(example: Example, materials: Materials) -> Made:
    parts_of(example)
    rng = materials.rng("symbolic", example.id)
    return symbolic(example, materials.names, materials.room, materials.seed, rng)


def _key_value(variant: str) -> Maker:
    template = variant.endswith("_template")
    family = kv_multi_subkey if variant.startswith("kv_multi_subkey") else kv_simple

    def make(example: Example, materials: Materials) -> Made:
        # With and without template the same dictionaries: the variants differ in the prompt only.
        rng = materials.rng(variant.removesuffix("_template"), example.id)
        made = family(example.id, materials.room, rng, template=template)
        update = {"task": example.task, "variant": variant, "cluster": example.cluster}
        return made.model_copy(update=update)

    return make


def _needle_in_haystack(example: Example, materials: Materials) -> Made:
    rng = materials.rng("needle_in_haystack", example.id)
    town = next(invented(materials.names, rng, PASSAGE))
    paragraphs = [" ".join(PASSAGE[i:] + PASSAGE[:i]) for i in range(len(PASSAGE))]
    made = needle_in_haystack(example.id, materials.room, rng, town=town, haystack=paragraphs)
    return made.model_copy(update={"task": example.task, "cluster": example.cluster})


def _multidoc_qa(example: Example, materials: Materials) -> Made:
    return multidoc_qa(example)


MAKERS: dict[str, Maker] = {
    "real": _real,
    "real_limited": _real_limited,
    **{f"{c}_{x}": _maker(c, x) for c in _CONCEPTS for x in _CONTEXTS},
    "symbolic": _symbolic,
    **{
        name: _key_value(name)
        for family in ("kv_simple", "kv_multi_subkey")
        for name in (family, f"{family}_template")
    },
    "needle_in_haystack": _needle_in_haystack,
    "multidoc_qa": _multidoc_qa,
}
# Variants that need a language model's rewrites of the facts, and its documents.
REWRITTEN = frozenset(name for name in MAKERS if name.startswith("high_"))
WRITTEN = frozenset(name for name in MAKERS if name.endswith("_high"))


def possible_variants(task: str) -> frozenset[str]:
    """The variants that can be made of a task's examples.

    An answer that cites documents cannot be put after their titles; a true-or-false question has
    no facts to state otherwise.
    """
    independent = {name for name in MAKERS if name.startswith("kv_")} | {"needle_in_haystack"}
    if task == "flenqa":
        return frozenset({"real", *independent})
    if task in {"summhay", "factbook_citation"}:
        return frozenset(MAKERS) - {"multidoc_qa"}
    return frozenset(MAKERS)
