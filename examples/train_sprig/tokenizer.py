# ruff: noqa: SIM905
"""Sprig's tokenizer: byte-level BPE of 1,024 tokens in which every digit stands alone.

A word is split alike wherever it stands, after a space or after a quotation mark: spaces are tokens
of their own, but before the few function words that carry theirs. A small model copies a name into
JSON token by token, and can do so only if both places spell it with the same tokens.

Any UTF-8 text round-trips, for all 256 bytes are tokens. The special tokens are single ids that
never merge with their neighbours, so a chat can be encoded turn by turn:
encode(header) + encode(content) + encode(end) == encode(header + content + end).

Who adds what: the chat template puts `<|bos|>` once at the start, and `<|end|>` after every
message. `encode` adds nothing. The model itself ends its turn with `<|end|>` (the eos token).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .generate import chats

VOCABULARY_SIZE = 1024
CONTEXT = 2048
SPECIAL = ["<|bos|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
FUNCTION_WORDS = """
a am an and are as at be been but by can could did do does each for from had has have he her here
his how if in is it its just me my named no not now of on or our please she so than that the their
them then there these they this to us was we were what when where which who will with would you your
""".split()
PIECES = (
    rf" (?:{'|'.join(FUNCTION_WORDS)})(?![\p{{L}}\p{{M}}\p{{N}}'])"
    r"|[\p{L}\p{M}]+|[^\s\p{L}\p{M}\p{N}]+(?: [^\s\p{L}\p{M}\p{N}]+)*|\s"
)
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Sprig knows the roles system, user and assistant') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def training_text(seed: int, count: int) -> Iterator[str]:
    """The turns' texts of the first `count` chats."""
    for turns in islice(chats(seed), count):
        yield from (turn.content for turn in turns)


def train(seed: int = 12345, count: int = 12000) -> Tokenizer:
    """A tokenizer of `VOCABULARY_SIZE` tokens, special ones first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(seed, count), trainer)
    return tokenizer


def tokenizer_config() -> dict[str, object]:
    """What transformers reads beside tokenizer.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": CHAT_TEMPLATE,
    }


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps(tokenizer_config(), indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
