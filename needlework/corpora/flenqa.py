"""True-or-false questions at several lengths: the task `flenqa`, from the FLenQA files.

Levy, Jacoby and Goldberg (2024, arXiv 2402.14848) padded 300 samples of three reasoning tasks to
250 to 3,000 tokens. A row's text is one gold document and is shown as published: nothing is added
to fill a length, and nothing is cut. The prompts are among the rendering's styles.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needlework import given
from needlework.corpora.archives import only_member
from needlework.corpora.corpus import Corpus, dealt
from needlework.examples import Document, Example, Needle
from needlework.provenance import derived_seed, file_hash
from needlework.rendering.room import Room

TASK = "flenqa"
DATASETS = {"Simplified RuleTaker": "ruletaker", "PIR": "pir", "MonoRel": "monorel"}
"""The three tasks as the files name them, and as their prompt styles do."""

_LARGEST = 2**30  # bytes; the published file has a tenth of them

_KEYS = {
    "global_sample_id", "sample_id", "label", "dataset", "facts", "rule", "statement",
    "assertion/question", "mixin", "padding_type", "dispersion", "ctx_size",
}  # fmt: skip

Row = Mapping[str, Any]


def flenqa(
    *,
    test: int,
    seed: int,
    path: Path,
    cot: bool = False,
    train: int = 0,
    validation: int = 0,
    room: Room | None = None,
    base_only: bool = True,
) -> Corpus:
    """Rows of a FLenQA file as examples, in an order drawn by the seed.

    Every row is for the test, unless training or validation examples are wanted: then the samples
    (`global_sample_id`, with all their lengths and paddings) are dealt to the splits.

    Args:
        test, train, validation: number of examples of each split.
        seed: decides the order, and the splits if there are any.
        path: the published file: JSON lines (zipped or not), or a JSON list.
        cot: prompt for a chain of thought (style "flenqa-<dataset>-cot").
        room: rows whose text alone is longer than its length are skipped; None keeps all.
        base_only: only the rows of the paper's base figure: padded, facts dispersed at random.

    Raises:
        ValueError: a row lacks a key or has a value of another kind, or a split holds fewer rows
            than wanted.
    """
    rows = _read(path)
    sha256 = file_hash(path)
    samples = [str(row["global_sample_id"]) for row in rows]
    split_of = dealt(samples, seed, TASK) if train or validation else dict.fromkeys(samples, "test")
    order = random.Random(derived_seed(seed, TASK, "order")).sample(range(len(rows)), len(rows))
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {}
    for split, wanted in (("train", train), ("validation", validation), ("test", test)):
        mine = [number for number in order if split_of[samples[number]] == split]
        reasons = {number: _why_not(rows[number], room, base_only) for number in mine}
        kept = [number for number in mine if reasons[number] is None]
        skipped = Counter(reason for reason in reasons.values() if reason is not None)
        if wanted > len(kept):
            raise ValueError(
                f"{path} holds {len(kept)} rows for the split {split!r}, but {wanted} are wanted "
                f"({len(mine)} considered; skipped: {dict(skipped)}); ask for fewer, for a longer "
                "length, or set base_only to false"
            )
        source = {"corpus": "FLenQA", "file": path.name, "sha256": sha256, "seed": seed}
        examples[split] = [
            _example(rows[n], f"{TASK}-{split}-{i:04d}", cot, source | {"row": n, "split": split})
            for i, n in enumerate(kept[:wanted])
        ]
        facts = sum(len(key_texts(rows[number])) for number in kept[:wanted])
        found = sum(len(example.needles) for example in examples[split])
        counts[split] = {
            "considered": len(mine),
            "made": wanted,
            "not wanted": len(kept) - wanted,
            "skipped": dict(skipped.most_common()),
            "facts found": found,
            "facts not found": facts - found,
        }
    return Corpus(**examples, counts=counts)


def key_texts(row: Row) -> list[str]:
    """The texts that the answer needs: the facts, or the statements of Simplified RuleTaker."""
    given = row["statement" if row["dataset"] == "Simplified RuleTaker" else "facts"]
    return [given] if isinstance(given, str) else list(given or ())


def _read(path: Path) -> list[Row]:
    text = only_member(path) if path.suffix == ".zip" else given.read_text(path, _LARGEST)
    try:
        if text.lstrip().startswith("["):
            rows: list[Row] = given.json_value(text, str(path))
        else:
            lines = enumerate(text.split("\n"), start=1)
            rows = [given.json_value(x, f"{path}, line {n}") for n, x in lines if x.strip()]
    except ValueError as error:
        raise ValueError(f"{error}; expected JSON lines or a JSON list") from error
    for number, row in enumerate(rows):
        _check(row, f"{path}, row {number}")
    return rows


def _check(row: Any, where: str) -> None:
    if not isinstance(row, dict) or _KEYS - row.keys():
        missing = sorted(_KEYS - row.keys()) if isinstance(row, dict) else "not an object"
        raise ValueError(f"{where} lacks keys of FLenQA: {missing}")
    if row["dataset"] not in DATASETS:
        raise ValueError(
            f"{where}: the dataset is {row['dataset']!r}, takes one of {', '.join(DATASETS)}"
        )
    if str(row["label"]) not in {"True", "False"}:
        raise ValueError(f"{where}: the label is {row['label']!r}, takes 'True' or 'False'")


def _why_not(row: Row, room: Room | None, base_only: bool) -> str | None:
    if base_only and row["padding_type"] == "identity":
        return "not padded"
    if base_only and row["dispersion"] != "random":
        return "facts not dispersed at random"
    if room is not None and room.is_full([_document(row)]):
        return "longer than the length"
    return None


def _document(row: Row) -> Document:
    return Document(id=str(row["global_sample_id"]), title="", text=row["mixin"], gold=True)


def _example(row: Row, name: str, cot: bool, source: dict[str, Any]) -> Example:
    document = _document(row)
    facts = key_texts(row)
    starts = [document.text.find(fact) if fact else -1 for fact in facts]
    return Example(
        id=name,
        task=TASK,
        variant="real",
        question=row["assertion/question"],
        answers=[str(row["label"])],  # the files have text in some editions, a boolean in others
        documents=[document],
        needles=[
            Needle(document=document.id, start=at, end=at + len(fact), role="bridge", hop=hop)
            for hop, (fact, at) in enumerate(zip(facts, starts, strict=True), start=1)
            if at >= 0
        ],
        cluster=document.id,
        source=source
        | {key: row[key] for key in ("global_sample_id", "sample_id", "dataset", "ctx_size")}
        | {key: row[key] for key in ("padding_type", "dispersion")}
        | {"facts": facts}
        # As the published prompt shows it, which formats whatever the field holds.
        | (
            {"fields": {"rule": str(row["rule"])}}
            if DATASETS[row["dataset"]] == "ruletaker"
            else {}
        ),
        style=f"flenqa-{DATASETS[row['dataset']]}{'-cot' if cot else ''}",
    )
