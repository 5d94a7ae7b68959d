"""Retrievers rank as their papers define, best first, and equal scores by index."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from needlework.corpora.passages import Passages
from needlework.corpora.retrieval import ranker

TEXTS = [
    ("Lima", "Lima lies on the coast of Peru and is its capital."),
    ("Oslo", "Oslo is the capital of Norway."),
    ("Peru", "Peru borders Chile; Peru exports copper from Peru."),
    ("Chess", "A game of two players."),
    ("Oslo", "Oslo is the capital of Norway."),
]
POOL = Passages((str(i), title, text) for i, (title, text) in enumerate(TEXTS))


def bm25(query: str, document: str, documents: list[str]) -> float:
    """The sum of Lucene's BM25 over the query's words, from its definition."""
    split = [re.findall(r"\b\w\w+\b", text.lower()) for text in documents]
    words = re.findall(r"\b\w\w+\b", document.lower())
    stopped = {"the", "of", "and", "is", "its", "on", "it", "in", "to", "a"}
    split = [[word for word in other if word not in stopped] for other in split]
    words = [word for word in words if word not in stopped]
    mean = sum(map(len, split)) / len(split)
    total = 0.0
    for word in set(re.findall(r"\b\w\w+\b", query.lower())) - stopped:
        having = sum(word in other for other in split)
        idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
        count = Counter(words)[word]
        total += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(words) / mean))
    return total


@pytest.mark.parametrize("query", ["capital of Peru", "copper", "Oslo Norway capital", "Peru game"])
def test_bm25_is_the_published_formula(query: str) -> None:
    documents = POOL.texts()
    scores = [bm25(query, document, documents) for document in documents]
    expected = sorted((i for i in range(5) if scores[i] > 0), key=lambda i: (-scores[i], i))
    assert ranker("bm25", POOL)([query], 5) == [expected]


def test_equal_scores_go_by_index_also_at_the_cut() -> None:
    pool = Passages((str(i), "Lima", "the same words") for i in range(50))
    rank = ranker("bm25", pool)
    assert rank(["Lima"], 7) == [list(range(7))]
    assert rank(["Lima"], 100) == [list(range(50))]
    mixed = Passages((str(i), "Lima", "Lima" if i % 2 else "Oslo") for i in range(200))
    order = [*range(1, 200, 2), *range(0, 200, 2)]
    assert ranker("bm25", mixed)(["Lima"], 150) == [order[:150]]


def test_what_shares_no_word_is_not_ranked() -> None:
    rank = ranker("bm25", POOL)
    assert rank(["copper", "the", "xylophone", "", "chess"], 5) == [[2], [], [], [], [3]]
    assert rank([], 5) == []
    assert rank(["copper"], 0) == [[]]


def test_threads_change_nothing() -> None:
    queries = ["capital of Peru", "Oslo", "game of chess"] * 20
    assert ranker("bm25", POOL, threads=3)(queries, 3) == ranker("bm25", POOL)(queries, 3)


def test_unknown_retrievers_are_refused() -> None:
    with pytest.raises(ValueError, match="'bm26'; there are 'bm25' and 'contriever'"):
        ranker("bm26", POOL)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes no model"):
        ranker("bm25", POOL, model="x")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights in a folder, with a vocabulary of the texts' words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({w for text in POOL.texts() for w in re.findall(r"\w+", text.lower())})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words) + 4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=512,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


def encoded_alone(folder: Path, text: str) -> np.ndarray:
    """The mean of the last hidden states of one text, with no padding to leave out."""
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokens = BertTokenizerFast.from_pretrained(folder)(text)["input_ids"]
    with torch.inference_mode():
        states = BertModel.from_pretrained(folder)(torch.tensor([tokens])).last_hidden_state
    return states[0].double().numpy().mean(axis=0)


def test_contriever_is_mean_pooling_and_dot_product(encoder: Path) -> None:
    queries = ["capital of peru", "chess players", "norway"]
    index = np.stack([encoded_alone(encoder, text) for text in POOL.texts()])
    rank = ranker("contriever", POOL, model=str(encoder))
    for query, found in zip(queries, rank(queries, 5), strict=True):
        scores = index @ encoded_alone(encoder, query)
        scores[4] = scores[1]  # the same text
        assert found == np.argsort(-scores, kind="stable").tolist()
    assert [best[:2] for best in rank(queries, 5)] == rank(queries, 2)


def test_contriever_takes_more_than_a_batch(encoder: Path) -> None:
    texts = [(str(i), "Peru", "capital of Norway " * (1 + i % 40)) for i in range(150)]
    pool = Passages(texts)
    (found,) = ranker("contriever", pool, model=str(encoder))(["Oslo"], 150)
    assert sorted(found) == list(range(150))
    index = np.stack([encoded_alone(encoder, text) for text in pool.texts()[:40]])
    best = int(np.argmax(index @ encoded_alone(encoder, "Oslo")))
    assert found[0] % 40 == best
