"""Other tools' files: the published ones read right, ours read back, faulty ones are refused."""

from __future__ import annotations

import gzip
import json
import math
import re
import runpy
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from needlework.heads.formats import (
    as_head_scores,
    detect,
    read_duoattention,
    read_qrhead,
    read_retrieval_head,
    write_duoattention,
    write_qrhead,
    write_retrieval_head,
)
from needlework.heads.score_file import HeadScores, Instance, Layer, read_scores, write_scores

Scores = NDArray[np.float64]
Convert = Callable[[Path, str], Path]


# --- The files that Wu et al. published --------------------------------------------------------


_PUBLISHED = {  # file: instances, top heads, heads >= 0.1 and > 0, maximum, % 0 / <.1 / <.5 / rest
    "llama-2-7b-80k": (
        586, [("16-19", 0.943), ("11-15", 0.920), ("8-26", 0.800)], 33, 305, 1.0,
        [70.2, 26.6, 2.6, 0.6],
    ),
    "Mistral-7B-v0.2-hf": (
        362, [("18-0", 0.943), ("12-7", 0.928), ("12-6", 0.774)], 43, 358, 1.0,
        [65.0, 30.8, 3.7, 0.5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _PUBLISHED)
def test_published_scores_have_their_known_counts(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    n, top, from_a_tenth, positive, maximum, shares = _PUBLISHED[name]
    path = shared_data / "head_scores" / f"{name}.json.gz"
    assert detect(path) == "retrieval_head"
    scores = read_retrieval_head(path)
    assert scores.shape == (n, 32, 32)
    means = scores.mean(axis=0)
    write_qrhead(tmp_path / "top.json", means, top=3)
    ranked = json.loads((tmp_path / "top.json").read_text(encoding="utf-8"))
    assert [(head, round(mean, 3)) for head, mean in ranked] == top
    assert (means >= 0.1).sum() == from_a_tenth
    assert (means > 0).sum() == positive
    assert round(float(scores.max()), 2) == maximum
    edges = [0, np.nextafter(0, 1), 0.1, 0.5, np.inf]
    found = [100 * ((means >= a) & (means < b)).mean() for a, b in pairwise(edges)]
    assert [round(float(share), 1) for share in found] == shares
    raw = json.loads(gzip.decompress(path.read_bytes()))
    assert scores[:, 11, 15].tolist() == raw["11-15"]


# --- What is written reads back ----------------------------------------------------------------

_sizes = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))


@given(_sizes.flatmap(lambda size: arrays.arrays(np.float64, size, elements=st.floats(0, 2))))
@pytest.mark.parametrize("name", ["new/scores.json", "new/scores.json.gz"])
def test_a_retrieval_head_file_reads_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, scores: Scores
) -> None:
    path = tmp_path_factory.mktemp("f") / name
    write_retrieval_head(path, scores)
    np.testing.assert_array_equal(read_retrieval_head(path), scores)
    before = path.read_bytes()
    write_retrieval_head(path, scores)  # replaces: upstream adds to a file that is there
    assert path.read_bytes() == before


def test_a_retrieval_head_file_has_the_layout_of_wu_et_al(tmp_path: Path) -> None:
    scores = np.arange(12.0).reshape(2, 2, 3)
    write_retrieval_head(tmp_path / "scores.json", scores)
    text = (tmp_path / "scores.json").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    by_head = json.loads(text)
    assert list(by_head) == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    assert by_head["1-2"] == [5, 11]
    write_retrieval_head(tmp_path / "scores.json.gz", scores)
    assert gzip.decompress((tmp_path / "scores.json.gz").read_bytes()).decode() == text


_means = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: arrays.arrays(np.float64, size, elements=st.floats(0, 2) | st.just(math.nan))
)


