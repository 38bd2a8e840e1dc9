"""Small tokenizers of the kinds that models come with."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer, UnigramTrainer

from espalier.runtime.tokenizer import Tokenizer

TEXT = [
    "The quick brown fox jumps over the lazy dog. " * 3,
    "  two spaces, a tab\t and\n\nnew lines",
    "Grüße aus Köln, 你好世界, привет 🙂👩‍👩‍👧",
    '{"name": "Zoë", "age": 41}',
]
SPECIAL = ["<s>", "</s>", "<|user|>", "<|end|>"]


def byte_level() -> tokenizers.Tokenizer:
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        TEXT,
        BpeTrainer(
            vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    raw.add_tokens(["<think>", "<|assistant|>"])
    return raw


def sentence_piece() -> tokenizers.Tokenizer:
    """As Llama 2's: bytes outside the vocabulary fall back to <0xNN>."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [chr(code) for code in range(0x21, 0x7F)]
    pieces = ["<unk>", *SPECIAL, *bytes_, "▁", *letters, "▁t", "▁th", "he", "▁the", "▁▁"]
    merges = [("▁", "t"), ("▁t", "h"), ("h", "e"), ("▁th", "e"), ("▁", "▁")]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    raw = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    raw.add_special_tokens(["<unk>", *SPECIAL])
    return raw


def metaspace() -> tokenizers.Tokenizer:
    raw = tokenizers.Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.train_from_iterator(
        TEXT,
        UnigramTrainer(
            vocab_size=120,
            special_tokens=["<unk>", *SPECIAL],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    return raw


KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "byte-level": byte_level,
    "sentence-piece": sentence_piece,
    "metaspace": metaspace,
}


@cache
def made(kind: str) -> Tokenizer:
    return Tokenizer(KINDS[kind]())


def save(folder: Path, kind: str = "byte-level", **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    KINDS[kind]().save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder
