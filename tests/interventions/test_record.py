"""Records of interventions: checked, named, and the same after a file as before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from needlework.interventions.record import (
    Intervention,
    by_layer,
    names,
    pair,
    read_intervention,
    write_intervention,
)

MASK: dict[str, Any] = {
    "action": "mask", "chosen": "top", "heads": ["0-1", "2-10"], "wanted": 2,
    "kind": "zero", "during": "decoding",
}  # fmt: skip
PATCH: dict[str, Any] = {
    "action": "patch", "chosen": "intersection", "heads": ["0-1"], "positions": "last",
    "source": "real",
}  # fmt: skip

_heads = st.frozensets(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=8).map(names)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def interventions(draw: st.DrawFn) -> Intervention:
    fields: dict[str, Any] = {
        "action": draw(st.sampled_from(["mask", "patch"])),
        "heads": draw(_heads),
        "origin": draw(st.dictionaries(st.text(), _values, max_size=3)),
    }
    if fields["action"] == "mask":
        fields["chosen"] = draw(st.sampled_from(["top", "random", "lowest"]))
        fields["wanted"] = draw(st.integers(max(1, len(fields["heads"])), 200))
        fields["kind"] = draw(st.sampled_from(["zero", "uniform", "mean"]))
        fields["during"] = draw(st.sampled_from(["prefill", "decoding", "both"]))
    else:
        fields["chosen"] = draw(st.sampled_from(["intersection", "complement", "random"]))
        fields["positions"] = draw(st.sampled_from(["last", "all"]))
        fields["source"] = draw(st.text(min_size=1))
    if fields["chosen"] == "random":
        fields["draw"] = draw(st.integers(0, 99))
    return Intervention(**fields)


# --- Files ---------------------------------------------------------------------------------------


@given(intervention=interventions(), suffix=st.sampled_from([".json", ".yaml", ".yml"]))
def test_a_file_gives_back_the_record(
    tmp_path_factory: pytest.TempPathFactory, intervention: Intervention, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("record") / f"{intervention.name}{suffix}"
    write_intervention(path, intervention)
    assert read_intervention(path) == intervention


def test_a_record_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "# the two best\naction: mask\nchosen: top\nheads: [0-1, 12-3]\nwanted: 2\n"
        "kind: mean\nduring: both\n"
    )
    read = read_intervention(path)
    assert read.heads == ["0-1", "12-3"]
    assert read.origin == {}
    assert read.name == "mask-top2-mean-both"


def test_json_is_plain(tmp_path: Path) -> None:
    write_intervention(tmp_path / "a.json", Intervention(**PATCH))
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["heads"] == ["0-1"]
    assert written["kind"] is None


@pytest.mark.parametrize("suffix", ["", ".txt", ".JSON"])
def test_another_suffix_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"expected \.json, \.yaml or \.yml"):
        write_intervention(tmp_path / f"a{suffix}", Intervention(**MASK))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '{"action": ', "not readable as json"),
        ("a.yaml", "heads: [", "not readable as yaml"),
        ("a.yaml", "- mask", "got list, expected keys: action, chosen, heads"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "not readable as yaml"),
        ("a.yaml", "", "got NoneType, expected keys"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_intervention(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "none"}, "kind: got 'none'; input should be 'zero', 'uniform' or 'mean'"),
        ({"kind": None}, "kind: missing; a mask needs it"),
        ({"during": None}, "during: missing; a mask needs it"),
        ({"wanted": None}, "wanted: missing; a mask needs it"),
        ({"wanted": 0}, "wanted: got 0; input should be greater than or equal to 1"),
        ({"wanted": "2"}, "wanted: got '2'; input should be a valid integer"),
        ({"wanted": 1}, "heads: got 2; wanted is 1, at most that"),
        ({"positions": "last"}, "positions: got 'last'; only a patch takes it, a mask does not"),
        ({"source": "real"}, "source: got 'real'; only a patch takes it, a mask does not"),
        ({"chosen": "complement"}, "chosen: got 'complement'; a mask takes top, random, lowest"),
        ({"chosen": "random"}, "draw: got None with chosen 'random'"),
        ({"draw": 0}, "draw: got 0 with chosen 'top'"),
        ({"heads": ["2-10", "0-1"]}, "heads: not sorted by layer, then head; expected 0-1, 2-10"),
        ({"heads": ["0-10", "0-9"]}, "heads: not sorted by layer, then head; expected 0-9, 0-10"),
        ({"heads": ["0-1", "0-1"]}, "heads: 0-1 stands there more than once"),
        ({"heads": ["0-01"]}, "heads: '0-01' is no head; expected layer-head, such as 12-3"),
        ({"heads": ["-1-1"]}, "heads: '-1-1' is no head"),
        ({"heads": ["1-1-1"]}, "heads: '1-1-1' is no head"),
        ({"heads": ["1-²"]}, "heads: '1-²' is no head"),
        ({"heads": [3]}, "heads.0: got 3; input should be a valid string"),
        ({"heeds": []}, "heeds: there is no such key; expected action, chosen, heads"),
    ],
)
def test_errors_name_file_key_found_and_expected(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(MASK | changes))
    with pytest.raises(ValueError, match=r"a\.json is no intervention") as error:
        read_intervention(path)
    assert f"  - {said}" in str(error.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("action: patch\nchosen: random\n")
    with pytest.raises(ValueError, match="heads: missing; it is needed"):
        read_intervention(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": None}, "positions: missing; a patch needs it"),
        ({"source": None}, "source: missing; a patch needs it"),
        ({"kind": "zero"}, "kind: got 'zero'; only a mask takes it, a patch does not"),
        ({"during": "both"}, "during: got 'both'; only a mask"),
        ({"wanted": 3}, "wanted: got 3; only a mask"),
        ({"chosen": "top"}, "a patch takes intersection, complement, random"),
        ({"origin": {"x": {1, 2}}}, "cannot be written as JSON"),
        ({"origin": {"x": float("nan")}}, "cannot be written as JSON"),
        ({"origin": {"x": (1, 2)}}, "expected plain lists and text keys"),
        ({"origin": {"x": {1: 2}}}, "expected plain lists and text keys"),
    ],
)
def test_patches_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Intervention(**PATCH | changes)


def test_a_record_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Intervention(**MASK).heads = []


# --- What the record says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (MASK | {"wanted": 10}, "mask-top10-zero-decoding"),
        (MASK | {"wanted": 10, "chosen": "random", "draw": 2}, "mask-random10-draw2-zero-decoding"),
        (MASK | {"wanted": 10, "chosen": "lowest"}, "mask-lowest10-zero-decoding"),
        (MASK | {"kind": "uniform", "during": "prefill"}, "mask-top2-uniform-prefill"),
        (PATCH, "patch-intersection-last"),
        (PATCH | {"chosen": "complement", "positions": "all"}, "patch-complement-all"),
        (PATCH | {"chosen": "random", "draw": 0}, "patch-random-draw0-last"),
    ],
)
def test_names(fields: dict[str, Any], name: str) -> None:
    assert Intervention(**fields).name == name


@given(interventions())
def test_names_are_safe_in_a_file_name(intervention: Intervention) -> None:
    assert intervention.name.replace("-", "").isalnum()
    assert intervention.name.isascii()


@pytest.mark.parametrize(
    ("fields", "touches"),
    [
        (MASK, False),
        (MASK | {"during": "prefill"}, True),
        (MASK | {"during": "both"}, True),
        (PATCH, False),
        (PATCH | {"positions": "all"}, True),
    ],
)
def test_what_touches_the_prefill(fields: dict[str, Any], touches: bool) -> None:
    assert Intervention(**fields).touches_prefill is touches


def test_heads_by_layer() -> None:
    assert names([(10, 0), (2, 11), (2, 3)]) == ["2-3", "2-11", "10-0"]
    assert pair("10-0") == (10, 0)
    assert by_layer(["2-3", "2-11", "10-0"]) == {2: [3, 11], 10: [0]}
