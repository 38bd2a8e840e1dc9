"""Vocabularies: what a tokenizer's tokens are as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from espalier.errors import InvalidRequestError, InvariantError, NotSupportedError
from espalier.grammar import Vocabulary
from espalier.grammar.vocabulary import pack_bits
from tests.support import data_path

TEXT = 'Hello, wörld! {"a": [1, 2.5]}\n\t  你好 😀 naïve\x00 end'


@pytest.mark.parametrize(
    ("name", "eos"), [("llama3", [128001, 128009]), ("qwen2", [151645]), ("deepseek", [1])]
)
def test_real_tokenizers_spell_their_texts(name: str, eos: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(data_path(f"tokenizers/{name}/tokenizer.json")))
    vocabulary = Vocabulary.from_tokenizer(tokenizer, eos)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    assert b"".join(vocabulary.tokens[token] for token in ids).decode() == TEXT
    assert vocabulary.eos_ids == tuple(eos)
    assert vocabulary.special_ids.issuperset(eos)
    assert {vocabulary.tokens.index(bytes([byte])) for byte in range(256)}
    vocabulary.check_invariants()


def _sentencepiece() -> Tokenizer:
    """A small vocabulary as Llama 2's converter writes it."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "b", "▁a", "ab", "é"]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)},
            [("▁", "a"), ("a", "b")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    return tokenizer


def test_sentencepiece_pieces() -> None:
    vocabulary = Vocabulary.from_tokenizer(_sentencepiece(), [2])
    tokens = vocabulary.tokens
    assert tokens[3 + 0x41] == b"A"
    assert tokens[3 + 0xFF] == b"\xff"
    assert [tokens[259 + i] for i in range(6)] == [b" ", b"a", b"b", b" a", b"ab", "é".encode()]
    assert tokens[265] == b"<tool>"
    assert vocabulary.special_ids == {0, 1, 2}


def test_metaspace_decoder() -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -1.0)], unk_id=0))
    tokenizer.decoder = decoders.Metaspace()
    assert Vocabulary.from_tokenizer(tokenizer, [0]).tokens == [b"<unk>", b" a", b"b"]


def test_byte_level_tokens_outside_the_alphabet_are_text() -> None:
    tokenizer = Tokenizer(models.BPE({"Ġa": 0, "Ã©": 1, "a b": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    vocabulary = Vocabulary.from_tokenizer(tokenizer, [3])
    assert vocabulary.tokens == [b" a", "é".encode(), b"a b", b"<|end|>"]


def test_a_tokenizer_without_decoder_is_plain_text() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "é": 1}, unk_token="?"))
    assert Vocabulary.from_tokenizer(tokenizer, []).tokens == [b"a", "é".encode()]


def test_a_wordpiece_tokenizer_is_refused_by_name() -> None:
    tokenizer = Tokenizer(models.WordPiece({"a": 0}, unk_token="a"))
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(NotSupportedError, match="WordPiece"):
        Vocabulary.from_tokenizer(tokenizer, [])


def test_transformers_tokenizers_bring_their_roles() -> None:
    class Fast:
        backend_tokenizer = _sentencepiece()
        eos_token_id = 2
        all_special_ids = (1, 2)

    assert Vocabulary.from_tokenizer(Fast()).eos_ids == (2,)
    Fast.eos_token_id = [2, 1]  # type: ignore[assignment]
    assert Vocabulary.from_tokenizer(Fast()).eos_ids == (1, 2)


def test_what_cannot_be() -> None:
    with pytest.raises(InvalidRequestError, match="names no EOS"):
        Vocabulary.from_tokenizer(_sentencepiece())
    with pytest.raises(InvalidRequestError, match="a fast tokenizer"):
        Vocabulary.from_tokenizer(object(), [0])
    with pytest.raises(InvalidRequestError, match=r"token id in 0\.\.1"):
        Vocabulary([b"a", b"b"], [], [2])
    with pytest.raises(InvalidRequestError, match="size of at least 2"):
        Vocabulary([b"a", b"b"], size=1)


def test_logits_wider_than_the_tokenizer() -> None:
    vocabulary = Vocabulary([b"a", b"b", b""], [2], [2], size=70)
    assert (vocabulary.size, vocabulary.words, len(vocabulary.tokens)) == (70, 3, 70)
    assert vocabulary.allowed_in_free_text().tolist() == [0b111, 0, 0]


def test_content_hash_tells_vocabularies_apart() -> None:
    same = [Vocabulary([b"a", b"bc"], [], []).content_hash for _ in range(2)]
    others = [
        Vocabulary([b"ab", b"c"]).content_hash,
        Vocabulary([b"a", b"bc"], [1]).content_hash,
        Vocabulary([b"a", b"bc"], [1], [1]).content_hash,
        Vocabulary([b"a", b"bc"], size=3).content_hash,
    ]
    assert same[0] == same[1]
    assert len({*same, *others}) == 5


def test_pack_bits_layout() -> None:
    allowed = np.zeros(40, dtype=bool)
    allowed[[0, 31, 33]] = True
    assert pack_bits(allowed, 2).tolist() == [1 | 1 << 31, 2]
    assert pack_bits(allowed, 2).dtype == np.uint32


def test_invariants_are_checked() -> None:
    def fresh() -> Vocabulary:
        return Vocabulary([b"", b"a"], [0], [0], size=4)

    vocabulary = fresh()
    vocabulary.special_ids = frozenset({0, 9})
    with pytest.raises(InvariantError, match=r"^V1"):
        vocabulary.check_invariants()
    vocabulary = fresh()
    vocabulary.special_ids = frozenset()
    with pytest.raises(InvariantError, match=r"^V2"):
        vocabulary.check_invariants()
    vocabulary = fresh()
    vocabulary.tokens[3] = b"x"
    with pytest.raises(InvariantError, match=r"^V3"):
        vocabulary.check_invariants()
