"""What a head's score on one example is: five definitions, each over the rows of the answer.

A row is one position of the model's input; the rows of an answer are those that produce its tokens,
the last of the prompt and all but the last of the answer. Notation: L layers, H heads, M rows; p a
position, t a row, a_t the attention that a head pays at row t, w_t the token produced there, x the
prompt, I the positions of the needle.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

KINDS = ("copy", "copy_repeats", "argmax", "mass", "topk")


def copy(
    attended: NDArray[np.int64],
    prompt: Sequence[int],
    needle: AbstractSet[int],
    generated: Sequence[int],
) -> Scores:
    """Share of the needle's distinct tokens that a head copied: |g and k| / |k|.

    k is the set of tokens {x_p: p in I}; g is the set of tokens w_t in k with argmax a_t in I and
    x at that position equal to w_t. Source: Wu et al., arXiv 2404.15574, section 2.

    Args:
        attended: (L, H, M), argmax a_t: the position with the highest attention at each row.
        prompt: x, the token ids that positions index; positions beyond it are of the answer.
        needle: I, at least one position.
        generated: w, M token ids.

    Returns:
        (L, H), each in [0, 1].

    Raises:
        ValueError: the needle has no position.
    """
    copied = _copied(attended, prompt, needle, generated)
    tokens = np.asarray(generated)
    wanted = {prompt[position] for position in needle}
    # A set, as in the paper: a token that stands in the needle or in the answer twice counts once.
    counts = [copied[:, :, tokens == token].any(axis=2) for token in wanted]
    return np.asarray(np.sum(counts, axis=0) / len(wanted))


def copy_repeats(
    attended: NDArray[np.int64],
    prompt: Sequence[int],
    needle: AbstractSet[int],
    generated: Sequence[int],
) -> Scores:
    """Rows at which a head copied, repeats and all, per position of the needle.

    |{t: argmax a_t in I and x at that position = w_t}| / |I|. Source: `retrieval_calculate` in the
    code of Wu et al. (nightdessert/Retrieval_Head, retrieval_head_detection.py), which differs from
    their paper, `copy`: it counts rows where the paper has a set of tokens, and divides by the
    length of the needle's span.

    Args:
        attended, prompt, needle, generated: as of `copy`.

    Returns:
        (L, H), each in [0, M / |I|]: it exceeds 1 where an answer repeats the needle.

    Raises:
        ValueError: the needle has no position.
    """
    return np.asarray(_copied(attended, prompt, needle, generated).sum(axis=2) / len(needle))


def argmax(attended: NDArray[np.int64], needle: AbstractSet[int]) -> Scores:
    """Share of rows whose highest attention is on the needle: |{t: argmax a_t in I}| / M.

    No token needs to be equal. Source: our reading of Zhao et al., arXiv 2410.22316, for whom a
    retrieval head "places highest attention probability on the answer in context"; the share of
    rows is our choice.

    Args:
        attended: (L, H, M), as of `copy`; M at least 1.
        needle: I, at least one position.

    Returns:
        (L, H), each in [0, 1].

    Raises:
        ValueError: the needle has no position.
    """
    return np.asarray(_on_needle(attended, needle).mean(axis=2))


def mass(masses: NDArray[np.float64]) -> Scores:
    """Attention paid to the needle, mean over rows: the sum over t and p in I of a_t[p], over M.

    Source: the QRscore of Zhang et al., arXiv 2506.09944, where the rows are those of the question
    and the needle is the gold documents. Their code also subtracts what a question "N/A" gets: a
    probe with `null_question` does so afterwards.

    Args:
        masses: (L, H, M), the sum over p in I of a_t[p]; M at least 1.

    Returns:
        (L, H), each in [0, 1]; NaN where `masses` is.
    """
    return np.asarray(masses.mean(axis=2))


def topk(sums: NDArray[np.float64], length: int) -> Scores:
    """Attention to needle positions among a row's k highest, over all rows, divided by k = |I|.

    The sum over t, and over p in I and in top-k(a_t), of a_t[p], divided by k. Source: the R2 score
    of HeadKV (Fu et al., arXiv 2410.19258). Their code (FYYFU/HeadKV,
    retrieval_head_detection_r2.py) also multiplies it by 10 and divides it by the number of the
    answer's tokens.

    Args:
        sums: (L, H, M), the sum over p in I and in top-k(a_t) of a_t[p].
        length: k, the number of positions of the needle.

    Returns:
        (L, H), each in [0, M / k]; NaN where `sums` is.
    """
    return np.asarray(sums.sum(axis=2) / length)


def _copied(
    attended: NDArray[np.int64],
    prompt: Sequence[int],
    needle: AbstractSet[int],
    generated: Sequence[int],
) -> NDArray[np.bool_]:
    """Whether a head copied at each row, (L, H, M)."""
    inside = _on_needle(attended, needle)
    tokens = np.asarray(prompt)[np.where(inside, attended, 0)]
    return np.asarray(inside & (tokens == np.asarray(generated)))


def _on_needle(attended: NDArray[np.int64], needle: AbstractSet[int]) -> NDArray[np.bool_]:
    if not needle:
        raise ValueError("the needle has no position: there is no score, which is not a score of 0")
    return np.isin(attended, list(needle))
