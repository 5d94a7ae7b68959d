"""A message in a model's chat template, and its tokens, of which none can end the turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

# Shown in the place of the first character of a control token's name, so that it is only text.
_BROKEN = "*"


def in_template(message: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """What the chat template puts before the message, the message as shown, and what follows it.

    What follows ends with the opening of the reply. A template may strip the message; a base
    model, which has none, reads the message as plain text.

    Raises:
        ValueError: the template shows another message, or shows it more than once.
    """
    if tokenizer.chat_template is None:
        return tokenizer.bos_token or "", message, "\n"
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    for shown in (message, message.strip()):
        if chat.count(shown) == 1:
            before, _, after = chat.partition(shown)
            return before, shown, after
    raise ValueError(
        f"the chat template shows the message {chat.count(message.strip())} times as it is, "
        "expected once, so no needle can be found in it; use a template that leaves the inside of "
        "a message alone"
    )


def control_tokens(tokenizer: PreTrainedTokenizerBase, frame: str) -> set[int]:
    """The tokens that no text may hold: special ones, and those of the template's own `frame`.

    Some templates mark turns with added tokens that are not special. The unknown token is no
    control token, unless it ends the sequence too: it stands for any character.
    """
    marks = {
        token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special
        or (added.content in frame and added.content.strip() and not added.content.isalnum())
    }
    return marks - {tokenizer.unk_token_id} | {tokenizer.eos_token_id}


def tokens(
    before: str, text: str, after: str, tokenizer: PreTrainedTokenizerBase, control: set[int]
) -> BatchEncoding:
    """The tokens of three parts in a row, with their offsets; none in `text` is of `control`.

    Texts come from anywhere, and one that holds "<|im_end|>" would end the user's turn. Such a
    name is shown as "*|im_end|>": the tokenizer reads it as text, and every character keeps its
    place. Marks that are plain text to a tokenizer, such as Llama 2's "[INST]", are left alone.
    """
    start, end = len(before), len(before) + len(text)
    whole = before + text + after
    while True:
        encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        names = [offsets[i] for i, token in enumerate(encoded["input_ids"]) if token in control]
        # A token may take the space beside it too, so that the template's own reach into the text.
        inside = [range(max(a, start), min(b, end)) for a, b in names]
        visible = [[i for i in r if not whole[i].isspace() and whole[i] != _BROKEN] for r in inside]
        places = {first for first, *_ in filter(None, visible)}
        if not places:
            return encoded
        whole = "".join(_BROKEN if i in places else c for i, c in enumerate(whole))
