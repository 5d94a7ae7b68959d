"""Files of one's own that cannot be read, each with what its refusal has to say."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_input.case import Case, written

_ROW: dict[str, Any] = {
    "documents": ["It rains in Ayr.", "The mayor of Ayr is Ann Lee."],
    "question": "Who is the mayor of Ayr?",
    "answers": ["Ann Lee"],
}
_GOOD = json.dumps(_ROW) + "\n"


def _rows(*changes: dict[str, Any]) -> Callable[[Path], Path]:
    lines = (json.dumps(_ROW | change) + "\n" for change in changes)
    return written("own.jsonl", _GOOD + "".join(lines))


def _text(content: str | bytes, name: str = "own.jsonl") -> Callable[[Path], Path]:
    return written(name, content)


def _needle(**change: Any) -> Callable[[Path], Path]:
    return _rows({"needles": [{"document": 1, "start": 20, "end": 27} | change]})


def _cut_gzip(folder: Path) -> Path:
    path = folder / "own.jsonl.gz"
    path.write_bytes(gzip.compress(_GOOD.encode() * 2000)[:-20])
    return path


def _cut_pool(folder: Path) -> Path:
    path = folder / "pool.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"title": "a", "text": "b"}\n' * 2000)[:-20])
    return path


def _gzip_bomb(folder: Path) -> Path:
    """Half a gigabyte without a line end in half a megabyte."""
    path = folder / "own.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(bytes(2**20))
    return path


def _gzip_of_blank_lines(folder: Path) -> Path:
    path = folder / "own.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(70):
            file.write((b" " * 1023 + b"\n") * 1024)
    return path


def _sparse(folder: Path) -> Path:
    """A line of a gigabyte, which takes no room on the disk."""
    path = folder / "own.jsonl"
    path.touch()
    os.truncate(path, 2**30)
    return path


def _folder(folder: Path) -> Path:
    (folder / "own.jsonl").mkdir()
    return folder / "own.jsonl"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "own.jsonl")
    return folder / "own.jsonl"


def _loop(folder: Path) -> Path:
    (folder / "own.jsonl").symlink_to(folder / "other.jsonl")
    (folder / "other.jsonl").symlink_to(folder / "own.jsonl")
    return folder / "own.jsonl"


def _dangling(folder: Path) -> Path:
    (folder / "own.jsonl").symlink_to(folder / "gone.jsonl")
    return folder / "own.jsonl"


_ROW_2 = "own.jsonl, row 2: "

OWN = [
    # No file that can be read.
    Case("missing", lambda folder: folder / "own.jsonl", ("there is no such file", "name a file")),
    Case("a folder", _folder, ("own.jsonl", "is a folder", "name a regular file")),
    Case("a pipe", _pipe, ("own.jsonl", "is a pipe", "name a regular file")),
    Case("a device", lambda _: Path("/dev/zero"), ("/dev/zero", "is a device", "regular file")),
    Case("a loop of links", _loop, ("own.jsonl", "symbolic links", "name a file")),
    Case("a link to nothing", _dangling, ("own.jsonl", "there is no such file")),
    Case("a name with NUL", lambda folder: folder / "a\0b", ("null", "name a file")),
    # Bytes that are no text.
    Case(
        "UTF-16", _text(_GOOD.encode("utf-16")), ("line 1", "is UTF-16", "save the file as UTF-8")
    ),
    Case("Latin-1", _text("é".encode("latin-1")), ("line 1", "byte 1 is 0xe9", "as UTF-8")),
    Case(
        "encodings in one file",
        _text(_GOOD.encode() + _GOOD.replace("Ann", "Zoë").encode("cp1252")),
        ("own.jsonl, line 2", "is not UTF-8", "0xeb", "save the file as UTF-8"),
    ),
    Case("gz that is none", _text(_GOOD, "own.jsonl.gz"), ("line 1", "not a whole file of gzip")),
    Case("gz that is cut", _cut_gzip, ("own.jsonl.gz, line", "not a whole file of gzip", "again")),
    Case("gz that is damaged", _text(b"\x1f\x8b\x08\0" + bytes(40), "o.jsonl.gz"), ("gzip",)),
    Case("a bomb of one line", _gzip_bomb, ("line 1", "longer than 64 MB", "line ends missing")),
    Case("a bomb of blank lines", _gzip_of_blank_lines, ("unpacks to more than 200 times",)),
    Case("a line of a gigabyte", _sparse, ("own.jsonl, line 1", "64 MB", "line ends missing")),
    # Text that is no JSON, or no row.
    Case("nothing", _text(""), ("own.jsonl", "has no row", "one JSON object a line")),
    Case("blank lines", _text("\n \n\r\n"), ("own.jsonl", "has no row")),
    Case("no JSON", _text(_GOOD + "rain\n"), (_ROW_2, "not JSON", "'rain")),
    Case("a row over two lines", _text('{"question":\n"a"}\n'), ("row 1", "not JSON", "Expecting")),
    Case("a JSON list", _text("[" + _GOOD.strip() + "]"), ("row 1: the row is [{", "an object")),
    Case("a number", _text(_GOOD + "7\n"), (_ROW_2, "the row is 7", "takes an object")),
    Case("NaN", _text(_GOOD + '{"id": NaN}\n'), (_ROW_2, "NaN is no number in JSON", "finite")),
    Case("infinity", _text(_GOOD + '{"id": 1e999}\n'), (_ROW_2, "1e999 is no number in JSON")),
    Case("nested", _text("[" * 100_000 + "]" * 100_000), ("row 1", "nested too deeply")),
    Case("a huge number", _text('{"id": ' + "9" * 5000 + "}"), ("row 1", "4300 digits")),
    Case(
        "a key twice",
        _text(_GOOD + '{"question": "a", "question": "b"}\n'),
        (_ROW_2, "the key 'question' stands there twice", "remove one"),
    ),
    Case(
        "half of a character",
        _text(_GOOD + _GOOD.replace("Ann", r"\ud83d")),
        (_ROW_2, "half of a character", "\\ud83d"),
    ),
    Case("NUL", _text(_GOOD + _GOOD.replace("Ann", "\0")), (_ROW_2, "Invalid control character")),
    # Rows that are wrong.
    Case("an unknown key", _rows({"anwsers": []}), (_ROW_2, "'anwsers'", "did you mean 'answers'")),
    Case("a huge key", _rows({"k" * 10**6: 1}), (_ROW_2, "unknown key 'kkk", "known: documents")),
    Case("a key is missing", _text('{"question": "a"}'), ("row 1", "lacks documents, answers")),
    Case("documents are a text", _rows({"documents": "It rains."}), (_ROW_2, "takes a list")),
    Case("documents are none", _rows({"documents": []}), (_ROW_2, "none of the answers")),
    Case("a document is a number", _rows({"documents": [3]}), (_ROW_2, "document 0 is 3")),
    Case("a text is a number", _rows({"documents": [{"text": 3}]}), (_ROW_2, "text", "string")),
    Case("gold is a text", _rows({"documents": [{"text": "a", "gold": "yes"}]}), (_ROW_2, "gold")),
    Case("no question", _rows({"question": ""}), (_ROW_2, "question is ''", "takes a text")),
    Case("a question is null", _rows({"question": None}), (_ROW_2, "question", "string")),
    Case("no answers", _rows({"answers": []}), (_ROW_2, "answers is []", "a list of texts")),
    Case("an empty answer", _rows({"answers": ["Ann Lee", " "]}), (_ROW_2, "an answer is ' '")),
    Case(
        "answers are numbers", _rows({"answers": [7]}), (_ROW_2, "answers is [7]", "list of texts")
    ),
    Case(
        "an answer that is nowhere",
        _rows({"answers": ["Bob"]}),
        (_ROW_2, "['Bob'] stands in the documents as it is", "correct it, or say where"),
    ),
    Case(
        "an answer of a megabyte",
        _rows({"answers": ["Bob" * 10**6]}),
        (_ROW_2, "none of the answers ['Bob", "correct it"),
    ),
    Case("an answer twice", _rows({"answers": ["Ayr"]}), (_ROW_2, "stands 2 times", "`needles`")),
    Case("a split that is none", _rows({"split": "dev"}), (_ROW_2, "'dev'", "train, validation")),
    Case("an id that is a list", _rows({"id": [1]}), (_ROW_2, "id is [1]", "a text or a number")),
    Case("an id twice", _rows({"id": 5}, {"id": "5"}), ("two rows have the id '5', 2 and 3",)),
    Case("a needle elsewhere", _needle(document=2), (_ROW_2, "document 2", "the 2 documents")),
    Case("a needle before all", _needle(document=-1), (_ROW_2, "document -1", "from 0")),
    Case("a needle in true", _needle(document=True), (_ROW_2, "document True", "the index")),
    Case("a needle beyond", _needle(end=99), (_ROW_2, "20:99 is outside", "of 28 characters")),
    Case("a needle below 0", _needle(start=-5), (_ROW_2, "-5:27 is outside")),
    Case("a needle reversed", _needle(start=27, end=20), (_ROW_2, "27:20 is outside")),
    Case("a needle of a fraction", _needle(start=1.5), (_ROW_2, "start", "integer")),
    Case("a needle of no answer", _needle(start=0, end=3), (_ROW_2, "'The' contains none of")),
    Case("a needle with a key", _needle(strat=3), (_ROW_2, "'strat'", "did you mean 'start'")),
    Case("a role that is none", _needle(role="gold"), (_ROW_2, "role", "'answer', 'bridge'")),
]

SPLITS = [
    Case(
        "a cluster in two splits",
        _rows(*({"cluster": "a", "split": split} for split in ("train", "test"))),
        ("row 1: no `split`, but other rows name theirs",),
    ),
    Case(
        "a cluster in two named splits",
        written(
            "own.jsonl",
            "".join(
                json.dumps(_ROW | {"cluster": "a", "split": s}) + "\n" for s in ("train", "test")
            ),
        ),
        ("row 2: the cluster 'a' is in the splits 'train' and 'test'", "give it one split"),
    ),
    Case("too few rows", _rows(), ("holds 0 rows", "but 9 are wanted", "ask for fewer")),
]

_QUESTION = {
    "question": "Who?", "answers": ["Ann"],
    "ctxs": [{"title": "Ayr", "text": "Ann is.", "isgold": True}],
}  # fmt: skip
_SCORES = '{"0-0": [0.5], "0-1": [%s]}'


def _question(**change: Any) -> Callable[[Path], Path]:
    return _text(json.dumps(_QUESTION | change))


QUESTIONS = [
    Case("no question", _question(question=None), ("line 1", "'question' is None", "a string")),
    Case("answers are a text", _question(answers="Ann"), ("line 1", "'answers' is 'Ann'")),
    Case("a title is null", _question(ctxs=[{"title": None, "text": "a", "isgold": True}]),
         ("line 1", "title, text and isgold", "strings")),
    Case("no passage is gold", _question(ctxs=[]), ("line 1", "0 of 'ctxs' are gold")),
    Case("a list", _text("[1]"), ("line 1", "expected a JSON object, found [1]")),
    Case("UTF-16", _text(_GOOD.encode("utf-16-be", "ignore")), ("line 1", "not JSON")),
    Case("a pipe", _pipe, ("is a pipe",)),
]  # fmt: skip

PASSAGES = [
    Case("no text", _text('{"title": "a"}'), ("line 1", "'text' is None", "both strings")),
    Case("passages of a number", _text('{"ctxs": 3}'), ("line 1", "the passages are 3", "a list")),
    Case("an id twice", _text('{"id": 1, "title": "", "text": "a"}\n' * 2), ("line 2", "'1'")),
    Case("a cell too long", _text("id\ttext\ttitle\n1\t" + "a" * 200_000 + "\tb\n", "p.tsv"),
         ("p.tsv, line", "not a table", "field larger")),
    Case("nothing", _text(""), ("holds no passage",)),
    Case("cut gzip", _cut_pool, ("not a whole file of gzip",)),
]  # fmt: skip

MUSIQUE = [
    Case("a list", _text("[]"), ("line 1", "expected a JSON object")),
    Case("wrong types", _text('{"id": 3}'), ("line 1", "id: ", "string")),
    Case("nothing", _text(""), ("holds no row",)),
]

TOPICS = [
    Case("no JSON", _text("{", "t.json"), ("t.json", "not JSON", "expected a topic of SummHay")),
    Case("a list", _text("[1]", "t.json"), ("t.json", "expected a topic of SummHay")),
    Case("too large", _sparse, ("holds more than 64 MB",)),
    Case("a text for a list", _text('{"subtopics": {"a": 1}}', "t.json"), ("expected a topic",)),
]

FLENQA = [
    Case("no JSON", _text("{"), ("not JSON", "expected JSON lines or a JSON list")),
    Case("a number", _text("3"), ("row 0 lacks keys of FLenQA", "not an object")),
    Case("too large", lambda folder: _grown(_sparse(folder)), ("holds more than 1024 MB",)),
]

SCORES = [
    Case("NaN", _text(_SCORES % "NaN", "s.json"), ("s.json", "0-1.0", "finite number")),
    Case("infinity", _text(_SCORES % "1e999", "s.json"), ("s.json", "0-1.0", "finite number")),
    Case("a text", _text(_SCORES % '"a"', "s.json"), ("s.json", "0-1.0", "number")),
    Case(
        "a head twice", _text('{"0-0": [1], "0-0": [1]}', "s.json"), ("'0-0' stands there twice",)
    ),
    Case("a head missing", _text('{"0-0": [1], "1-1": [1]}', "s.json"), ("2 heads are missing",)),
    Case("too large", _sparse, ("holds more than 512 MB",)),
    Case("nested", _text("[" * 10**5, "s.json"), ("nested too deeply",)),
    Case("a pipe", _pipe, ("is a pipe",)),
]

EXAMPLES = [
    Case("no JSON", _text("rain"), ("line 1", "JSON")),
    Case("nested", _text("[" * 10**5), ("line 1", "JSON")),
    Case("an unknown key", _text('{"a": 1}'), ("line 1", "a: Extra inputs")),
    Case("a line of a gigabyte", _sparse, ("line 1", "64 MB")),
    Case("a pipe", _pipe, ("is a pipe",)),
]


def _grown(path: Path) -> Path:
    os.truncate(path, 2**30 + 1)
    return path
