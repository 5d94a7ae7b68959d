"""Base models by bundled name, folder or hub id: prepared once, then loaded as their record says.

Importing it imports no torch.
"""

from needlework.models.base import Base, Kind, base_of, kind_of, positions, prepare
from needlework.models.bundled import BUNDLED, bundled_gguf
from needlework.models.context import METHODS, ContextExtension, extended_theta, write_extended
from needlework.models.loading import (
    ATTENTION,
    DTYPES,
    add_compute_flags,
    attention_of,
    choose_attention,
    limit_threads,
    load_model,
    load_tokenizer,
    resolve_dtype,
)
from needlework.models.rotary import check_rotary, expected_inv_freq

__all__ = [
    "ATTENTION",
    "BUNDLED",
    "DTYPES",
    "METHODS",
    "Base",
    "ContextExtension",
    "Kind",
    "add_compute_flags",
    "attention_of",
    "base_of",
    "bundled_gguf",
    "check_rotary",
    "choose_attention",
    "expected_inv_freq",
    "extended_theta",
    "kind_of",
    "limit_threads",
    "load_model",
    "load_tokenizer",
    "positions",
    "prepare",
    "resolve_dtype",
    "write_extended",
]
