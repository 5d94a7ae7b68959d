"""Studies that cannot be run: files that are none, and values that make no sense."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.bad_input.case import Case, written

GOOD: dict[str, Any] = {
    "name": "small",
    "models": {"tiny": {"source": "tiny-random-llama"}},
    "tasks": {"factbook_lookup": {"train": 8, "validation": 3, "test": 8}},
    "variants": ["real", "symbolic"],
    "length": 2048,
}


def _yaml(content: str | bytes) -> Any:
    return written("study.yaml", content)


def bomb(form: str) -> str:
    """Ten thousand million values in a few hundred characters, as lists or as mappings."""
    lines = ["name: x", "a: &a " + form.format(*["lol"] * 10)]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} " + form.format(*[f"*{before}"] * 10))
    return "\n".join(lines) + "\n"


LISTS = "[" + ", ".join(["{}"] * 10) + "]"
MAPPINGS = "{{" + ", ".join(f"k{n}: {{}}" for n in range(10)) + "}}"


def _sparse(folder: Path) -> Path:
    (folder / "study.yaml").touch()
    os.truncate(folder / "study.yaml", 2**30)
    return folder / "study.yaml"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "study.yaml")
    return folder / "study.yaml"


def _loop(folder: Path) -> Path:
    (folder / "study.yaml").symlink_to("study.yaml")
    return folder / "study.yaml"


FILES = [
    Case("missing", lambda folder: folder / "none.yaml", ("none.yaml", "there is no such file")),
    Case("a folder", lambda folder: folder, ("is a folder", "name a regular file")),
    Case("a pipe", _pipe, ("study.yaml", "is a pipe")),
    Case("a loop of links", _loop, ("study.yaml", "symbolic links")),
    Case("a line of a gigabyte", _sparse, ("study.yaml", "more than 1 MB")),
    Case("nothing", _yaml("# nothing\n"), ("holds nothing", "keys at its top")),
    Case("a list", _yaml("- 1\n"), ("holds a list", "keys at its top")),
    Case("a text", _yaml("hello\n"), ("holds a str", "keys at its top")),
    Case("bytes", _yaml(bytes(range(256))), ("is not UTF-8", "save the file as UTF-8")),
    Case("UTF-16", _yaml("name: x".encode("utf-16")), ("is UTF-16",)),
    Case("control characters", _yaml("name: a\0b\n"), ("not YAML", "unacceptable character")),
    Case("a tab", _yaml("name: x\nlength:\n\t- 3\n"), ("line 3", "'\\t'", "by spaces only")),
    Case("a colon", _yaml("name: a: b\n"), ("line 1", "not YAML", "quote")),
    Case(
        "an open bracket", _yaml("name: x\nvariants: [real\n"), ("study.yaml, line 3", "not YAML")
    ),
    Case(
        "a key twice", _yaml("name: x\nseed: 1\nname: y\n"), ("line 3", "'name' stands in line 1")
    ),
    Case(
        "a key twice, deep",
        _yaml("name: x\ntraining:\n  rank: 8\n  rank: 16\n"),
        ("line 4", "'rank' stands in line 3 already", "remove one of the two"),
    ),
    Case("a key that is a list", _yaml("? [a, b]\n: 1\n"), ("line 1", "keys are words")),
    Case("a bomb of lists", _yaml(bomb(LISTS)), ("line 6", "more than 100000 values", "aliases")),
    Case("a bomb of mappings", _yaml(bomb(MAPPINGS)), ("line 6", "more than 100000 values")),
    Case("a list in itself", _yaml("name: x\na: &a [*a]\n"), ("line 2", "aliases repeat")),
    Case("nested", _yaml("name: " + "[" * 60 + "]" * 60), ("more than 50 deep",)),
    Case("nested more", _yaml("name: " + "[" * 5000 + "]" * 5000), ("more than 50 deep",)),
    Case("nested JSON", _yaml('{"name": ' + "[" * 10**5 + "]" * 10**5 + "}"), ("too deeply",)),
    Case("NaN in JSON", _yaml('{"seed": NaN}'), ("NaN is no number in JSON",)),
    Case("a JSON key twice", _yaml('{"seed": 1, "seed": 2}'), ("'seed' stands there twice",)),
    Case("a tag of Python", _yaml("name: !!python/name:os.system x\n"), ("line 1", "tag")),
    Case("code", _yaml("__use_yte__: true\nname: x\n"), ("__use_yte__", "run code", "remove it")),
    Case("an alias of nothing", _yaml("name: *x\n"), ("line 1", "undefined alias")),
    Case("two documents", _yaml("name: x\n---\nname: y\n"), ("line 2", "another document")),
    Case("no date", _yaml("name: 2026-99-99\n"), ("study.yaml", "month must be in", "quotes")),
    Case("a huge number", _yaml("seed: " + "9" * 5000), ("study.yaml", "4300 digits")),
]


def _with(key: str, value: Any) -> dict[str, Any]:
    study = deepcopy(GOOD)
    section = study
    *above, last = key.split(".")
    for part in above:
        section = section.setdefault(part, {})
    section[last] = value
    return study


def _named(name: Any) -> Case:
    return Case(f"the name {str(name)[:20]!a}", _with("name", name), ("name: got ", *_NAME))


_NAME = ("takes a name of at most 64 letters", "'.', '_' and '-'")
_TASK = GOOD["tasks"]["factbook_lookup"]

NAMES = [
    *map(_named, ["../x", "/abs", "a/b", "..", ".", "", "-rf", "$(touch x)", "a b", "a'b", 'a"b']),
    *map(_named, ["a\nb", "a\n", "a\0", "x" * 65, "x" * 10**5, "\u0430bc", "a\u202eb", "*", "{x}"]),
    Case(
        "a model's", _with("models", {"../x": {"source": "tiny-random-llama"}}), ("'../x'", *_NAME)
    ),
    Case("a control's", _with("controls", {"a/b": {"variant": "real"}}), ("'a/b'", *_NAME)),
    Case(
        "a model's, long",
        _with("models", {"x" * 10**5: {"source": "tiny-random-llama"}}),
        ("models.'xxx", *_NAME),
    ),
    Case("a task's", _with("tasks", {"../x": _TASK}), ("tasks.../x: there is no such key",)),
    Case(
        "a variant's", _with("variants", ["../x"]), ("variants.0: got '../x', takes one of real",)
    ),
    Case("a mixture's", _with("variants", ["real:0.5+../x:0.5"]), ("variants.0", "takes one of")),
]

VALUES = [
    Case("nothing", {}, ("name: missing", "models: missing", "length: missing")),
    Case("a list", [GOOD], ("the study is [{", "keys at its top")),
    Case("an unknown key", _with("lenght", 3), ("lenght: there is no such key", "'length'")),
    Case("a key of a megabyte", _with("k" * 10**6, 3), ("'kkk", "there is no such key")),
    Case("keys that are numbers", GOOD | {1: 2}, ("1", "string")),
    Case(
        "a number as text", _with("length", "2048"), ("length: got '2048' (str), takes", "integer")
    ),
    Case("a fraction", _with("length", 2048.5), ("length: got 2048.5 (float)", "integer")),
    Case("a text of a megabyte", _with("length", "9" * 10**6), ("length: got '999", "...")),
    Case("too large", _with("seed", 10**30), ("seed: got 1000", "below 2 ** 63")),
    Case("much too large", _with("seed", 16**5000), ("seed: got a number of thousands", "2 ** 63")),
    Case("too small", _with("length", 3), ("length: got 3 (int)", "greater than or equal to 64")),
    Case(
        "NaN", _with("training.learning_rate", float("nan")), ("training.learning_rate: got nan",)
    ),
    Case(
        "infinity", _with("training.epochs", float("inf")), ("training.epochs: got inf", "finite")
    ),
    Case("a seed twice", _with("training_seeds", [1, 1]), ("training_seeds: 1 stands there more",)),
    Case("a variant twice", _with("variants", ["real", "real"]), ("variants: real stands there",)),
    Case("no variant", _with("variants", []), ("variants: got [] (list)", "at least 1")),
    Case("a section is a list", _with("training", [1]), ("training: got [1] (list)",)),
    Case("a section is null", _with("tasks", None), ("tasks: got None",)),
    Case("shares", _with("variants", ["real:0.5+symbolic:0.6"]), ("add up to 1, not to 1.1",)),
    Case("a share of nan", _with("variants", ["real:nan+symbolic:1"]), ("'nan' is no share",)),
    Case("wrong in many places", _with("variants", ["x"] * 500), ("variants.0: ", "and 490 more")),
    Case("too many draws", _with("masking", {"draws": 10**9}), ("masking.draws: got 1000000000",)),
    Case("a list in itself", _with("training", {"rank": [[[]]]}), ("training.rank: got [[[]]]",)),
    Case(
        "no such model", _with("models.tiny.source", "no-such"), ("models.tiny.source: 'no-such'",)
    ),
    Case(
        "a model with NUL", _with("models.tiny.source", "a\0b"), ("models.tiny.source: 'a\\x00b'",)
    ),
    Case("a model's long name", _with("models.tiny.source", "x" * 5000), ("models.tiny.source: ",)),
    Case(
        "a context too long", _with("length", 9000), ("length: got 9000, above the 4096 positions",)
    ),
]
