"""Every real task by name: what draws its examples, and the downloaded files it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_chain import factbook_chain
from needlework.corpora.factbook_citation import factbook_citation
from needlework.corpora.factbook_lookup import factbook_lookup
from needlework.corpora.flenqa import flenqa
from needlework.corpora.jsonl import jsonl
from needlework.corpora.mdqa import mdqa
from needlework.corpora.musique import musique
from needlework.corpora.summhay import summhay


class TaskSource(NamedTuple):
    """`draw` draws a task's splits.

    `files` names, for each option that is a path, what is read where the study has no path: a file
    or a folder under `data/`, which the rule download_source fetches.
    """

    draw: Callable[..., Corpus]
    files: dict[str, str]

    def build(self, **options: Any) -> Corpus:
        """The corpus, from options as a study has them.

        Raises:
            ValueError: what the task itself refuses.
        """
        paths = {key: Path(options[key]) for key in PATHS if options.get(key) is not None}
        return self.draw(**options | paths)


def _source(draw: Callable[..., Corpus], **files: str) -> TaskSource:
    return TaskSource(draw, files)


PATHS = ("path", "test_path", "passages")


TASKS: dict[str, TaskSource] = {
    "factbook_lookup": _source(factbook_lookup),
    "factbook_chain": _source(factbook_chain),
    "factbook_citation": _source(factbook_citation),
    "mdqa": _source(mdqa, path="mdqa/nq-open-oracle.jsonl.gz"),
    "musique": _source(
        musique,
        path="musique/musique_ans_v1.0_train.jsonl",
        test_path="musique/musique_ans_v1.0_dev.jsonl",
    ),
    "summhay": _source(summhay, path="summhay"),
    "flenqa": _source(flenqa, path="flenqa/FLenQA_hf.jsonl"),
    "jsonl": _source(jsonl),
}
