"""Retrievers: the passages of a pool that answer to a question best, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from needlework.corpora.passages import Passages

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Retriever = Literal["bm25", "contriever"]
Rank = Callable[[Sequence[str], int], list[list[int]]]
"""Queries and k to the indices of the best k passages of each query, best first."""

CONTRIEVER = "facebook/contriever"

# Passages encoded at once, and queries whose scores are in memory at once.
_BATCH = 64
# Contriever was trained on passages of at most this many tokens (Izacard et al., 2022).
_LONGEST = 512


def ranker(
    name: Retriever, passages: Passages, *, model: str | None = None, threads: int = 1
) -> Rank:
    """Index a pool once, to rank its passages for any number of queries.

    `bm25` is Lucene's variant (k1 1.5, b 0.75, English stop words, no stemming) as bm25s computes
    it; passages that share no word with a query are not ranked, so a list may be shorter than k.
    `contriever` is the dot product of mean-pooled token vectors (Izacard et al., 2022,
    "Unsupervised Dense Information Retrieval with Contrastive Learning"), as Liu et al. (2024)
    drew the distractors of MDQA. Equal scores go by index, so the same pool and queries always
    give the same lists.

    Args:
        name: "bm25" or "contriever".
        passages: titles and texts are indexed.
        model: of "contriever": hub id or folder of an encoder; facebook/contriever by default.
        threads: of the CPU.

    Raises:
        ValueError: no retriever has this name, or a `model` is given to one that takes none.
    """
    if name == "bm25":
        if model is not None:
            raise ValueError(f"the retriever 'bm25' takes no model, but {model!r} is given")
        return _bm25(passages, threads)
    if name == "contriever":
        return _contriever(passages, model or CONTRIEVER, threads)
    raise ValueError(f"no retriever is named {name!r}; there are 'bm25' and 'contriever'")


def _bm25(passages: Passages, threads: int) -> Rank:
    import bm25s

    def tokens(texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", return_ids=False, show_progress=False
        )
        return found

    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(tokens(passages.texts()), show_progress=False)

    def rank_one(query: list[str], k: int) -> list[int]:
        if not query:  # stop words alone
            return []
        scores = index.get_scores(query)
        return _best(scores, min(k, int(np.count_nonzero(scores))))

    def rank(queries: Sequence[str], k: int) -> list[list[int]]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda query: rank_one(query, k), tokens(queries)))

    return rank


def _contriever(passages: Passages, name: str, threads: int) -> Rank:
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = AutoModel.from_pretrained(
        name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    ).eval()
    index = _encoded(model, tokenizer, passages.texts())

    def rank(queries: Sequence[str], k: int) -> list[list[int]]:
        vectors = _encoded(model, tokenizer, queries)
        blocks = (vectors[i : i + _BATCH] @ index.T for i in range(0, len(vectors), _BATCH))
        return [_best(scores, k) for block in blocks for scores in block]

    return rank


def _encoded(model: Any, tokenizer: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    """One vector a text: the mean of its tokens' last hidden states, padding left out."""
    import torch

    # Texts of one length share a batch, so that little is padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = tokenizer(
            [texts[i] for i in rows],
            padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            states: torch.Tensor = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        vectors[rows] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
    return vectors


def _best(scores: NDArray[np.float32], k: int) -> list[int]:
    """The indices of the `k` highest scores, highest first; equal scores by index."""
    if k < 1:
        return []
    if k < len(scores):
        least = np.partition(scores, -k)[-k]
        candidates = np.flatnonzero(scores >= least)
    else:
        candidates = np.arange(len(scores))
    order = np.argsort(-scores[candidates], kind="stable")
    best: list[int] = candidates[order][:k].tolist()
    return best
