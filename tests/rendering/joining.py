"""A tokenizer of bytes but for one token: two line ends in a row, as most tokenizers have it."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast


def joining_lines(tokenizer: Any) -> PreTrainedTokenizerFast:
    """The tiny model's tokenizer, with that token."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["model"]["vocab"]["ĊĊ"] = len(spec["model"]["vocab"])
    spec["model"]["merges"] = [["Ċ", "Ċ"]]
    spec["pre_tokenizer"]["use_regex"] = False  # it would keep the two apart
    joining = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    joining.chat_template = tokenizer.chat_template
    return joining
