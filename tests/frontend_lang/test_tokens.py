"""The rope against lists, and the boundary rule against whole-text encoding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import InvariantError
from espalier.frontend_lang.backends.byte_tokenizer import ByteTokenizer
from espalier.frontend_lang.tokens import TextEncoder, Tokens, common_prefix, tokens_within
from tests.frontend_lang import machines

TEXTS = st.one_of(
    st.sampled_from(machines.WORDS),
    st.text(st.sampled_from("ab1é 你\n\t.,'s!(\r"), max_size=30),
    st.lists(
        st.sampled_from(
            ["word", " word", " ", "  ", "\n", "\n\n", ".", " .", "it's", "123", "你好"]
        ),
        max_size=12,
    ).map("".join),
)


@given(
    st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(0, 99), max_size=5)), max_size=30)
)
def test_rope_is_a_list_that_forks(steps: list[tuple[int, list[int]]]) -> None:
    ropes: list[tuple[Tokens, list[int]]] = [(Tokens(), [])]
    for which, ids in steps:
        rope, naive = ropes[which % len(ropes)]
        if ids and ids[0] % 3 == 0:
            assert rope.shared() is rope  # fills the cache of some nodes
        ropes.append((rope.extend(ids), naive + ids))
    for rope, naive in ropes:
        assert rope.to_list() == naive
        assert len(rope) == len(naive)
        rope.check_invariants()


def test_to_list_gives_a_list_of_its_own() -> None:
    rope = Tokens().extend([1, 2]).shared()
    rope.to_list().append(3)
    assert rope.to_list() == [1, 2]


def test_broken_rope_is_caught() -> None:
    rope = Tokens().extend([1, 2])
    rope._length = 3
    with pytest.raises(InvariantError, match="R1"):
        rope.check_invariants()
    rope = Tokens().extend([1, 2])
    rope._flat = [1]
    with pytest.raises(InvariantError, match="R2"):
        rope.check_invariants()


@pytest.mark.parametrize("make", [machines.byte_level, machines.sentencepiece, ByteTokenizer])
@settings(max_examples=60)
@given(text=TEXTS, more=TEXTS)
def test_what_is_left_of_a_stable_split_stays(make: Any, text: str, more: str) -> None:
    _check_split(TextEncoder(make()), text, more)


@pytest.mark.data
@pytest.mark.parametrize("name", ["llama3", "qwen2", "deepseek"])
@settings(max_examples=60)
@given(text=TEXTS, more=TEXTS)
def test_splits_are_stable_in_published_tokenizers(name: str, text: str, more: str) -> None:
    _check_split(TextEncoder(machines.real(name)), text, more)


def _check_split(encoder: TextEncoder, text: str, more: str) -> None:
    at = encoder.stable_split(text)
    assert 0 <= at <= len(text)
    assert encoder.run(text[:at]) + encoder.run(text[at:] + more) == encoder.run(text + more)


def test_a_split_leaves_the_last_word() -> None:
    encoder = TextEncoder(machines.byte_level())
    text = "Here is a long constant whose last word is unfin"
    assert text[encoder.stable_split(text) :] == " unfin"
    assert encoder.stable_split("oneword") == 0
    assert encoder.stable_split("") == 0


@given(text=TEXTS)
def test_a_run_has_no_blank_of_its_own(text: str) -> None:
    for tokenizer in (machines.byte_level(), machines.sentencepiece(), ByteTokenizer()):
        encoder = TextEncoder(tokenizer)
        assert machines.text_of(tokenizer, encoder.run(text)) == text


def test_start_has_one_bos() -> None:
    for tokenizer in (machines.byte_level(), machines.sentencepiece(), ByteTokenizer()):
        ids = TextEncoder(tokenizer).start("The fox")
        assert ids[0] == tokenizer.bos_id
        assert tokenizer.bos_id not in ids[1:]


def test_a_template_is_split_at_its_special_tokens() -> None:
    encoder = TextEncoder(ByteTokenizer())
    assert encoder.template("<|bos|><|user|>\nhi<|end|>\n") == [256, 259, "\nhi", 257, "\n"]
    assert encoder.template("no special") == ["no special"]
    assert encoder.template("<|bos|><|user|>\nhi<|end|>\n")[2] == "\nhi"


def test_content_cannot_make_special_tokens() -> None:
    encoder = TextEncoder(ByteTokenizer())
    assert not set(encoder.run("<|end|><|system|>")) & encoder.tokenizer.special_ids


@given(text=st.text(max_size=20), keep=st.integers(0, 20))
def test_tokens_before_a_cut_are_kept(text: str, keep: int) -> None:
    tokenizer = machines.byte_level()
    ids = tokenizer.encode(text)
    cut = text[: min(keep, len(text))]
    kept, rest = tokens_within(tokenizer, ids, cut)
    assert ids[: len(kept)] == kept
    assert machines.text_of(tokenizer, kept) + rest == cut
    if len(kept) < len(ids) and "\ufffd" not in text:  # the next token did not fit
        assert not cut.encode().startswith(
            b"".join(map(tokenizer.token_bytes, ids[: len(kept) + 1]))
        ) or not _whole(b"".join(map(tokenizer.token_bytes, ids[: len(kept) + 1])))


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_cut_inside_a_token_and_inside_a_character() -> None:
    tokenizer = ByteTokenizer()
    assert tokens_within(tokenizer, list("né".encode()), "n") == ([110], "")
    assert tokens_within(tokenizer, list("né!".encode())[:2], "né") == ([110], "é")


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 9]]) == 2
    assert common_prefix([[1], [2]]) == 0
