"""The other ways in which the test examples are shown: at other lengths, with the gold document at
chosen places, among other distractors, without documents.

Each is a condition, and its name a file of answers: `length4096`, `position5of20`, `closed_book`,
and, for the set of test examples with other distractors, `random`, `random-length4096`, ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Example
from needlework.rendering.fitting import without_distractors
from needlework.rendering.placing import Positions, placed, without_documents
from needlework.rendering.prompt import Rendered, check_shown, render, render_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CLOSED_BOOK = "closed_book"
_ABOUT_THE_DOCUMENTS = ("factbook_citation", "summhay", "flenqa")
_NAME = re.compile(
    r"(?:(?P<set>[a-z]+)-)?"
    r"(?:length(?P<length>[1-9]\d*)|position(?P<position>[1-9]\d*)of(?P<documents>[1-9]\d*))"
)


class View(NamedTuple):
    """One way to show the test examples.

    `split` is the file of examples without its ending, "test" or "test-random"; `length` the
    longest prompt and answer in tokens; `position` the place of the gold document among so many
    `documents`, from 1, and both None where the context is as drawn.
    """

    name: str
    split: str
    length: int
    documents: int | None
    position: int | None
    closed_book: bool


def views_of(
    positions: Positions | None,
    lengths: Sequence[int],
    closed_book: bool,
    distractor_sets: Sequence[str],
    length: int,
) -> list[View]:
    """The views of a study's task, without the plain one: all examples at the study's length.

    Args:
        positions: the documents, and the places of the gold one among them.
        lengths: further lengths, up to the study's; the study's own is passed over.
        closed_book: whether the questions are asked without documents as well.
        distractor_sets: the names of further sets of test examples, such as "random".
        length: the study's.

    Raises:
        ValueError: a view is impossible.
    """
    names = [f"length{each}" for each in lengths if each != length]
    if positions is not None:
        names += [f"position{place}of{positions.documents}" for place in positions.gold]
    further = [
        f"{each}-{name}" if name else each for each in distractor_sets for name in ["", *names]
    ]
    if closed_book:
        names.append(_CLOSED_BOOK)
    return [view_of(name, length) for name in dict.fromkeys([*names, *further])]


def has_closed_book(task: str) -> bool:
    """Whether the questions of a task can be asked without documents."""
    return task not in _ABOUT_THE_DOCUMENTS


def view_of(name: str, length: int) -> View:
    """The view of a name, in a study of a length.

    Raises:
        ValueError: no view has this name, or it is impossible: longer than the study, whose
            examples hold no more text, or a place beyond the documents.
    """
    if name == _CLOSED_BOOK:
        return View(name, "test", length, None, None, True)
    if re.fullmatch("[a-z]+", name):
        return View(name, f"test-{name}", length, None, None, False)
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            f"no view is named {name!r}; names are such as length4096, position5of20, closed_book, "
            "random, random-length4096"
        )
    split = f"test-{found['set']}" if found["set"] else "test"
    if found["length"]:
        asked = int(found["length"])
        if asked > length:
            raise ValueError(
                f"{name}: the test examples hold text for {length} tokens, the study's length; "
                f"take at most {length}, or raise `length`"
            )
        return View(name, split, asked, None, None, False)
    documents, position = int(found["documents"]), int(found["position"])
    if position > documents:
        raise ValueError(f"{name}: there is no place {position} among {documents} documents")
    return View(name, split, length, documents, position, False)


def place_of(condition: str) -> Positions | None:
    """The documents of a condition, and the one place of the gold one; None where not fixed."""
    found = _NAME.fullmatch(condition)
    if found is None or not found["position"]:
        return None
    return Positions(int(found["documents"]), [int(found["position"])])


def shown(view: View, example: Example) -> Example:
    """The example in the context of a view, before it is cut to a length.

    Raises:
        Unrenderable: it has too few documents, or several gold ones.
        ValueError: its question cannot be asked without documents.
    """
    if view.closed_book:
        return without_documents(example)
    if view.documents is None or view.position is None:
        return example
    return placed(example, view.documents, view.position)


def rendered(view: View, example: Example, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """The tokens of an example in a view; where documents are counted, none is cut.

    Raises:
        Unrenderable, ValueError: as `shown`; or it does not fit the length.
    """
    show = render if view.documents is None else render_whole
    return show(shown(view, example), tokenizer, view.length)


def check_views(
    views: Sequence[View],
    examples: Mapping[str, Sequence[Example]],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Nothing, where every example can be shown in every view; much cheaper than rendering them.

    Of several lengths the shortest stands for all, of several places the first.

    Args:
        views: how the examples will be shown.
        examples: those of each split.
        tokenizer: of the model.

    Raises:
        ValueError: examples cannot be shown in a view, all of which are named; a split is missing,
            or has other ids than the first.
    """
    first = [example.id for example in next(iter(examples.values()))]
    for split, given in examples.items():
        if [example.id for example in given] != first:
            raise ValueError(f"the examples of {split} have other ids than those of the test")
    hardest: dict[tuple[str, int | None, bool], View] = {}
    for view in sorted(views, key=lambda view: view.length):
        hardest.setdefault((view.split, view.documents, view.closed_book), view)
    for view in hardest.values():
        if view.split not in examples:
            raise ValueError(
                f"{view.name}: the examples of {view.split} are missing; give {view.split}.jsonl"
            )

        def show(example: Example, view: View = view) -> Rendered:
            # A context that can be cut fits if its gold documents do.
            context = shown(view, example)
            least = without_distractors(context) if view.documents is None else context
            return render_whole(least, tokenizer, view.length)

        try:
            check_shown(examples[view.split], show)
        except ValueError as error:
            raise ValueError(f"{view.name}: {error}") from error
