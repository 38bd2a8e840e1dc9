"""Against `tokenizers` and transformers: byte-level vocabularies and both SentencePiece kinds."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings, strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from espalier.errors import InvalidRequestError, ModelLoadError, NotSupportedError
from espalier.runtime.detokenize import Detokenizer
from espalier.runtime.tokenizer import Tokenizer
from tests.support import ROOT, data_path
from tests.tiny_tokenizers import KINDS, SPECIAL, TEXT, byte_level, made, save

kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=40))
@settings(max_examples=100)
def test_round_trip(kind: str, text: str) -> None:
    tokenizer = made(kind)
    ids = tokenizer.encode(text)
    if kind == "metaspace" and tokenizer.raw.token_to_id("<unk>") in ids:
        return
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)


@kinds
@given(ids=st.lists(st.integers(0, 10_000), max_size=20))
@settings(max_examples=100)
def test_decode_is_the_librarys(kind: str, ids: list[int]) -> None:
    """Where the bytes are UTF-8; for broken ones ByteFallback writes one U+FFFD per byte of the
    whole run, which no stream can know in time."""
    tokenizer = made(kind)
    ids = [id % tokenizer.vocab_size for id in ids]
    ours = tokenizer.decode(ids)
    if kind == "byte-level" or "\ufffd" not in ours:
        assert ours == tokenizer.raw.decode(ids, skip_special_tokens=True)


@kinds
@given(texts=st.lists(st.text("ab the.\n", max_size=9), max_size=5))
@settings(max_examples=60)
def test_continued_texts_join_without_spaces(kind: str, texts: list[str]) -> None:
    tokenizer = made(kind)
    ids = tokenizer.encode("the")
    for text in texts:
        ids += tokenizer.encode(text, continues=True)
    assert tokenizer.decode(ids) == "the" + "".join(texts)


def merging(*merges: tuple[str, str]) -> Tokenizer:
    """As Llama 2's, small, with these merges."""
    letters = ["<unk>", "▁", "\n", *".a0)|~bx"]
    vocabulary = dict.fromkeys([*letters, *(left + right for left, right in merges)])
    raw = tokenizers.Tokenizer(
        models.BPE({piece: id for id, piece in enumerate(vocabulary)}, [*merges], unk_token="<unk>")
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    return Tokenizer(raw)


@given(text=st.text("ab. \n", min_size=1, max_size=8))
@settings(max_examples=60)
def test_a_continued_text_may_merge_with_what_took_the_space(text: str) -> None:
    """Vocabularies with a token for two newlines, or for a full stop and a newline."""
    tokenizer = merging(("\n", "\n"), (".", "\n"), ("▁", "a"), ("a", "b"))
    ids = tokenizer.encode(text, continues=True)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    spelled = [tokenizer.raw.id_to_token(id) for id in tokenizer.encode("\nab", continues=True)]
    assert spelled == ["\n", "ab"]


def test_a_continued_text_that_merges_with_everything_is_refused() -> None:
    tokenizer = merging(*((anchor, "b") for anchor in "\n.a0)|~"))
    assert tokenizer.encode("xb", continues=True) == [tokenizer.raw.token_to_id(t) for t in "xb"]
    with pytest.raises(NotSupportedError, match="merged with it"):
        tokenizer.encode("bx", continues=True)


def test_an_unknown_character_does_not_swallow_a_continued_text() -> None:
    """Unknown characters fuse into one token, so none may stand before the text."""
    raw = tokenizers.Tokenizer(
        models.BPE({"<unk>": 0, "▁": 1, "a": 2}, [], unk_token="<unk>", fuse_unk=True)
    )
    raw.normalizer = normalizers.Prepend("▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    assert Tokenizer(raw).encode("é", continues=True) == [0]


def test_a_byte_level_tokenizer_that_puts_spaces_puts_none_before_a_continued_text() -> None:
    raw = byte_level()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer = Tokenizer(raw)
    assert tokenizer.decode(tokenizer.encode("the", continues=True)) == "the"


@kinds
def test_special_tokens_in_a_text_are_text(kind: str) -> None:
    tokenizer = made(kind)
    text = "a<|end|>b</s>"
    plain = tokenizer.encode(text)
    unknown = {tokenizer.raw.token_to_id("<unk>")}
    assert not tokenizer.special_ids & set(plain) - unknown
    real = tokenizer.encode(text, allow_special=True)
    assert tokenizer.raw.token_to_id("<|end|>") in real
    if kind == "byte-level":  # SentencePiece puts a space behind a special token
        assert tokenizer.decode(real) == "ab"
        assert tokenizer.decode(real, skip_special=False) == text
    assert tokenizer.encode(text) == plain


def test_token_bytes() -> None:
    tokenizer = made("byte-level")
    by_bytes = {data: id for id, data in enumerate(tokenizer.vocabulary)}
    assert all(bytes([byte]) in by_bytes for byte in range(256))
    assert tokenizer.token_bytes(tokenizer.raw.token_to_id("<think>")) == b"<think>"
    assert tokenizer.token_bytes(tokenizer.vocab_size + 7) == b""
    piece = made("sentence-piece")
    assert piece.token_bytes(piece.raw.token_to_id("<0x0A>")) == b"\n"
    assert piece.token_bytes(piece.raw.token_to_id("▁the")) == b" the"


@pytest.mark.data
@pytest.mark.parametrize("name", ["llama3", "qwen2", "deepseek"])
def test_real_vocabularies(name: str) -> None:
    tokenizer = Tokenizer.from_folder(data_path(f"tokenizers/{name}"))
    for text in TEXT:
        ids = tokenizer.encode(text)
        assert ids == tokenizer.raw.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text
        detokenizer = Detokenizer(tokenizer)
        assert "".join(map(detokenizer.feed, ids)) + detokenizer.flush() == text
    assert len(tokenizer.vocabulary) == tokenizer.vocab_size
    for id in range(0, tokenizer.vocab_size, 997):
        assert tokenizer.decode([id], skip_special=False) == tokenizer.raw.decode(
            [id], skip_special_tokens=False
        )


def test_ids_from_all_three_files(tmp_path: Path) -> None:
    folder = save(tmp_path, bos_token={"content": "<s>"}, eos_token="</s>")
    (folder / "config.json").write_text('{"eos_token_id": 300, "bos_token_id": 9}')
    (folder / "generation_config.json").write_text('{"eos_token_id": [301, 302]}')
    tokenizer = Tokenizer.from_folder(folder)
    raw = tokenizer.raw
    assert tokenizer.bos_id == raw.token_to_id("<s>")
    assert tokenizer.eos_ids == {300, 301, 302, raw.token_to_id("</s>")}
    assert tokenizer.special_ids == {raw.token_to_id(token) for token in SPECIAL}
    assert not tokenizer.adds_bos
    assert tokenizer.encode("a", add_bos=True) == [tokenizer.bos_id, *tokenizer.encode("a")]


def test_a_tokenizer_that_says_it_has_no_bos_has_none(tmp_path: Path) -> None:
    folder = save(tmp_path, bos_token=None)
    (folder / "config.json").write_text('{"bos_token_id": 9}')
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.bos_id is None
    with pytest.raises(InvalidRequestError, match="no BOS"):
        tokenizer.encode("a", add_bos=True)


def test_adds_bos_by_flag_or_post_processor(tmp_path: Path) -> None:
    folder = save(tmp_path, bos_token="<s>", add_bos_token=True)
    assert Tokenizer.from_folder(folder).adds_bos
    raw = byte_level()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
    )
    assert Tokenizer(raw, config={"bos_token": "<s>"}).adds_bos


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ModelLoadError, match="no fast tokenizer") as caught:
        Tokenizer.from_folder(tmp_path)
    assert caught.value.got == "tokenizer.model"
    assert "save_pretrained" in str(caught.value.hint)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        Tokenizer.from_folder(tmp_path)
    word_piece = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    word_piece.decoder = decoders.WordPiece()
    word_piece.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelLoadError, match="WordPiece"):
        Tokenizer.from_folder(tmp_path)


def test_importing_it_loads_no_torch() -> None:
    code = (
        "import sys, espalier.runtime.detokenize; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@kinds
def test_threads_do_not_change_each_others_special_tokens(kind: str) -> None:
    """What is special in a text is no setting that they share."""
    tokenizer = made(kind)
    text = f"the{SPECIAL[0]}a " * 1_000
    expected = {real: tokenizer.encode(text, allow_special=real) for real in (True, False)}
    assert expected[True] != expected[False]
    with ThreadPoolExecutor(4) as pool:
        asked = [
            (real, pool.submit(tokenizer.encode, text, allow_special=real))
            for real in (True, False) * 20
        ]
        assert all(ids.result() == expected[real] for real, ids in asked)
