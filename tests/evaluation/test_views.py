"""Views have names that say all, and show every example as they say, or say which they cannot."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_chain import factbook_chain
from needlework.corpora.factbook_citation import factbook_citation
from needlework.evaluation.views import (
    View,
    check_views,
    has_closed_book,
    place_of,
    rendered,
    shown,
    view_of,
    views_of,
)
from needlework.examples import Example
from needlework.rendering.fitting import without_distractors
from needlework.rendering.placing import Positions
from needlework.rendering.prompt import render
from needlework.rendering.room import Room

_LENGTH = 1500


def _positions() -> st.SearchStrategy[Positions]:
    return st.integers(1, 40).flatmap(
        lambda n: st.lists(st.integers(1, n), min_size=1, unique=True).map(
            lambda places: Positions(n, places)
        )
    )


@given(
    st.none() | _positions(),
    st.lists(st.integers(64, 4096)),
    st.booleans(),
    st.lists(st.sampled_from(["random", "retrieved", "x"]), unique=True),
)
def test_a_view_and_its_name_say_the_same(
    positions: Positions | None, lengths: list[int], closed: bool, sets: list[str]
) -> None:
    views = views_of(positions, lengths, closed, sets, 4096)
    assert [view_of(view.name, 4096) for view in views] == views
    # Without its name, every view is still another one, and none is the plain one.
    plain = View("", "test", 4096, None, None, False)
    assert len({view._replace(name="") for view in views} - {plain}) == len(views)
    each = len(set(lengths) - {4096}) + (len(positions.gold) if positions else 0)
    assert len(views) == each + closed + len(sets) * (1 + each)
    for view in views:
        fixed = place_of(view.name)
        assert (view.documents, view.position) == (
            (fixed.documents, fixed.gold[0]) if fixed else (None, None)
        )


def test_the_names_are_those_of_the_documentation() -> None:
    views = views_of(Positions(20, [1, 5]), [4096, 16384], True, ["random"], 16384)
    assert [view.name for view in views] == [
        "length4096", "position1of20", "position5of20", "closed_book", "random",
        "random-length4096", "random-position1of20", "random-position5of20",
    ]  # fmt: skip
    assert views[2] == View("position5of20", "test", 16384, 20, 5, False)
    assert views[3] == View("closed_book", "test", 16384, None, None, True)
    assert views[5] == View("random-length4096", "test-random", 4096, None, None, False)
    assert views_of(None, [16384], False, [], 16384) == []
    assert view_of("length16384", 16384).length == 16384


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("length8192", "hold text for 4096 tokens, the study's length; take at most 4096"),
        ("random-length8192", "take at most 4096"),
        ("position5of4", "no place 5 among 4 documents"),
        ("position0of4", "no view is named"),
        ("length04", "no view is named"),
        ("random-closed_book", "no view is named"),
        ("random-", "no view is named"),
        ("mask-top1-zero-decoding", "no view is named"),
        ("", "no view is named"),
    ],
)
def test_what_is_no_view_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view_of(name, 4096)


@pytest.mark.parametrize("condition", ["plain", "closed_book", "length4096", "mask-top1-position"])
def test_other_conditions_fix_no_place(condition: str) -> None:
    assert place_of(condition) is None


def test_naming_views_loads_no_model_library() -> None:
    code = (
        "import sys; from needlework.evaluation.views import views_of; "
        "sys.exit(len({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What is shown.


def test_a_length_keeps_the_gold_document_and_its_place_among_what_is_left(
    corpus: Corpus, tokenizer: Any
) -> None:
    for example in corpus.test:
        short = rendered(view_of("length900", _LENGTH), example, tokenizer)
        assert short == render(example, tokenizer, 900)
        assert short.example.needles == example.needles
        assert rendered(view_of("random", _LENGTH), example, tokenizer) == render(
            example, tokenizer, _LENGTH
        )


def test_documents_that_are_counted_are_shown_whole_or_not_at_all(
    corpus: Corpus, tokenizer: Any
) -> None:
    for example in corpus.test:
        for place in (1, 2):
            view = view_of(f"position{place}of2", _LENGTH)
            found = rendered(view, example, tokenizer)
            context = shown(view, example)
            assert found.example == context
            assert [d.gold for d in context.documents] == [place == 1, place == 2]
            assert all(document in example.documents for document in context.documents)
            check_views([view], {"test": [example]}, tokenizer)
            tight = view._replace(length=found.length - 1)
            with pytest.raises(ValueError, match=example.id):
                check_views([tight], {"test": [example]}, tokenizer)
            with pytest.raises(ValueError, match=example.id):
                rendered(tight, example, tokenizer)


def test_a_check_names_all_examples_that_a_view_cannot_show(corpus: Corpus, tokenizer: Any) -> None:
    alone = [without_distractors(example) for example in corpus.test]
    longest = max(render(example, tokenizer, _LENGTH).length for example in alone)
    view = view_of(f"length{longest - 1}", _LENGTH)
    found = []
    for example in corpus.test:
        try:
            rendered(view, example, tokenizer)
        except ValueError:
            found.append(example.id)
    assert 0 < len(found) < len(corpus.test)
    others = [view_of("position1of2", _LENGTH), view_of("length1400", _LENGTH)]
    check_views(others, {"test": corpus.test}, tokenizer)
    with pytest.raises(ValueError, match=r"^position1of90: 6 of 6 examples"):
        check_views([*others, view_of("position1of90", _LENGTH)], {"test": corpus.test}, tokenizer)
    with pytest.raises(ValueError, match=r"^length\d+: ") as caught:
        check_views([*others, view], {"test": corpus.test}, tokenizer)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{view.name}: {len(found)} of {len(corpus.test)} examples:"
    assert [line.partition(":")[0] for line in lines[1:]] == found


def test_a_split_that_is_missing_or_of_other_examples_is_named(
    corpus: Corpus, tokenizer: Any
) -> None:
    views = [view_of("random", _LENGTH)]
    with pytest.raises(ValueError, match=r"^random: .* give test-random\.jsonl"):
        check_views(views, {"test": corpus.test}, tokenizer)
    with pytest.raises(ValueError, match="test-random have other ids than those of the test"):
        check_views(views, {"test": corpus.test, "test-random": corpus.train[:6]}, tokenizer)
    check_views(views, {"test": corpus.test, "test-random": corpus.test}, tokenizer)


def test_a_task_has_a_closed_book_where_its_questions_stand_alone(
    corpus: Corpus, room: Room
) -> None:
    tasks: dict[str, Example] = {"factbook_lookup": corpus.test[0]}
    for name, draw in (
        ("factbook_chain", factbook_chain),
        ("factbook_citation", factbook_citation),
    ):
        tasks[name] = draw(train=1, validation=1, test=1, room=room, seed=7).test[0]
    view = view_of("closed_book", _LENGTH)
    found = set()
    for name, example in tasks.items():
        try:
            shown(view, example)
        except ValueError:
            continue
        found.add(name)
    assert found == {name for name in tasks if has_closed_book(name)}
    assert found == {"factbook_lookup", "factbook_chain"}
    assert not has_closed_book("summhay")
    assert not has_closed_book("flenqa")
