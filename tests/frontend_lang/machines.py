"""Tokenizers and templates that the frontend's tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from espalier.frontend_lang.backends.byte_tokenizer import ByteTokenizer
from espalier.runtime.chat_template import ChatTemplate
from espalier.runtime.tokenizer import Tokenizer
from tests.support import data_path

WORDS = [
    "The quick brown fox jumps over the lazy dog, and it's 12:45 already.",
    "def f(x):\n    return x + 1  # plus one\n\n\nprint(f(41))",
    "Straße, naïve café, 你好世界, здравствуй мир, 🙂🙂",
    "a  b   c\t\td\n \n e .... !!!\n\n",
]


@cache
def real(name: str) -> Tokenizer:
    """A published tokenizer from the data folder."""
    return Tokenizer.from_folder(data_path(f"tokenizers/{name}"))


@cache
def byte_level() -> Tokenizer:
    """A small byte-level BPE with merges across many words, BOS and chat tokens."""
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(WORDS * 4, trainer)
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    return Tokenizer(raw, config=config)


@cache
def sentencepiece() -> Tokenizer:
    """Llama-2's kind: a blank before every text, spaces as U+2581, bytes as a last resort."""
    letters = sorted({char for text in WORDS for char in text.replace(" ", "\u2581")})
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    pieces += [f"\u2581{c}" for c in "abcdefgTx"] + ["he", "\u2581The", "\u2581\u2581", "The"]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("\u2581", c) for c in "abcdefgTx"]
    merges += [("h", "e"), ("\u2581T", "he"), ("\u2581", "\u2581"), ("T", "he")]
    raw = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    raw.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    raw.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in pieces[:3]])
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    return Tokenizer(raw, config=config)


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The bytes of the tokens, as text."""
    return b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", errors="replace")


class Templated(ByteTokenizer):
    """The byte tokenizer with a Jinja chat template."""

    def __init__(self, template: str | None, *, adds_bos: bool = True) -> None:
        self.adds_bos = adds_bos
        self.chat_template = None
        if template is not None:
            self.chat_template = ChatTemplate(template, {"bos_token": "<|bos|>"})

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> str:
        assert isinstance(self.chat_template, ChatTemplate)
        return self.chat_template.render(messages, add_generation_prompt=add_generation_prompt)


_TURN = "{{ '<|' + m['role'] + '|>' + %s + '<|end|>' }}"
_END = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
VERBATIM = "{{ bos_token }}{% for m in messages %}" + _TURN % "m['content']" + "{% endfor %}" + _END
TRIMS = (
    "{{ bos_token }}{% for m in messages %}" + _TURN % "m['content'] | trim" + "{% endfor %}" + _END
)
NEWLINES = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
DROPS_THOUGHTS = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and not loop.last and '</think>' in m['content'] %}"
    "{{ m['content'].split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ m['content'] }}{% endif %}<|end|>{% endfor %}" + _END
)
THINKS = (
    "{{ bos_token }}{% for m in messages %}" + _TURN % "m['content']" + "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
MERGES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token if loop.first }}<|user|>"
    "{% if loop.first and sys %}<<SYS>>{{ sys }}<</SYS>>{% endif %}{{ m['content'] | trim }}"
    "{% else %}<|assistant|>{{ m['content'] | trim }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
REFUSES_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}" + _END
)
SPLITS_THOUGHTS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% set c = m['content'] %}"
    "{% if m['role'] == 'assistant' %}"
    "{% if '</think>' in c %}{% set t = c.split('</think>')[0].split('<think>')[-1] %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% else %}{% set t = '' %}{% endif %}"
    "{% if loop.last %}<think>\n{{ t.strip('\n') }}\n</think>\n\n{% endif %}{% endif %}"
    "{{ c }}<|end|>{% endfor %}" + _END
)
