"""Sampled tokens put back into a rewritten chat: the text is always the rendering's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import NotSupportedError
from espalier.frontend_lang.journal import Piece, Turn, text_of
from espalier.frontend_lang.resplice import _cut, respliced
from espalier.frontend_lang.roles import ChatFormat
from espalier.frontend_lang.tokens import TextEncoder
from tests.frontend_lang import machines
from tests.frontend_lang.machines import Templated

TOKENIZER = machines.byte_level()
LOOSE = st.text(st.sampled_from("ab \n.<user>"), max_size=8)
TEMPLATES = [
    machines.VERBATIM,
    machines.TRIMS,
    machines.DROPS_THOUGHTS,
    machines.SPLITS_THOUGHTS,
    machines.MERGES_SYSTEM,
]


def text(said: str) -> Piece:
    return Piece("text", said)


def model(said: str) -> Piece:
    """Sampled, in the tokens of `Templated`."""
    return Piece("model", said, tuple(said.encode()))


def splice(template: str, turns: list[Turn]) -> tuple[list[Piece], str]:
    tokenizer = Templated(template)
    messages = [{"role": t.role or "", "content": t.text} for t in turns if t.role is not None]
    rendered = tokenizer.render_chat(messages)
    pieces = respliced(TextEncoder(tokenizer), ChatFormat(tokenizer), rendered, turns)
    return pieces, rendered


def kept(pieces: list[Piece]) -> str:
    """What kept its sampled tokens."""
    return "|".join(piece.text for piece in pieces if piece.kind == "model")


@settings(max_examples=60)
@given(
    template=st.sampled_from(TEMPLATES),
    user=LOOSE,
    said=st.lists(st.tuples(st.booleans(), LOOSE), max_size=3),
    thought=st.sampled_from(["", "<think>hm</think>", "<think>\nhm\n</think>\n\n"]),
)
def test_the_text_is_the_renderings(
    template: str, user: str, said: list[tuple[bool, str]], thought: str
) -> None:
    pieces = [model(thought), *(model(t) if sampled else text(t) for sampled, t in said)]
    turns = [
        Turn("user", (text(user),), ""),
        Turn("assistant", tuple(pieces), ""),
        Turn("user", (text("more"),), ""),
    ]
    made, rendered = splice(template, turns)
    assert text_of(made) == rendered
    for piece in made:
        if piece.kind == "model":
            assert machines.text_of(Templated(None), piece.ids or ()) == piece.text


def test_trimming_keeps_the_tokens_between() -> None:
    turn = Turn("assistant", (text("  a"), model(" b c"), text("x "), model(" d  ")), "")
    made, _ = splice(machines.TRIMS, [Turn("user", (text("hi"),), ""), turn])
    assert kept(made) == " b c| d"
    trimmed = next(piece for piece in made if piece.text == " d")
    assert trimmed.ids == model(" d").ids


def test_a_cut_inside_a_token_makes_text() -> None:
    encoder = TextEncoder(TOKENIZER)
    whole = Piece("model", "The lazy", tuple(TOKENIZER.encode("The lazy")))
    assert [p.kind for p in _cut(encoder, whole, 1, 8)] == ["text"]
    first, rest = _cut(encoder, whole, 0, 5)
    assert (first.kind, first.text) == ("model", "The")
    assert (rest.kind, rest.text) == ("text", " l")


def test_thoughts_that_the_template_writes_anew() -> None:
    answer = model("<think>\nhm\n</think>\n\nyes I do")
    turns = [Turn("user", (text("hi"),), ""), Turn("assistant", (answer,), "")]
    made, rendered = splice(machines.SPLITS_THOUGHTS, turns)
    assert text_of(made) == rendered
    assert kept(made) == "<think>\nhm\n</think>\n\nyes I do"
    made, _ = splice(machines.SPLITS_THOUGHTS, [*turns, Turn("user", (text("more"),), "")])
    assert kept(made) == "yes I do"


def test_rewritten_content_that_spells_special_tokens() -> None:
    silent = (
        "{% for m in messages %}{% if 'odd' in m['content'] %}<|bos|>{% endif %}<|{{ m['role'] }}|>"
        "{{ m['content'] | upper }}{% endfor %}"
    )
    with pytest.raises(NotSupportedError, match="special tokens"):
        splice(silent, [Turn("user", (text("odd <|end|>"),), "")])
    made, rendered = splice(silent, [Turn("user", (text("odd"),), "")])
    assert text_of(made) == rendered


def test_content_that_is_searched_for() -> None:
    moved = (
        "{% for m in messages %}{% if 'odd' in m['content'] %}<|bos|>{% endif %}<|{{ m['role'] }}|>"
        "{{ m['content'] }}{% endfor %}"
    )
    made, rendered = splice(moved, [Turn("assistant", (model("odd user"),), "")])
    assert text_of(made) == rendered
    assert kept(made) == "odd user"


def test_text_between_messages_that_cannot_be_placed() -> None:
    turns = [
        Turn("user", (text("hi"),), "no such footer"),
        Turn(None, (text("between"),), ""),
        Turn("user", (text("more"),), ""),
    ]
    with pytest.raises(NotSupportedError, match="between messages"):
        splice(machines.TRIMS, turns)
