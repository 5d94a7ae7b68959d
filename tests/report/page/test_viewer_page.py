"""The example viewer in a browser: hostile texts stay texts, answers, outcomes, attended places."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from needlework.layout import Run
from needlework.report.page.viewer_data import viewer_data
from tests.report.page.part_page import Opened, write_part
from tests.report.page.test_viewer_data import (
    TASK,
    answers_of,
    document,
    example,
    study,
    write,
    write_attention,
)

IMAGE = "<img src=x onerror=alert(1)>"
ENDING = "</script><script>alert(2)</script><!--"
TURNED = "\u202eabc \u05d0\u05d1\u05d2\u2028 \"quoted\" 'once' & \u202c\u202e"
ASTRAL = "\U0001f9f5\U0001f9f5 "  # two units of UTF-16 each, one character each

GOLD = f"{ASTRAL}{TURNED} {IMAGE}. The capital is Lima, they say."
DOCUMENTS = [
    document("first", f"{ENDING} {IMAGE} " + "x" * 300),
    document("gold", GOLD, True),
    document("last", f"{TURNED} Quito."),
]
AT = GOLD.index("Lima")
SPANS = [["gold", AT - 3, AT + 2, [0]], ["gold", AT + 2, AT + 4, [1]], ["last", 0, 1, [1]],
         [None, 0, 0, [0]]]  # fmt: skip
# By example: untuned; real, its two seeds; low_low, its two seeds.
RIGHT = {0: "1 11 11", 1: "0 00 00", 2: "0 11 10", 3: "1 11 00", 4: "0 10 11"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer")
    made = study()
    examples = [example(i, DOCUMENTS) for i in RIGHT]
    examples[1] = examples[1].model_copy(
        update={"question": f"{ENDING} {TURNED}?", "answers": ["Lima", f"Lima {IMAGE}"]}
    )
    runs = [("untuned", 0), ("real", 0), ("real", 1), ("low_low", 0), ("low_low", 1)]
    write(folder, made, examples, {
        run: ["Lima" if flags.replace(" ", "")[place] == "1" else f"{IMAGE}{ENDING}{TURNED}"
              for flags in RIGHT.values()]
        for place, run in enumerate(runs)
    })  # fmt: skip
    shown = {f"q{i}": [d.id for d in DOCUMENTS] for i in (0, 1)}
    write_attention(folder, "m", shown, SPANS, variants=("real", "low_low"))
    return write_part(folder / "page.html", "viewer", viewer_data(folder, made))


def choose(opened: Opened, **names: str) -> None:
    for name, value in names.items():
        opened.page.locator(f"#viewer select[name={name}]").select_option(value)


def number(opened: Opened) -> int:
    return int(opened.page.locator("#viewer [name=number]").input_value())


def test_hostile_texts_are_shown_as_they_are_and_nothing_runs(opened: Opened) -> None:
    opened.page.get_by_role("button", name="Next").click()
    assert opened.texts(".asked") == [f"{ENDING} {TURNED}?"]
    assert f"Lima {IMAGE}" in opened.texts(".question")[0]
    assert opened.texts(".said")[0] == f"{IMAGE}{ENDING}{TURNED}"
    assert opened.texts(".passage")[0].startswith(f"{ENDING} {IMAGE} xxx")
    page = opened.page
    assert page.locator("#viewer img").count() == 0
    assert page.locator("script").count() == 2  # the data, the script
    # In the page's source no text of the data can end the element that it stands in.
    assert page.content().count("</script>") == 2


def test_a_text_that_turns_the_direction_turns_nothing_around_it(opened: Opened) -> None:
    page = opened.page
    styles = page.locator(".passage, .passage .text, .asked").evaluate_all(
        "all => all.map(x => getComputedStyle(x).unicodeBidi)"
    )
    assert set(styles) == {"isolate"}
    assert page.locator(".passage:not([dir=auto]), .asked:not([dir=auto])").count() == 0
    # The override in the gold document would put its needle's label to the left of the needle.
    needle = page.locator("mark").bounding_box()
    label = page.locator(".gold .role").bounding_box()
    assert needle is not None
    assert label is not None
    assert label["x"] >= needle["x"] + needle["width"]


def test_needles_and_gold_documents_are_named_in_words(opened: Opened) -> None:
    assert opened.texts("mark") == ["Lima"]
    spoken = opened.page.locator(".gold .passage").text_content() or ""
    assert "[answer needle, hop 2: Lima] " in spoken
    titles = opened.texts(".doc-title")
    assert [title.split() for title in titles] == [
        ["Document", "1", "Title", "first"],
        ["Document", "2", "gold", "Title", "gold"],
        ["Document", "3", "Title", "last"],
    ]
    assert "characters left out" in opened.texts(".passage")[0]


def test_every_run_is_right_or_wrong_in_words(opened: Opened) -> None:
    choose(opened, outcome="differ")
    assert number(opened) == 3
    rows = [row.split("|") for row in opened.page.locator(".answers tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.cells].map(c => c.textContent).join('|'))")]  # fmt: skip
    shown = [(name, seed, score, verdict) for name, seed, _, score, verdict in rows]
    assert shown == [
        ("untuned", "0", "0.00", "✗ wrong"), ("real", "0", "1.00", "✓ right"),
        ("real", "1", "1.00", "✓ right"), ("low_low", "0", "1.00", "✓ right"),
        ("low_low", "1", "0.00", "✗ wrong"),
    ]  # fmt: skip
    assert opened.texts(".answers thead th")[3] == "token F1"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("all", [1, 2, 3, 4, 5]), ("right", [1]), ("wrong", [2]), ("differ", [3, 4, 5]),
     ("wrong/untuned", [2, 3, 5]), ("wrong/real", [2, 5]), ("wrong/low_low", [2, 3, 4]),
     ("right/real", [1, 3, 4]), ("right/low_low", [1, 5])],
)  # fmt: skip
def test_outcomes_choose_examples(opened: Opened, outcome: str, expected: list[int]) -> None:
    choose(opened, outcome=outcome)
    seen = [number(opened)]
    button = opened.page.get_by_role("button", name="Next")
    while button.is_enabled():
        button.click()
        seen.append(number(opened))
    assert seen == expected
    if outcome != "all":
        said = opened.texts(".status")[0]
        assert said.endswith(f"{len(expected)} of {len(expected)} with this outcome.")
    back = opened.page.get_by_role("button", name="Previous")
    for wanted in reversed(expected[:-1]):
        back.click()
        assert number(opened) == wanted
    assert back.is_disabled()


def test_a_number_leads_to_its_example_whatever_the_outcome(opened: Opened) -> None:
    choose(opened, outcome="right")
    field = opened.page.locator("#viewer [name=number]")
    for typed, expected in (("4", 4), ("99", 5), ("-3", 1), ("", 1)):
        field.fill(typed)
        field.press("Enter")
        field.blur()
        assert number(opened) == expected
        assert opened.texts(".question .note") == [f"q{expected - 1}"]
    assert opened.page.locator("[name=outcome]").input_value() == "all"
    assert "Example 1 of 5." in opened.texts(".status")[0]


def test_attended_places_are_outlined_where_they_are(opened: Opened) -> None:
    assert opened.page.locator(".attended").count() == 0
    choose(opened, run="/real")
    # Characters are counted as in the files, not in units of UTF-16.
    assert opened.texts(".attended") == ["is", "Li", "ma", TURNED[0]]
    assert opened.texts("mark") == ["Li", "ma"]
    styles = opened.page.locator(".attended").evaluate_all(
        "all => all.map(x => getComputedStyle(x).outlineStyle)"
    )
    assert set(styles) == {"solid"}
    spoken = opened.page.locator(".gold .passage").text_content() or ""
    assert "[looked at: is [answer needle, hop 2: Li while it wrote ◂ ‘Li’ ] " in spoken
    (looked,) = opened.texts(".looked")
    assert "Answer tokens of real: ‘Li’, ‘ma’." in looked
    assert "fell on the documents below for 2 of 2 tokens" in looked
    assert "outside of the documents for ‘Li’" in looked
    assert opened.texts(".places button") == [
        "document 2 (gold, attended)",
        "document 3 (attended)",
    ]
    assert "3 documents, as m was shown them" in opened.texts(".places")[0]
    head = opened.page.locator("[name=head]")
    assert opened.texts("[name=head] option") == ["layer 3, head 1 (score 0.12)"]
    choose(opened, run="")
    assert opened.page.locator(".attended").count() == 0
    assert head.is_disabled()


def test_a_button_leads_to_the_document(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 1200, "height": 500})
    opened.page.get_by_role("button", name="document 2 (gold)").click()
    assert opened.page.evaluate("document.activeElement.className") == "doc gold"


def test_what_was_not_traced_is_said(opened: Opened) -> None:
    opened.page.locator("#viewer [name=number]").fill("3")
    opened.page.locator("#viewer [name=number]").blur()
    assert opened.texts(".looked") == [
        "Attention was traced for 2 examples of this task, not for this one."
    ]
    assert opened.page.locator("[name=run]").is_disabled()
    assert "3 documents of the example." in opened.texts(".places")[0]


def test_models_and_tasks_are_chosen_and_follow_the_filters(
    browser: Browser, tmp_path: Path
) -> None:
    made = study(models=("first", "second"), tasks={
        task: {"train": 2, "validation": 8, "test": 50} for task in (TASK, "factbook_chain")
    })  # fmt: skip
    write(tmp_path, made, [example(i) for i in range(45)])
    for run in ("real", "low_low"):  # the second model has no answer to the first example
        for seed in (0, 1):
            lines = answers_of(tmp_path, Run("second", TASK, run, seed))
            rows = lines.read_text(encoding="utf-8").splitlines(keepends=True)
            lines.write_text("".join(rows[1:]), encoding="utf-8")
    write_attention(tmp_path, "first", {"q0": ["g"]}, [["g", 0, 2, [0]]])
    write_attention(tmp_path, "second", {"q0": ["d", "g"]}, [["d", 0, 2, [1]]])
    opened = Opened(browser, write_part(tmp_path / "p.html", "viewer", viewer_data(tmp_path, made)))
    assert opened.texts(".status") == ["Example 1 of 24. These are the first 24 of 45 of the test."]
    opened.filter(model="second", variant="real")
    assert opened.page.locator("[name=model]").input_value() == "second"
    assert opened.texts(".answers td.words") == ["Lima", *["no answer"] * 4]
    (looked,) = opened.texts(".looked")
    assert "fell on the documents below for 0 of 2 tokens" in looked
    assert "on a document that is not listed for ‘ma’" in looked
    assert (
        "1 document, as first was shown them; the prompt of second had room for 2"
        in (opened.texts(".places")[0])
    )
    opened.filter(task="factbook_chain", model="nobody")
    chosen = [opened.page.locator(f"[name={name}]").input_value() for name in ("task", "model")]
    assert chosen == ["factbook_chain", "second"]
    assert opened.texts(".looked") == ["Attention was not traced for this model and task."]
    opened.page.set_viewport_size({"width": 360, "height": 700})
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.wrong == []
    opened.page.close()
