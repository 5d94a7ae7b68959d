"""What the tests of rendering share: tokenizers of three families, each in four chat templates."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as algorithms
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import PreTrainedTokenizerFast

from needlework.corpora.corpus import Corpus
from needlework.examples import Document, Example, Needle

_VOCABULARY = 2000
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

_TEMPLATES: dict[str, tuple[str | None, list[str]]] = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{{ '<|im_start|>assistant\n' }}",
        ["<|im_start|>", "<|im_end|>"],
    ),
    "llama3": (  # strips the message
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
        "\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}",
        ["[INST]", "[/INST]"],
    ),
    "none": (None, []),
}


def _byte_level(texts: Sequence[str]) -> Tokenizer:
    """As GPT-2's, Llama 3's and Qwen's."""
    tokenizer = Tokenizer(algorithms.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"],
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _sentencepiece_bpe(texts: Sequence[str]) -> Tokenizer:
    """As Llama 2's and Mistral's: a space is put before every text, and none splits words."""
    tokenizer = Tokenizer(algorithms.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=[*special, *_BYTES], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = _decoder()
    return _only_special(tokenizer, special)


def _sentencepiece_unigram(texts: Sequence[str]) -> Tokenizer:
    """As Gemma's and T5's: pieces are chosen by their probability."""
    tokenizer = Tokenizer(algorithms.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = UnigramTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    rare = min(score for _, score in pieces) - 10
    pieces += [[byte, rare] for byte in _BYTES]
    tokenizer = Tokenizer(algorithms.Unigram([*map(tuple, pieces)], unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = _decoder()
    return _only_special(tokenizer, special)


def _decoder() -> decoders.Decoder:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _only_special(tokenizer: Tokenizer, special: list[str]) -> Tokenizer:
    """Without the added tokens of training: bytes are pieces, not names to be found in a text."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in special]
    made = Tokenizer.from_str(json.dumps(content))
    made.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return made


_FAMILIES = {
    "byte-level": _byte_level,
    "sentencepiece-bpe": _sentencepiece_bpe,
    "sentencepiece-unigram": _sentencepiece_unigram,
}


def _name(rng: random.Random) -> str:
    return "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVW", k=4))


Reader = Callable[[str, str], PreTrainedTokenizerFast]


@pytest.fixture(scope="session")
def texts(corpus: Corpus) -> list[str]:
    """Real passages, of which no two are the same."""
    examples = [*corpus.train, *corpus.validation, *corpus.test]
    return sorted({document.text for example in examples for document in example.documents})


@pytest.fixture(scope="session")
def reader(texts: list[str]) -> Reader:
    """Tokenizers trained on the texts and on names, by family and chat template."""
    names = [f"{_name(random.Random(i))} {_name(random.Random(-i))}" for i in range(500)]
    made = {}
    for family, train in _FAMILIES.items():
        trained = train([*texts, *names]).to_str()
        for name, (template, marks) in _TEMPLATES.items():
            fast = PreTrainedTokenizerFast(
                tokenizer_object=Tokenizer.from_str(trained),
                unk_token=None if family == "byte-level" else "<unk>",
                bos_token="<s>",
                eos_token="</s>",
                extra_special_tokens=marks,
                clean_up_tokenization_spaces=False,
            )
            fast.chat_template = template
            made[family, name] = fast
    return lambda family, template: made[family, template]


Draw = Callable[[str, int], Iterator[Document]]


@pytest.fixture(scope="session")
def distractors(texts: list[str]) -> Draw:
    """Distractors of a unit without end, drawn by a seed."""
    words = " ".join(texts).split()
    filler = ["The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.",
              "There and back again."]  # fmt: skip

    def draw(unit: str, seed: int) -> Iterator[Document]:
        rng = random.Random(seed)
        for i in range(100_000):
            if unit == "word":
                text = " ".join(rng.choices(words, k=rng.randint(50, 90)))
            elif unit == "sentence":
                text = " ".join(rng.choices(filler, k=rng.randint(6, 20)))
            else:
                entries = (f"'{_name(rng)}': '{_name(rng)}'" for _ in range(rng.randint(6, 14)))
                text = f"{_name(rng)} {{{', '.join(entries)}}}"
            title = f"T {i}" if unit == "word" else ""
            yield Document.model_validate(
                {"id": str(i), "title": title, "text": text, "gold": False, "unit": unit}
            )

    return draw


Make = Callable[..., Example]


@pytest.fixture(scope="session")
def make() -> Make:
    """Makes an example of documents; `needles` are (document, start, end)."""

    def made(
        documents: Sequence[Document],
        needles: Sequence[tuple[str, int, int]] = (),
        *,
        name: str = "made",
        answers: Sequence[str] = ("XYZZ",),
        cites: Sequence[str] = (),
        style: str = "documents",
        fields: Mapping[str, str] | None = None,
    ) -> Example:
        return Example(
            id=name,
            task="t",
            variant="real",
            question="What is the secret of the thing?",
            answers=list(answers),
            documents=list(documents),
            needles=[
                Needle(document=d, start=start, end=end, role="insight")
                for d, start, end in needles
            ],
            cluster="c",
            source={"fields": dict(fields or {})},
            cites=list(cites),
            style=style,
        )

    return made