@given(_means, st.data())
def test_a_qrhead_list_holds_the_highest_and_reads_back(
    tmp_path_factory: pytest.TempPathFactory, means: Scores, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("f") / "heads.json"
    there = [
        (-float(means[i, j]), i, j) for i, j in np.ndindex(means.shape) if not np.isnan(means[i, j])
    ]
    if not there:
        with pytest.raises(ValueError, match="0 have a score"):
            write_qrhead(path, means, top=None)
        return
    top = data.draw(st.none() | st.integers(1, len(there)))
    write_qrhead(path, means, top)
    expected = sorted(there)[:top]  # by score, then layer, then head
    listed = json.loads(path.read_text(encoding="utf-8"))
    assert listed == [[f"{i}-{j}", -negated] for negated, i, j in expected]
    found = read_qrhead(path, *means.shape)
    places = [(i, j) for _, i, j in expected]
    assert all(found[place] == means[place] for place in places)
    assert np.isfinite(found).sum() == len(places)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.data())
def test_a_duoattention_gate_is_the_highest_of_its_query_heads(
    tmp_path_factory: pytest.TempPathFactory,
    layers: int,
    kv_heads: int,
    group: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("f") / "full_attention_heads.tsv"
    size = (layers, kv_heads * group)
    means = data.draw(arrays.arrays(np.float64, size, elements=st.floats(-1, 2)))
    write_duoattention(path, means, kv_heads)
    expected = [[0.0] * kv_heads for _ in range(layers)]
    for layer, head in np.ndindex(size):
        gate = min(float(means[layer, head]), 1.0)
        expected[layer][head // group] = max(expected[layer][head // group], gate)
    assert read_duoattention(path).tolist() == expected
    upstream = np.loadtxt(path, dtype=float, delimiter="\t", ndmin=2)  # as DuoAttention reads it
    assert upstream.tolist() == expected


def test_duoattention_gates_are_clipped_as_duoattention_does(tmp_path: Path) -> None:
    learned = np.array([[-0.0125, 0.5, 1.25], [0.0, 1.0, 2e-3]])
    np.savetxt(tmp_path / "gates.tsv", learned, delimiter="\t")  # as DuoAttention writes it
    assert read_duoattention(tmp_path / "gates.tsv").tolist() == [[0, 0.5, 1], [0, 1, 0.002]]


# --- Faulty files are refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"0-0": [1], "0-1": [0], "1-1": [0]}',
            "1 heads are missing, first 1-0; expected .*2 x 2",
        ),
        ('{"0-0": [1], "9-999999999": [0]}', "first 0-1"),
        ('{"0-0": [1, 0], "0-1": [0]}', "0-1 has 1 scores and 0-0 has 2"),
        ('{"0-0": [], "0-1": []}', "0-0 has 0 scores"),
        ('{"0-0": [1], "0_1": [0]}', "0_1.*'0_1'.*layer-head"),
        ('{"0-0": [1], "0-01": [0]}', "0-01"),
        ('{"0-0": [1], "0-0": [0]}', ".0-0. stands there twice"),
        ('{"0-0": [1, NaN]}', r"0-0\.1: .*finite number.*'nan'"),
        ('{"0-0": [1, -Infinity]}', r"0-0\.1: .*finite number"),
        ('{"0-0": [1, "2"]}', r"0-0\.1: .*number, found '2'"),
        ('{"0-0": [true]}', r"0-0\.0: .*number"),
        ('{"0-0": 1}', "0-0: .*list, found '1'"),
        ("{}", 'is empty; expected {"layer-head"'),
        ("", "Expecting value: line 1"),
        ('{"0-0": [1]', "line 1 column"),
        ("[1]", "dictionary"),
    ],
)
def test_a_faulty_retrieval_head_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"scores\.json: .*{message}"):
        read_retrieval_head(path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.json.gz"
    write_retrieval_head(path, np.zeros((2, 3, 4)))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"scores\.json\.gz: is not a whole file"):
        read_retrieval_head(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[["2-0", 1]]', "2-0 is not a head of 2 layers of 3"),
        ('[["0-3", 1]]', "0-3 is not a head of 2 layers of 3"),
        ('[["0-1", 1], ["0-1", 0.5]]', "0-1 is listed twice"),
        ('[["0-1", 1], ["01", 0.5]]', r"1\.0: .*found '01'"),
        ('[["0-1", NaN]]', r"0\.1: .*finite"),
        ('[["0-1"]]', r"0\.1: Field required"),
        ('{"0-1": 1}', "list"),
        ("[]", "is empty"),
    ],
)
def test_a_faulty_qrhead_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "heads.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"heads\.json: .*{message}"):
        read_qrhead(path, layers=2, heads=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t1\n1\n", "line 2: '1'; expected 2 numbers"),
        ("0\t1\n1\t0\t1\n", "line 2: "),
        ("0\t1\nnan\t1\n", r"line 2: 'nan\\t1'"),
        ("0\tinf\n", "line 1: "),
        ("0 1\n", "line 1: '0 1'"),
        ("0\t1\n\n1\t1\n", "line 2: ''"),
        ("", "line 1: ''"),
    ],
)
def test_a_faulty_duoattention_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gates.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"gates\.tsv, {message}"):
        read_duoattention(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_retrieval_head(path, np.empty((0, 2, 2))), "no instance"),
        (
            lambda path: write_retrieval_head(path, np.array([[[1, np.nan]]])),
            "1 heads .* first 0-1",
        ),
        (lambda path: write_qrhead(path, np.ones((2, 2)), top=5), "5 heads are asked for; 4 have"),
        (lambda path: write_qrhead(path, np.ones((2, 2)), top=0), "0 heads are asked for"),
        (lambda path: write_duoattention(path, np.ones((2, 4)), 3), "4 query heads cannot share 3"),
        (lambda path: write_duoattention(path, np.ones((2, 4)), 0), "cannot share 0"),
        (lambda path: write_duoattention(path, np.array([[1, np.nan]]), 1), "first 0-1"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"out: .*{message}"):
        write(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "head\tscore\n0-0\t1\n", "layer 0", '"0-0"'])
