"""A variant of a task's training data as files: examples, what became of every row, a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from needlework.atomic import write_json, write_text
from needlework.examples import Example, iter_examples, write_examples
from needlework.layout import mixture_of
from needlework.progress import say, track
from needlework.provenance import file_hash, versions
from needlework.rendering.prompt import render
from needlework.synthesis.building import Builder, Checked, Refused, build_all, histogram
from needlework.synthesis.card import dataset_card

_BINS = 10


def write_dataset(
    builder: Builder,
    variant: str,
    corpus: Path,
    wanted: Mapping[str, int],
    output: Path,
    *,
    workers: int,
    generator: dict[str, Any] | None,
) -> dict[str, Any]:
    """Write train.jsonl, validation.jsonl, dataset.json and README.md to the folder `output`.

    Args:
        builder: makes and checks the examples.
        variant: what they are.
        corpus: folder of the real examples.
        wanted: number of examples of each split.
        output: the folder.
        workers: processes; they change no byte.
        generator: what the language model did and cost, if the variant has its words.

    Returns:
        What dataset.json holds.
    """
    first: list[Example] = []
    splits = {}
    for split, number in wanted.items():
        real = list(iter_examples(corpus / f"{split}.jsonl"))
        tally = _Tally(len(real), number)
        results = build_all(builder, variant, real, number, workers)
        path = output / f"{split}.jsonl"
        counted = tally.passing(track(results, f"{variant} {split}", total=number))
        write_examples(path, counted)
        splits[split] = tally.record(variant) | {"sha256": file_hash(path)}
        first += tally.first
        if tally.made < number:
            say(
                f"{split}: {tally.made} of {number} examples could be made; raise `spare`, or see "
                "dataset.json for the reasons"
            )
    if not first:
        raise ValueError(f"no example of {variant} could be made of {corpus}: {_reasons(splits)}")
    record = {
        "task": first[0].task,
        "variant": variant,
        "seed": builder.materials.seed,
        "length": builder.length,
        "generator": generator,
        "versions": versions(),
        "splits": splits,
    }
    write_json(output / "dataset.json", record)
    shown = render(first[0], next(iter(builder.tokenizers.values())), builder.length)
    name = f"{first[0].task}, {variant}"
    write_text(output / "README.md", dataset_card(record, shown.example, name))
    return record


def _reasons(splits: Mapping[str, Any]) -> str:
    reasons: Counter[str] = Counter()
    for split in splits.values():
        reasons.update({reason: len(ids) for reason, ids in split["skipped"].items()})
    return "; ".join(f"{n} {reason!r}" for reason, n in reasons.most_common()) or "it has none"


class _Tally:
    """What came in and went out of one split, and why the rest did not."""

    def __init__(self, real: int, wanted: int) -> None:
        self.made = 0
        self.first: list[Example] = []
        self._counts: dict[str, Any] = {"real": real, "considered": 0, "wanted": wanted}
        self._skipped: dict[str, list[str]] = {}
        self._tokens: dict[str, list[int]] = {}
        self._depths: dict[str, list[int]] = {}
        self._relations: Counter[str] = Counter()
        self._parts: Counter[str] = Counter()
        self._documents: list[int] = []
        self._known = 0

    def passing(self, results: Iterator[Checked | Refused]) -> Iterator[Example]:
        """The examples among `results`, counted."""
        for result in results:
            self._counts["considered"] += 1
            if isinstance(result, Refused):
                self._skipped.setdefault(result.reason, []).append(result.id)
                continue
            self.made += 1
            self._count(result)
            yield result.example

    def _count(self, result: Checked) -> None:
        example = result.example
        if not self.first:
            self.first.append(example)
        for model, tokens in result.tokens.items():
            self._tokens.setdefault(model, []).append(tokens)
        for role, depth in result.depths:
            bins = self._depths.setdefault(role, [0] * _BINS)
            bins[min(_BINS - 1, int(depth * _BINS))] += 1
        self._relations.update(n.relation for n in example.needles if n.relation)
        self._parts[example.variant] += 1
        self._documents.append(result.documents)
        self._known += result.known

    def record(self, variant: str) -> dict[str, Any]:
        """What dataset.json says of the split."""
        record = self._counts | {"made": self.made, "skipped": self._skipped}
        if not self.made:
            return record
        record["tokens"] = {
            model: _extent(counts) | {"histogram": histogram(counts)}
            for model, counts in self._tokens.items()
        }
        record["depths"] = self._depths
        record["relations"] = dict(self._relations.most_common())
        record["documents"] = _extent(self._documents)
        record["answers_in_evaluation"] = self._known
        if len(mixture_of(variant)) > 1:
            record["parts"] = dict(self._parts)
        return record


def _extent(values: list[int]) -> dict[str, float]:
    return {
        "min": min(values), "mean": round(sum(values) / len(values), 2), "max": max(values)
    }  # fmt: skip
