"""The loss of an answer without the vocabulary's logits of its whole prompt, on any device.

TRL's fused LM head projects the labelled positions only where Triton runs; elsewhere it scores
every position, three times over (`compact` in trl/trainer/utils.py, 1.16), which on a CPU takes
a third of a step. An answer is the last few tokens, so here only those are projected.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl import SFTTrainer


class AnswerLossTrainer(SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer` for rows whose labels are at the end; the loss is the same."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the labelled tokens; sums over accumulated batches."""
        labels = inputs["labels"]
        first = int((labels != -100).any(dim=0).nonzero()[0])
        kept = labels.shape[1] - first + 1  # the position before a label predicts it
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels[:, -kept:],
            logits_to_keep=kept,
            use_cache=False,
            num_items_in_batch=num_items_in_batch,
        )
        return (outputs.loss, outputs) if return_outputs else outputs.loss
