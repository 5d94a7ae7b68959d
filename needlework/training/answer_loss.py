"""The loss of an answer without the vocabulary's logits of its prompt, on any device.

A vocabulary of 128,256 over 32,768 positions is 16.8 GB of logits in float32; an answer is a few
tokens. So only the positions before labelled tokens are projected: memory grows with answers, not
with contexts. TRL's own fused head does that only where Triton runs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl import SFTTrainer

from needlework.training.rows import IGNORED


class AnswerLossTrainer(SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer` whose loss is the same and projects labelled positions only."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the labelled tokens; sums over accumulated batches.

        `num_items_in_batch` counts the labels of an optimizer step in all processes, and what
        joins their gradients averages them: the loss is multiplied by the processes, as TRL's is.
        """
        following = inputs["labels"][:, 1:]  # what each position but the last predicts
        kept = (following != IGNORED).any(dim=0).nonzero().squeeze(1)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["labels"],
            shift_labels=following[:, kept],
            logits_to_keep=kept,
            use_cache=False,
            num_items_in_batch=num_items_in_batch,
        )
        loss = outputs.loss
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss
