"""A dataset's README.md: what it is, how it was made, what is in it, and one example as it is read.

Nobody vouches for the text of a dataset: outside of fences it is escaped, and a fence is longer
than any run of backticks inside.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby, pairwise
from typing import Any

import yaml

from needlework.examples import Document, Example
from needlework.layout import REAL, mixture_of
from needlework.rendering.styles import style_of
from needlework.synthesis.leaks import ASKS_QUESTION, HAS_ANSWER, SHARES_WORDS

Split = Mapping[str, Any]

_NEEDLE = {
    "high": "The real fact in a language model's words, with the real names",
    "low": "A template's sentence over invented names, or an insight as one plain sentence",
}
_HAYSTACK = {
    "high": "prose that a language model wrote on the topics of the real documents",
    "low": "a few short sentences of filler, again and again",
    "repeated": "one passage with a meaning, again and again",
}
_LOOK_UPS = {
    "kv_simple": "A key's value and its dictionary's number; around it, dictionaries of integers",
    "kv_multi_subkey": "The value of a key told by some of its integers; around it, dictionaries",
}
# What states the needle of each variant, and what stands around it.
DESCRIPTIONS = {
    "real": "The real examples, needles and documents as the corpus has them",
    "real_limited": "The real examples of which a template covers every relation",
    **{f"{n}_{h}": f"{_NEEDLE[n]}; around it, {_HAYSTACK[h]}" for n in _NEEDLE for h in _HAYSTACK},
    "symbolic": "For each hop the value of a key; around it, named dictionaries of invented words",
    **_LOOK_UPS,
    **{f"{n}_template": f"{t}; the question shows the answer's form" for n, t in _LOOK_UPS.items()},
    "needle_in_haystack": "A sentence with an invented number; around it, a text on other things",
    "multidoc_qa": "The real examples; the answer first names its documents by their titles",
}
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
_BAR, _RELATIONS = 40, 20  # characters of the longest bar; rows before "and n more"
_GOLDS, _ENDS = 4, 2  # documents of the example that are shown: gold ones, and at each end
_LONG, _SHOWN = 800, 200  # of a longer stretch without a needle: characters shown at each end


def dataset_card(record: Mapping[str, Any], example: Example, name: str) -> str:
    """The card of a dataset: YAML for the Hugging Face Hub, then Markdown.

    Args:
        record: the content of the dataset's dataset.json.
        example: one of its examples, with the documents that a prompt shows and no others.
        name: of the dataset, for people.

    Raises:
        KeyError: the record lacks a key, or its variant has no description.
    """
    splits = record["splits"]
    made = {name: split for name, split in splits.items() if split["made"]}  # the rest have no more
    sections = {
        "What came in, what went out, and why": "Real examples are considered one after the other, "
        "until as many are made as wanted.\n\n" + _by_split(splits, "examples", _counts),
        "Length": _lengths(made, record["length"]),
        "Needle depth": _depths(made),
        "Relations": _relations(made),
        "Documents per example": _by_split(made, "documents", lambda split: split["documents"]),
        "How it was made": _making(record),
        "Overlap with the evaluation data": "Synthetic examples were held against the evaluation "
        "examples; real ones are of another split of their task, and were not.\n\n"
        + _by_split(made, "examples", _overlap),
        "One example": _one(example),
    }
    parts = [_front_matter(record, name), f"# {_inline(name)}", _about(record)]
    return "\n\n".join([*parts, *(f"## {title}\n\n{text}" for title, text in sections.items()), ""])


def _front_matter(record: Mapping[str, Any], name: str) -> str:
    total = sum(split["made"] for split in record["splits"].values())
    files = [{"split": split, "path": f"{split}.jsonl"} for split in record["splits"]]
    all_real = mixture_of(record["variant"]).keys() <= REAL
    content = {
        "pretty_name": " ".join(name.split()),
        "language": ["en"],
        "task_categories": ["question-answering"],
        "size_categories": [next((s for n, s in _SIZES.items() if total < n), "1M<n<10M")],
        "tags": ["long-context", *([] if all_real else ["synthetic"]), "needlework"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(content, allow_unicode=True, sort_keys=False)}---"


def _about(record: Mapping[str, Any]) -> str:
    numbers = " and ".join(f"{s['made']:,} for {name}" for name, s in record["splits"].items())
    shares = mixture_of(record["variant"]).items()
    parts = [f"- {100 * share:g} % {name}: {DESCRIPTIONS[name]}." for name, share in shares]
    return (
        f"Examples that teach a language model to use a context of {record['length']:,} tokens. "
        "Each has a question, an answer, and documents; needles are the places in the documents "
        "that the answer depends on. needlework made them from its task "
        f"{_inline(record['task'])}, {numbers}:\n\n" + "\n".join(parts) + "\n\n"
        "`dataset.json`, beside this file, has the numbers below, and the ids of what was skipped."
    )


def _counts(split: Split) -> dict[str, object]:
    of_parts = {f"made as {part}": number for part, number in split.get("parts", {}).items()}
    skipped = {f"skipped: {reason}": len(ids) for reason, ids in split["skipped"].items()}
    counts = {key: split[key] for key in ("real", "considered", "wanted", "made")}
    return {**counts, **of_parts, "skipped": sum(skipped.values()), **skipped}


def _overlap(split: Split) -> dict[str, object]:
    reasons = (ASKS_QUESTION, SHARES_WORDS, HAS_ANSWER)
    left_out = {f"left out: {reason}": len(split["skipped"].get(reason, [])) for reason in reasons}
    return {**left_out, f"kept: {HAS_ANSWER}": split["answers_in_evaluation"]}


def _relations(splits: Mapping[str, Split]) -> str:
    totals = sum((Counter(split["relations"]) for split in splits.values()), Counter[str]())
    names, more = [n for n, _ in totals.most_common(_RELATIONS)], len(totals) - _RELATIONS
    table = _by_split(splits, "needles", lambda s: {n: s["relations"].get(n, 0) for n in names})
    return f"{table}\n\nand {more} more" if more > 0 else table


def _depths(splits: Mapping[str, Split]) -> str:
    columns = {f"{s}, {role}": n for s, v in splits.items() for role, n in v["depths"].items()}
    bins = [f"{i / 10:.1f}–{(i + 1) / 10:.1f}" for i in range(10)]
    table = _table(["depth", *columns], zip(bins, *columns.values(), strict=True))
    return f"Needles by their place in the prompt, from 0, its beginning, to 1, its end.\n\n{table}"


def _making(record: Mapping[str, Any]) -> str:
    made = record["generator"] or {"model": "none; no language model wrote any of it"}
    rows = {
        "seed": str(record["seed"]),
        **{f"generator: {key}": "not known" if v is None else v for key, v in made.items()},
        **{f"version: {name}": version for name, version in record["versions"].items()},
        **{f"SHA-256: {name}.jsonl": split["sha256"] for name, split in record["splits"].items()},
    }
    return _table(["", ""], rows.items())


def _lengths(splits: Mapping[str, Split], target: int) -> str:
    blocks = [
        f"{name}, {model}: {n['min']:,} to {n['max']:,} tokens, mean {n['mean']:,.1f}\n"
        + "\n".join(_bars(n["histogram"]["edges"], n["histogram"]["counts"], n["max"], target))
        for name, split in splits.items()
        for model, n in split["tokens"].items()
    ]
    return "Tokens of prompt and answer together.\n\n" + _fenced("\n\n".join(blocks))


def _bars(edges: list[int], counts: list[int], last: int, target: int) -> list[str]:
    """A line for each bin; `edges` are the lower ends, and `last` is the largest value."""
    bins = list(zip(edges, [*(edge - 1 for edge in edges[1:]), last], counts, strict=True))
    if not any(low <= target <= high for low, high, _ in bins):
        bins = sorted([*bins, (target, target, 0)])
    lines = []
    for low, high, count in bins:
        label = f"{low:,}" if low == high else f"{low:,}–{high:,}"
        eighths = -(-8 * _BAR * count // max(1, *counts))
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        mark = f"  ← target {target:,}" if low <= target <= high else ""
        lines.append(f"{label:>{2 * len(f'{last:,}') + 1}} │{bar} {count:,}{mark}")
    return lines


def _one(example: Example) -> str:
    # Marks are longer than any run of such characters in the text, as a fence is.
    texts = (f"{document.title}\n{document.text}" for document in example.documents)
    width = 1 + _longest_run("⟦⟧", "\n".join([example.question, *texts]))
    return (
        f"What a model reads for {_inline(example.id)}, in its chat template. Needles stand "
        f"between {'⟦' * width} and {'⟧' * width}; only here, some text is left out: […].\n\n"
        f"{_fenced(_prompt(example, width))}\n\nIts answer; of several lines each is accepted, and "
        f"the first is trained on.\n\n{_fenced(chr(10).join(example.answers))}"
    )


def _prompt(example: Example, width: int) -> str:
    """The prompt with its needles marked and most of its other documents left out."""
    style, documents = style_of(example), example.documents
    fields = {"question": example.question, **example.source.get("fields", {})}
    blocks = [_block(example, d, number, width) for number, d in enumerate(documents, start=1)]
    places = range(len(documents))
    golds = [place for place in places if documents[place].gold]
    chosen = {*golds[:_GOLDS], *places[:_ENDS], *places[-_ENDS:]}
    prompt = style.before.format(**fields)
    for is_chosen, group in groupby(places, key=chosen.__contains__):
        run = list(group)
        gold = f", gold: {len({*run} & {*golds})}" if {*run} & {*golds} else ""
        left_out = f"[… {len(run):,} more document{'s' * (len(run) > 1)}{gold} …]\n\n"
        prompt += "".join(blocks[place] for place in run) if is_chosen else left_out
    return prompt + style.after.format(**fields) + (f"\n{style.opening}" if style.opening else "")


def _block(example: Example, document: Document, number: int, width: int) -> str:
    """A document as it is shown, with its needles marked; of long stretches without, the ends."""
    style, text = style_of(example), ""
    spans = {(n.start, n.end) for n in example.needles if n.document == document.id}
    for a, b in pairwise(sorted({0, len(document.text), *chain(*spans)})):
        piece = document.text[a:b]
        if len(piece) > _LONG and not any(start <= a and b <= end for start, end in spans):
            left_out = f" [… {len(piece) - 2 * _SHOWN:,} characters …] "
            piece = f"{piece[:_SHOWN]}{left_out}{piece[-_SHOWN:]}"
        begun, ended = sum(start == a for start, _ in spans), sum(end == b for _, end in spans)
        text += "⟦" * width * begun + piece + "⟧" * width * ended
    block = style.block(document.model_copy(update={"text": text}), number)
    a, b = style.number_span(number) or (0, 0)
    cited = f"{block[:a]}{'⟦' * width}{block[a:b]}{'⟧' * width}{block[b:]}"
    return cited if b and document.id in example.cites else block


def _longest_run(characters: str, text: str) -> int:
    return max(map(len, re.findall(f"[{characters}]+", text)), default=0)


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + _longest_run("`", text))
    return f"{fence}text\n{text}\n{fence}"


def _by_split(
    splits: Mapping[str, Split], what: str, column: Callable[[Split], Mapping[str, object]]
) -> str:
    """A table with a column for each split; a row that one split has not is 0 there."""
    columns = [column(split) for split in splits.values()]
    labels = dict.fromkeys(label for one in columns for label in one)
    return _table([what, *splits], [[n, *(one.get(n, 0) for one in columns)] for n in labels])


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    cells = [[_inline(cell) for cell in row] for row in (head, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:]))


def _inline(value: object) -> str:
    """A value on one line of Markdown, none of its characters markup."""
    text = " ".join(format(value, {int: ",", float: ",.2f"}.get(type(value), "")).split())
    return re.sub(r"([\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", text)
