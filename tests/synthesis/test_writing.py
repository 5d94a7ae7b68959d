"""Written documents against a real HTTP server: asked once each, cleaned, and all counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.corpus import Corpus
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client
from needlework.synthesis.contexts import topic_of
from needlework.synthesis.generated import Written, read_written
from needlework.synthesis.writing import (
    document_requests,
    topics,
    write_documents,
    writing_report,
)
from tests.llm.asking import settings
from tests.llm.server import JSON, Reply, answer, failure, serving
from tests.synthesis import by_hand
from tests.synthesis.by_hand import all_shapes

_ONE = "The old harbour of the town lies in the south, behind a long wall of grey stone."
_TWO = "Ships have called there since the year 1800, and most of them carry salt and timber."
_BOTH = f"{_ONE} {_TWO}"


def _write(url: str, folder: Path, names: Sequence[str]) -> tuple[list[Written], dict[str, Any]]:
    async def run() -> tuple[list[Written], dict[str, Any]]:
        with ResponseCache(folder / "cache.sqlite") as cache:
            async with Client(settings(url), cache, first_wait=0.001, timeout=20.0) as client:
                written = await write_documents(client, names, max_tokens=77, seed=3)
                return written, client.usage()

    return asyncio.run(run())


def _read(reply: str, folder: Path) -> Written:
    with serving(answer(reply)) as served:
        (written,), _ = _write(served.url, folder, ["Peru"])
    return written


@pytest.mark.parametrize(
    "reply",
    [
        _BOTH,
        f"  {_ONE}\n\n{_TWO}\n",
        f"# Peru: the harbour\n\n{_ONE}\n## Ships\n{_TWO}",
        f"**The Harbour**\n{_ONE} {_TWO}",
        f"__The Harbour__  \n{_BOTH}",
        f"Here is a short paragraph about Peru:\n\n{_BOTH}",
        f"**Peru:**\n{_BOTH}",
        f"- {_ONE}\n- {_TWO}",
        f"1. {_ONE}\n2) {_TWO}",
        f"**{_ONE}** _{_TWO}_",
        f"**{_ONE}**\n**{_TWO}**",  # sentences, no headings
        _BOTH.replace("harbour", "`harbour`"),
        f"{_BOTH} In the north, there is",
        f"{_BOTH}\n\nIt costs 3.5",
        f"{_BOTH} {_ONE} {_TWO} {_ONE}",
        f"{_ONE} {_ONE} {_TWO}",
    ],
)
def test_a_reply_is_read_as_one_paragraph_of_whole_sentences(reply: str, tmp_path: Path) -> None:
    assert _read(reply, tmp_path) == Written("Peru", _BOTH, None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "too short"),
        ("# Peru", "too short"),
        (_ONE, "too short"),
        ("word " * 100, "too short"),  # no sentence ends
        (f"{_ONE} " * 9, "repeats itself"),
    ],
)
def test_what_is_no_document_has_a_reason(reply: str, reason: str, tmp_path: Path) -> None:
    assert _read(reply, tmp_path) == Written("Peru", None, reason)


def test_twenty_five_words_are_enough(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(24)]
    whole = f"{' '.join(words)} end."
    assert _read(whole, tmp_path / "a").text == whole
    assert _read(f"{' '.join(words[1:])} end.", tmp_path / "b").reason == "too short"


def test_every_topic_is_asked_for_once_and_comes_back_in_order(tmp_path: Path) -> None:
    names = [f"Topic {i}" for i in range(12)]
    replies = {3: failure(400, "refused"), 5: answer("Short."), 7: answer(f"{_ONE} " * 3)}

    def model(body: JSON, times: int) -> Reply:
        prompt = body["messages"][0]["content"]
        (number,) = (i for i in range(12) if f'"Topic {i}"' in prompt)
        return replies.get(number, answer(f"Number {number} is here. {_BOTH}"))

    with serving(model) as served:
        written, usage = _write(served.url, tmp_path, names)
    assert [document.topic for document in written] == names
    reasons = {3: "request failed: write_document", 5: "too short", 7: "repeats itself"}
    for number, document in enumerate(written):
        text = None if number in reasons else f"Number {number} is here. {_BOTH}"
        assert document == Written(names[number], text, reasons.get(number))
    planned = document_requests(names, max_tokens=77, seed=3)
    asked = [(b["messages"][0]["content"], b["seed"], b["max_tokens"]) for b in served.asked]
    assert sorted(asked) == sorted((r.prompt, r.seed % 2**31, 77) for r in planned)
    assert len({seed for _, seed, _ in asked}) == 12
    assert writing_report(written) == {
        "asked": 12, "kept": 9,
        "failed": {"request failed: write_document": 1, "too short": 1, "repeats itself": 1},
    }  # fmt: skip
    assert usage["failed"] == 1
    without = [name for number, name in enumerate(names) if number != 3]
    again, usage = _write("http://127.0.0.1:9/v1", tmp_path, without)
    assert again == [document for document in written if document.topic in without]
    assert (usage["requests"], usage["cached"]) == (0, 11)


def test_topics_of_gold_documents_come_first_and_each_once() -> None:
    examples = [by_hand.one_hop(), by_hand.linear(2), by_hand.linear(3), by_hand.one_hop()]
    # The documents have no titles in one of them: its first sentences are topics.
    bare = [d.model_copy(update={"title": ""}) for d in by_hand.tree().documents]
    examples.append(by_hand.tree().model_copy(update={"documents": bare}))
    gold = [
        "Peru: Capital", "Suriname: former ruler", "the Netherlands: longest neighbour",
        "Belgium: capital", "Acme is a firm.", "Bolt is a firm.", "A trip was made in 1951.",
    ]  # fmt: skip
    lands = ("Atlantis", "Elbonia", "Ruritania", "Zamunda")
    others = [*(f"{land}: Climate" for land in lands), *(f"{land} is dry." for land in lands)]
    assert topics(examples, at_most=None, seed=1) == [*gold, *others]
    assert topics(examples, at_most=8, seed=1) == [*gold, *others]
    assert topics(examples, at_most=0, seed=1) == gold
    for number in range(1, 8):
        drawn = topics(examples, at_most=number, seed=1)
        assert drawn[: len(gold)] == gold
        assert len(drawn) == len(set(drawn)) == len(gold) + number
        assert set(drawn[len(gold) :]) < set(others)
    assert topics(examples, at_most=4, seed=1) == topics(examples, at_most=4, seed=1)
    assert len({tuple(topics(examples, at_most=4, seed=seed)) for seed in range(9)}) > 3


def test_a_topic_of_a_gold_document_is_no_distractor_s(corpus: Corpus) -> None:
    examples = [*corpus.train, *corpus.validation]
    shared = by_hand.one_hop()  # its gold document is a distractor of the next
    (peru,) = (d for d in shared.documents if d.gold)
    (chile, *others) = by_hand.citing_facts().documents
    examples += [shared, shared.model_copy(update={"documents": [
        chile, *others, peru.model_copy(update={"gold": False})]})]  # fmt: skip
    gold = {topic_of(d) for e in examples for d in e.documents if d.gold}
    every = {topic_of(d) for e in examples for d in e.documents}
    assert set(topics(examples, at_most=0, seed=1)) == gold
    assert set(topics(examples, at_most=None, seed=1)) == every
    assert len(topics(examples, at_most=None, seed=1)) == len(every)


def test_documents_survive_a_file_but_for_those_that_failed(tmp_path: Path) -> None:
    written = [
        Written("Peru\u2028", _BOTH, None),
        Written("Chile", None, "too short"),
        Written("Ñuñoa", "Wet\x85. Cold.", None),
    ]
    path = tmp_path / "documents.jsonl"
    lines = [json.dumps(document._asdict(), ensure_ascii=False) + "\n" for document in written]
    path.write_text("".join(lines), encoding="utf-8")
    assert read_written(path) == {"Peru\u2028": _BOTH, "Ñuñoa": "Wet\x85. Cold."}


def test_requests_of_a_topic_do_not_depend_on_those_beside_it() -> None:
    names = topics(list(all_shapes().values()), at_most=None, seed=1)
    together = document_requests(names, max_tokens=9, seed=1)
    assert together == [
        request for name in names for request in document_requests([name], max_tokens=9, seed=1)
    ]
