"""The file of a probe: it reads back as written, its means are right, faulty files are refused."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from needlework.heads.score_file import (
    HeadScores,
    Instance,
    Layer,
    existing_heads,
    read_scores,
    write_scores,
)
from tests.listing import names


@st.composite
def _probes(draw: st.DrawFn) -> HeadScores:
    """Probes of models some of whose layers have fewer heads or none, of 0 to 4 instances."""
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any))
    layers = [
        Layer(
            attention="none" if not size else "sliding" if size == 2 else "full",
            heads=size,
            kv_heads=min(size, 1),
            window=16 if size == 2 else None,
            unseen={"answer": 1} if size == 2 else {},
        )
        for size in sizes
    ]
    there, count = existing_heads(layers), sum(sizes)
    correct = draw(st.lists(st.booleans(), max_size=4))
    instances = [
        Instance(id=f"e{i}", cluster=f"c{i // 2}", generated="Zürich\n", correct=right)
        for i, right in enumerate(correct)
    ]
    measures = {}
    for name in ("copy/answer", "mass/bridge"):
        scores = np.full((len(instances), *there.shape), np.nan)
        for row in scores:
            if draw(st.booleans()):  # else the instance has no needle of the role
                row[there] = draw(st.lists(st.floats(0, 2), min_size=count, max_size=count))
        measures[name] = scores
    probe = {
        "kind": "copy",
        "role": "answer",
        "instances": draw(st.sampled_from(["all", "correct"])),
    }
    return HeadScores(
        {"probe": probe, "model": "m"}, layers, instances, measures, {"too long": ["x"]}
    )


def _heads(scores: HeadScores) -> list[str]:
    return [f"{i}-{j}" for i, layer in enumerate(scores.layers) for j in range(layer.heads)]


@given(_probes())
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, scores: HeadScores
) -> None:
    path = tmp_path_factory.mktemp("m") / "new" / "probe.json"
    write_scores(path, scores)
    found = read_scores(path)
    assert found.metadata == scores.metadata
    assert found.layers == scores.layers
    assert found.instances == scores.instances
    assert found.failures == scores.failures
    assert list(found.measures) == list(scores.measures)
    for name, values in scores.measures.items():
        np.testing.assert_array_equal(found.measures[name], values)
    np.testing.assert_array_equal(found.mean(), scores.mean())
    counted = read_scores(path, counted_only=True)
    assert list(counted.measures) == ["copy/answer"]
    np.testing.assert_array_equal(counted.of(), scores.of())
    for key in ("metadata", "layers", "instances", "failures"):
        assert getattr(counted, key) == getattr(scores, key)
    text = path.read_text(encoding="utf-8")
    write_scores(path, found)  # replaces the file, and nothing is lost or added
    assert path.read_text(encoding="utf-8") == text


@given(_probes())
def test_n_mean_and_standard_error_are_of_the_instances_that_count(
    tmp_path_factory: pytest.TempPathFactory, scores: HeadScores
) -> None:
    path = tmp_path_factory.mktemp("m") / "probe.json"
    write_scores(path, scores)
    document = json.loads(path.read_text(encoding="utf-8"))
    only_correct = scores.metadata["probe"]["instances"] == "correct"
    for name, measure in document["measures"].items():
        kind, role = name.split("/")
        values = scores.measures[name]
        counted = [
            i
            for i, instance in enumerate(scores.instances)
            if not np.isnan(values[i]).all() and (instance.correct or not only_correct)
        ]
        assert measure["n"] == len(counted)
        assert scores.of(kind, role).shape == (len(counted), *values.shape[1:])
        assert scores.counted(kind, role) == [scores.instances[i] for i in counted]
        assert list(measure["scores"]) == _heads(scores)
        assert (measure["mean"] is None) == (not counted)
        assert (measure["standard_error"] is None) == (len(counted) < 2)
        for head in _heads(scores):
            i, j = map(int, head.split("-"))
            of_head = [float(values[k, i, j]) for k in counted]
            if counted:
                assert measure["mean"][head] == pytest.approx(statistics.fmean(of_head), abs=1e-6)
                assert measure["mean"][head] == scores.mean(kind, role)[i, j]
            if len(counted) > 1:
                error = statistics.stdev(of_head) / math.sqrt(len(counted))
                assert measure["standard_error"][head] == pytest.approx(error, abs=1e-6)
        if not counted:
            assert np.isnan(scores.mean(kind, role)).all()


def _probe(**changes: Any) -> HeadScores:
    """Two layers of two heads, a layer without, a third head in the last; three instances."""
    layers = [
        Layer(attention="full", heads=2, kv_heads=1),
        Layer(attention="none", heads=0, kv_heads=0),
        Layer(attention="sliding", heads=3, kv_heads=1, window=8, unseen={"answer": 2}),
    ]
    copy = np.arange(27.0).reshape(3, 3, 3) / 100
    copy[:, ~existing_heads(layers)] = np.nan
    bridge = copy.copy()
    bridge[1] = np.nan
    values: dict[str, Any] = {
        "metadata": {"probe": {"kind": "copy", "role": "answer", "instances": "all"}},
        "layers": layers,
        "instances": [
            Instance(id=f"e{i}", cluster=f"c{i}", generated="", correct=i > 0) for i in range(3)
        ],
        "measures": {"copy/answer": copy, "copy/bridge": bridge},
        "failures": {"longer than the context": ["e3"]},
    }
    return HeadScores(**(values | changes))


def test_the_measure_and_the_instances_can_be_named() -> None:
    scores = _probe()
    copy = scores.measures["copy/answer"]
    np.testing.assert_array_equal(scores.of(), copy)
    np.testing.assert_array_equal(scores.of(instances="correct"), copy[1:])
    np.testing.assert_array_equal(scores.of(role="bridge"), copy[[0, 2]])
    np.testing.assert_array_equal(scores.of("copy", "bridge", "correct"), copy[[2]])
    assert [each.cluster for each in scores.counted(role="bridge")] == ["c0", "c2"]
    (only,) = scores.counted(role="bridge", instances="correct")
    assert only.cluster == "c2"
    np.testing.assert_allclose(scores.mean(instances="correct"), copy[1:].mean(axis=0), atol=1e-6)


def test_a_measure_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    there = re.escape("'mass/answer'; there are ['copy/answer', 'copy/bridge']")
    with pytest.raises(ValueError, match=there):
        _probe().mean(kind="mass")
    with pytest.raises(ValueError, match="'right'"):
        _probe().of(instances="right")  # type: ignore[arg-type]


def test_scores_have_six_decimals_before_the_file_is_written_and_in_it(tmp_path: Path) -> None:
    instances = [Instance(id="e", cluster="c", generated="Zürich", correct=True)]
    layers = [Layer(attention="full", heads=1, kv_heads=1)]
    third = {"copy/answer": np.full((1, 1, 1), 1 / 3)}
    scores = _probe(layers=layers, instances=instances, measures=third)
    assert scores.of().tolist() == [[[0.333333]]]
    write_scores(tmp_path / "probe.json", scores)
    text = (tmp_path / "probe.json").read_text(encoding="utf-8")
    assert '"scores": {"0-0": [0.333333]}' in text
    assert "Zürich" in text


def test_a_mean_of_a_tenth_is_a_tenth_although_scores_are_rounded() -> None:
    thirds = np.array([1 / 3, 1 / 3, 1 / 3, *[0] * 7, 1 / 3, 2 / 3, *[0] * 8]).reshape(20, 1, 1)
    instances = [Instance(id=str(i), cluster="c", generated="", correct=i < 10) for i in range(20)]
    layers = [Layer(attention="full", heads=1, kv_heads=1)]
    scores = _probe(layers=layers, instances=instances, measures={"copy/answer": thirds})
    assert scores.mean(instances="correct")[0, 0] == 0.1
    assert scores.mean()[0, 0] == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {}}, "metadata.probe has the keys"),
        ({"measures": {}}, "no measure 'copy/answer'"),
        ({"measures": {"copy": np.zeros((3, 3, 3))}}, "named as kind/role"),
        ({"measures": {"copy/answer": np.zeros((2, 3, 3))}}, r"shape \(2, 3, 3\)"),
        ({"measures": {"copy/answer": np.zeros((3, 3, 3))}}, "where there is no head"),
        ({"layers": [Layer(attention="none", heads=0, kv_heads=0)]}, "nothing to score"),
        ({"failures": {"too long": ["e1"]}}, r"twice.*'e1'"),
    ],
)
def test_scores_that_are_not_whole_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _probe(**changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_instance_has_a_score_of_every_head_or_of_none(value: float) -> None:
    copy = _probe().measures["copy/answer"].copy()
    copy[1, 2, 1] = value
    with pytest.raises(ValueError, match=r"head 2-1 has the score (nan|inf) on the instance 'e1'"):
        _probe(measures={"copy/answer": copy})


def test_a_layer_of_another_kind_of_attention_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="attention"):
        Layer(attention="linear", heads=1, kv_heads=1)  # type: ignore[arg-type]


def _change(document: dict[str, Any], keys: str, value: Any) -> None:
    *path, last = keys.split(".")
    for key in path:
        document = document[int(key) if key.isdigit() else key]
    if value is None:
        del document[last]
    else:
        document[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("measures.copy/answer.scores.2-1", None, r"lacks the heads \['2-1'\], has \[\]"),
        ("measures.copy/answer.scores.1-0", [0.0, 0, 0], r"lacks the heads \[\], has \['1-0'\]"),
        ("measures.copy/answer.scores.2-1", [0.0, 0.0], r"2-1 has 2 numbers; expected 3"),
        ("measures.copy/answer.scores.2-1.0", "0.1", r"scores\.2-1\.0.*number, found '0\.1'"),
        ("measures.copy/answer.scores.2-1.0", math.nan, r"scores\.2-1\.0.*finite number"),
        ("measures.copy/answer.scores.2-1.0", math.inf, r"scores\.2-1\.0.*finite number"),
        ("layers.0.attention", "linear", r"layers\.0\.attention.*'full', 'sliding' or 'none'"),
        ("layers.0.heads", 1, r"has \['0-1'\] besides"),
        ("instances.1.correct", "yes", r"instances\.1\.correct"),
        ("metadata.probe.role", "insight", "copy/insight"),
        ("failures", None, "failures: Field required"),
    ],
)
@pytest.mark.parametrize("counted_only", [False, True])
def test_a_faulty_file_is_refused(
    tmp_path: Path, keys: str, value: Any, message: str, counted_only: bool
) -> None:
    written, path = tmp_path / "written.json", tmp_path / "probe.json"
    write_scores(written, _probe())
    document = json.loads(written.read_text(encoding="utf-8"))
    _change(document, keys, value)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"probe\.json: .*{message}.*score the heads again"):
        read_scores(path, counted_only=counted_only)


@pytest.mark.parametrize("cut", [lambda text: "", lambda text: text[:-40], lambda text: "[1]"])
def test_what_is_no_score_file_is_refused(tmp_path: Path, cut: Callable[[str], str]) -> None:
    written, path = tmp_path / "written.json", tmp_path / "probe.json"
    write_scores(written, _probe())
    path.write_text(cut(written.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"probe\.json: "):
        read_scores(path)


def test_a_file_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    write_scores(path, _probe())
    before = path.read_bytes()
    faulty = _probe(metadata=_probe().metadata | {"length": math.nan})
    with pytest.raises(ValueError, match=r"JSON compliant|float"):
        write_scores(path, faulty)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["probe.json"]


def test_the_first_lines_are_readable_and_each_key_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    write_scores(path, _probe())
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = [line.split('"')[1] for line in lines if line.startswith('"')]
    assert keys == ["metadata", "layers", "instances", "failures", "measures"]