def test_a_file_of_no_format_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"scores: starts with .*; expected a file of needlework, "
    ):
        detect(path)


# --- The command line --------------------------------------------------------------------------


def _ours(path: Path, *, last: Layer | None = None) -> HeadScores:
    """Three instances, the first answered wrong, of two layers of four heads of two KV heads."""
    layer = Layer(attention="full", heads=4, kv_heads=2)
    layers = [layer, last or layer]
    copy = np.arange(24.0).reshape(3, 2, 4) / 25
    copy[:, 1, layers[1].heads :] = np.nan
    scores = HeadScores(
        metadata={"probe": {"kind": "copy", "role": "answer", "instances": "all"}},
        layers=layers,
        instances=[
            Instance(id=str(i), cluster=str(i), generated="", correct=i > 0) for i in range(3)
        ],
        measures={"copy/answer": copy, "mass/answer": copy / 2},
        failures={},
    )
    write_scores(path, scores)
    return scores


@pytest.fixture
def convert(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Convert:
    """Run scripts/convert_heads.py from `source`, with the flags of a line; the path it wrote."""

    def run(source: Path, flags: str) -> Path:
        output = tmp_path / "converted" / "out"
        script = root / "scripts" / "convert_heads.py"
        arguments = [str(script), "--input", str(source), "--output", str(output), *flags.split()]
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(str(script), run_name="__main__")
        return output

    return run


def test_our_file_becomes_each_of_the_others(tmp_path: Path, convert: Convert) -> None:
    path = tmp_path / "probe.json"
    scores = _ours(path)
    assert detect(path) == "needlework"
    output = convert(path, "--to retrieval_head --measure mass/answer --instances correct")
    assert detect(output) == "retrieval_head"
    expected = scores.measures["mass/answer"][1:]
    np.testing.assert_array_equal(read_retrieval_head(output), expected)
    output = convert(path, "--to qrhead --top 1")
    assert detect(output) == "qrhead"
    assert json.loads(output.read_text(encoding="utf-8")) == [["1-3", pytest.approx(0.6)]]
    output = convert(path, "--to duoattention")
    assert detect(output) == "duoattention"
    np.testing.assert_array_equal(read_duoattention(output), scores.mean()[:, [1, 3]])


def test_wus_file_becomes_ours_and_the_others(tmp_path: Path, convert: Convert) -> None:
    path = tmp_path / "wu.json.gz"
    scores = np.arange(16.0).reshape(2, 2, 4).round(6)
    write_retrieval_head(path, scores)
    ours = read_scores(convert(path, "--to needlework --measure copy_repeats/answer --kv-heads 2"))
    np.testing.assert_array_equal(ours.of(), scores)
    assert ours.layers[1] == Layer(attention="full", heads=4, kv_heads=2)
    assert ours.metadata == as_head_scores(scores, "copy_repeats", "answer", 2, path.name).metadata
    assert len({each.cluster for each in ours.counted()}) == 2
    gates = read_duoattention(convert(path, "--to duoattention --kv-heads 2"))
    assert gates.tolist() == [[1, 1], [1, 1]]
    listed = read_qrhead(convert(path, "--to qrhead"), 2, 4)
    np.testing.assert_array_equal(listed, scores.mean(axis=0))
    qrhead = tmp_path / "list.json"
    write_qrhead(qrhead, listed / 100, top=None)
    gates = read_duoattention(
        convert(qrhead, "--to duoattention --layers 2 --heads 4 --kv-heads 2")
    )
    np.testing.assert_array_equal(gates, listed[:, [1, 3]] / 100)


_SOURCES: dict[str, Callable[[Path], Any]] = {
    "ours": _ours,
    "uneven": lambda path: _ours(path, last=Layer(attention="none", heads=0, kv_heads=0)),
    "wu": lambda path: write_retrieval_head(path, np.ones((1, 2, 4))),
    "list": lambda path: write_qrhead(path, np.ones((2, 4)), top=3),
    "gates": lambda path: write_duoattention(path, np.ones((2, 4)), kv_heads=2),
}


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("gates", "--to retrieval_head", "a number per KV head; retrieval_head takes one per"),
        ("gates", "--to needlework", "a number per KV head"),
        ("gates", "--to duoattention", "is in the format duoattention already"),
        ("list", "--to retrieval_head --layers 2 --heads 4", "has means; .* every instance"),
        ("list", "--to needlework --layers 2 --heads 4", "has means"),
        ("list", "--to duoattention --heads 4", "give --layers"),
        (
            "list",
            "--to duoattention --layers 2 --heads 4 --kv-heads 2",
            "5 heads have no finite score, first 0-3",
        ),
        ("wu", "--to duoattention", "give --kv-heads"),
        ("wu", "--to needlework --kv-heads 2", "give --measure"),
        ("wu", "--to needlework --kv-heads 2 --measure copy", "KIND/ROLE"),
        ("ours", "--to qrhead --measure topk/answer", "no measure 'topk/answer'; there are"),
        ("uneven", "--to duoattention", r"layers have \[0, 2\] KV heads"),
        ("uneven", "--to retrieval_head", "4 heads have no finite score, first 1-0"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, convert: Convert, source: str, flags: str, message: str
) -> None:
    _SOURCES[source](tmp_path / "source")
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        convert(tmp_path / "source", flags)
    assert not (tmp_path / "converted").exists()


def test_heads_that_do_not_exist_are_left_out_of_a_list(tmp_path: Path, convert: Convert) -> None:
    _SOURCES["uneven"](tmp_path / "source")
    output = convert(tmp_path / "source", "--to qrhead")
    listed = json.loads(output.read_text(encoding="utf-8"))
    assert {name for name, _ in listed} == {"0-0", "0-1", "0-2", "0-3"}
    assert not re.search("null|NaN", output.read_text(encoding="utf-8"))
