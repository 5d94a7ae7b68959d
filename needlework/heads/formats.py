"""Head scores in the files of other tools: read and written.

- retrieval_head, of Wu et al. (nightdessert/Retrieval_Head) and of HeadKV: JSON, or gzip of it,
  {"layer-head": [score of each instance]} of all query heads, layer by layer;
- qrhead, of QRHead (princeton-pli/QRHead): JSON, [["layer-head", mean score], ...], highest first;
- duoattention, of DuoAttention (mit-han-lab/duo-attention): a line per layer, a number per KV head,
  separated by tabs;
- needlework: `needlework.heads.score_file`.

Files are written whole; one that is there is replaced, never added to. What is read and faulty is
refused with a ValueError that names the file, the key or line, what was found and what is expected.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AllowInfNan, Strict, StringConstraints, TypeAdapter, ValidationError

from needlework import given
from needlework.atomic import atomic_path, write_text
from needlework.heads.score_file import HeadScores, Instance, Layer, fault

Scores = NDArray[np.float64]
Format = Literal["needlework", "retrieval_head", "qrhead", "duoattention"]
FORMATS: tuple[Format, ...] = get_args(Format)

_Head = Annotated[str, StringConstraints(strict=True, pattern=r"^(0|[1-9]\d*)-(0|[1-9]\d*)$")]
_Score = Annotated[float, Strict(), AllowInfNan(False)]
_T = TypeVar("_T")
_LARGEST = 512 * 2**20  # bytes: a thousand instances of an 8B model take 20 MB
_BY_HEAD = TypeAdapter(dict[_Head, list[_Score]])
_RANKED = TypeAdapter(list[tuple[_Head, _Score]])


def read_retrieval_head(path: Path | str) -> Scores:
    """Scores (I, L, H) of a file of Wu et al. or HeadKV; I, L and H are what the file holds.

    Raises:
        ValueError: it is no such file, a head is missing, or two lists differ in length.
    """
    found = _read_json(path, _BY_HEAD, '{"layer-head": [score of each instance], ...}')
    heads = [_numbers(name) for name in found]
    layers, widest = (1 + max(numbers) for numbers in zip(*heads, strict=True))
    lacking = layers * widest - len(heads)
    if lacking:
        there = set(heads)
        every = ((i, j) for i in range(layers) for j in range(widest))
        first = "{}-{}".format(*next(head for head in every if head not in there))
        raise ValueError(
            f"{path}: {lacking} heads are missing, first {first}; expected all {layers} x {widest} "
            "that the highest numbers tell of: take the file from its source again"
        )
    n = len(found["0-0"])
    for name, scores in found.items():
        if len(scores) != n or not n:
            raise ValueError(
                f"{path}: {name} has {len(scores)} scores and 0-0 has {n}; expected one per "
                "instance, at least one, in every list: take the file from its source again"
            )
    return np.array([found[f"{i}-{j}"] for i, j in np.ndindex(layers, widest)]).T.reshape(
        n, layers, widest
    )


def write_retrieval_head(path: Path | str, scores: Scores) -> None:
    """Write scores (I, L, H) in one line, as Wu et al. do; as gzip where `path` ends in .gz.

    Raises:
        ValueError: there is no instance, or a score is no finite number.
    """
    if not len(scores):
        raise ValueError(f"{path}: there is no instance to write; the format holds instances only")
    _refuse_gaps(path, scores.mean(axis=0))
    by_head = {f"{i}-{j}": scores[:, i, j].tolist() for i, j in np.ndindex(scores.shape[1:])}
    text = json.dumps(by_head) + "\n"
    if Path(path).suffix == ".gz":
        with atomic_path(
            path, recorded=False
        ) as temporary:  # no time stamp: the same scores, the same bytes
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        write_text(path, text, recorded=False)


def read_qrhead(path: Path | str, layers: int, heads: int) -> Scores:
    """Mean scores (L, H) of a QRHead list, NaN for the heads that it does not list.

    Args:
        path: the list; what QRHead ships has the top heads only.
        layers: L of the model, which the file does not say.
        heads: H, query heads per layer.

    Raises:
        ValueError: it is no such file, or a head is listed twice or is not one of the model's.
    """
    means = np.full((layers, heads), np.nan)
    for name, score in _read_json(path, _RANKED, '[["layer-head", score], ...]'):
        layer, head = _numbers(name)
        if layer >= layers or head >= heads:
            raise ValueError(
                f"{path}: {name} is not a head of {layers} layers of {heads}; is the list of "
                "another model?"
            )
        if not np.isnan(means[layer, head]):
            raise ValueError(f"{path}: {name} is listed twice; a head has one score")
        means[layer, head] = score
    return means


def write_qrhead(path: Path | str, means: Scores, top: int | None) -> None:
    """Write the `top` heads by mean score (L, H), None: all, highest first; NaN is left out.

    Ties go to the lower layer, then the lower head.

    Raises:
        ValueError: there are fewer than `top` heads with a score, or none.
    """
    order = np.argsort(-means, axis=None, kind="stable")  # NaN comes last
    count = int(np.isfinite(means).sum())
    wanted = count if top is None else top
    if not 1 <= wanted <= count:
        raise ValueError(f"{path}: {wanted} heads are asked for; {count} have a score")
    chosen = [divmod(int(index), means.shape[1]) for index in order[:wanted]]
    rows = [json.dumps([f"{i}-{j}", float(means[i, j])]) for i, j in chosen]
    write_text(path, "[\n" + ",\n".join(rows) + "\n]\n", recorded=False)


def read_duoattention(path: Path | str) -> Scores:
    """Gates (L, KV heads) of DuoAttention, in [0, 1]: 1 is full attention, 0 is streaming.

    The file holds them as they were learned, a little outside of [0, 1] too; they are clipped as
    `load_attn_pattern` of DuoAttention does.

    Raises:
        ValueError: a line has another number of columns than the first, or what is no finite
            number.
    """
    lines = _read_text(path).removesuffix("\n").split("\n")
    rows = [[_number(cell) for cell in line.split("\t")] for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]) or not np.isfinite(row).all():
            raise ValueError(
                f"{path}, line {number}: {lines[number - 1][:80]!r}; expected {len(rows[0])} "
                "numbers, as many as in line 1, separated by tabs: one per KV head"
            )
    return np.array(rows).clip(0, 1)


def write_duoattention(path: Path | str, means: Scores, kv_heads: int) -> None:
    """Write the gate of each KV head: the highest mean score of its query heads, in [0, 1].

    The highest, because a KV cache is kept or cut for all query heads that read it: one that
    retrieves needs it whole. That is our choice; DuoAttention learns its gates. Scores above 1 are
    clipped. DuoAttention reads the file under the name full_attention_heads.tsv, beside a
    config.json with `sink_size` and `recent_size`.

    Args:
        path: the file.
        means: (L, H); query head h reads KV head h // (H / kv_heads), as in transformers.
        kv_heads: KV heads per layer.

    Raises:
        ValueError: H is no multiple of `kv_heads`, or a score is no finite number.
    """
    layers, heads = means.shape
    if kv_heads < 1 or heads % kv_heads:
        raise ValueError(f"{path}: {heads} query heads cannot share {kv_heads} KV heads evenly")
    _refuse_gaps(path, means)
    gates = means.reshape(layers, kv_heads, -1).max(axis=2).clip(0, 1)
    write_text(path, "".join("\t".join(map(repr, row)) + "\n" for row in gates.tolist()))


def detect(path: Path | str) -> Format:
    """The format of a file, by its content.

    Raises:
        ValueError: it is none of the formats.
    """
    text = _read_text(path).strip()
    if text.startswith("{"):
        return "needlework" if '"measures"' in text else "retrieval_head"
    if text.startswith("["):
        return "qrhead"
    if text and all(math.isfinite(_number(cell)) for cell in text.splitlines()[0].split("\t")):
        return "duoattention"
    raise ValueError(
        f"{path}: starts with {text[:40]!r}; expected a file of {', '.join(FORMATS)}: JSON, or "
        "numbers between tabs"
    )


def as_head_scores(scores: Scores, kind: str, role: str, kv_heads: int, source: str) -> HeadScores:
    """The scores (I, L, H) of another tool's file as ours, with what such a file leaves unsaid.

    Every layer is taken to have full attention. Instances are numbered and taken as correct
    (the tools keep successes only) and as independent: intervals over them are too narrow, because
    there are few needles behind them and the file does not say which.

    Args:
        scores: as `read_retrieval_head` gives them.
        kind: how they were computed: copy_repeats by Wu et al.; see `topk` for HeadKV's R2.
        role: of the needles that they are about.
        kv_heads: KV heads per layer.
        source: where they are from, for the metadata.
    """
    names = [str(number) for number in range(len(scores))]
    layer = Layer(attention="full", heads=scores.shape[2], kv_heads=kv_heads)
    return HeadScores(
        metadata={"source": source, "probe": {"kind": kind, "role": role, "instances": "all"}},
        layers=[layer] * scores.shape[1],
        instances=[Instance(id=i, cluster=i, generated="", correct=True) for i in names],
        measures={f"{kind}/{role}": scores},
        failures={},
    )


def _refuse_gaps(path: Path | str, means: Scores) -> None:
    faulty = np.argwhere(~np.isfinite(means))
    if len(faulty):
        raise ValueError(
            f"{path}: {len(faulty)} heads have no finite score, first {faulty[0][0]}-{faulty[0][1]}"
            "; this format has a number for every head of a model, only needlework and qrhead can "
            "leave heads out"
        )


def _read_json(path: Path | str, adapter: TypeAdapter[_T], expected: str) -> _T:
    try:
        found = adapter.validate_python(given.json_value(_read_text(path), str(path), finite=False))
    except ValidationError as error:
        raise ValueError(f"{path}: {fault(error)}; expected {expected}") from error
    except ValueError as error:
        raise ValueError(f"{error}; expected JSON, {expected}") from error
    if not found:
        raise ValueError(f"{path}: is empty; expected {expected}")
    return found


def _read_text(path: Path | str) -> str:
    return given.read_text(path, _LARGEST)


def _numbers(name: str) -> tuple[int, int]:
    layer, head = name.split("-")
    return int(layer), int(head)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
