from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from espalier.runtime.detokenize import Detokenizer
from tests.tiny_tokenizers import KINDS, made

kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@given(ids=st.lists(st.integers(0, 10_000), max_size=30), skip=st.booleans())
@settings(max_examples=100)
def test_pieces_joined_are_the_whole(kind: str, ids: list[int], skip: bool) -> None:
    """Detokenizer's invariant 1 on arbitrary ids, broken characters included; invariant 2: what
    has been given out is never changed by what follows."""
    tokenizer = made(kind)
    ids = [id % (tokenizer.vocab_size + 3) for id in ids]
    for continues in (False, True):
        detokenizer = Detokenizer(tokenizer, skip_special=skip, continues=continues)
        pieces = [detokenizer.feed(id) for id in ids]
        whole = tokenizer.decode(ids, skip_special=skip, continues=continues)
        assert whole.startswith("".join(pieces))
        assert bool(detokenizer.pending) == (whole != "".join(pieces))
        assert "".join(pieces) + detokenizer.flush() == whole


def test_text_after_a_prompt_keeps_its_space() -> None:
    tokenizer = made("sentence-piece")
    the = tokenizer.raw.token_to_id("▁the")
    assert Detokenizer(tokenizer).feed(the) == " the"
    assert Detokenizer(tokenizer, continues=False).feed(the) == "the"
    assert tokenizer.decode([the]) == "the"
    assert tokenizer.decode([the], continues=True) == " the"
