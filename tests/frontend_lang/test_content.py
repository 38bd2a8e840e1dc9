"""A state's content: the boundary rule, roles, cuts and forks, against encoding the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from espalier.errors import InvalidRequestError, InvariantError, ProgramError
from espalier.frontend_lang.content import Content
from espalier.frontend_lang.journal import Journal, Piece, since, text_of
from espalier.frontend_lang.roles import ChatFormat
from espalier.frontend_lang.tokens import TextEncoder, Tokens
from tests.frontend_lang import machines
from tests.frontend_lang.machines import Templated

WORDS = st.text(st.sampled_from("ab .\né"), max_size=8)


def content_of(tokenizer: object) -> Content:
    return Content(TextEncoder(tokenizer), ChatFormat(tokenizer))  # type: ignore[arg-type]


@given(st.lists(WORDS, max_size=8))
def test_constants_that_meet_are_encoded_as_one(texts: list[str]) -> None:
    content = content_of(machines.byte_level())
    for text in texts:
        content.add_text(text)
    whole = "".join(texts)
    assert content.prompt() == content.encoder.start(whole)
    assert content.text() == whole
    content.check_invariants()


@given(st.lists(st.tuples(st.sampled_from("tgcfs"), WORDS), max_size=12))
def test_any_order_of_growth_keeps_the_text(steps: list[tuple[str, str]]) -> None:
    tokenizer = machines.byte_level()
    content = content_of(tokenizer)
    expected = ""
    for kind, text in steps:
        if kind == "t":
            content.add_text(text)
        elif kind == "g":
            content.prompt()
            content.add_generated(tokenizer.encode(text), text, cut=False)
        elif kind == "c":
            content.prompt()
            content.add_generated(tokenizer.encode(text + "!?"), text, cut=True)
        elif kind == "f":
            before = content.text()
            twin = content.fork()
            twin.add_text("never seen by the parent")
            assert content.text() == before
            text = ""
        else:
            content.add_text("so: ")
            candidates = content.candidates([text, text + "x"])
            content.add_choice(candidates.rows[0], text)
            text = "so: " + text
        expected += text
        content.check_invariants()
    assert content.text() == expected
    ids = content.prompt()
    assert machines.text_of(tokenizer, ids[1:]) == expected
    assert ids[0] == tokenizer.bos_id


@given(st.lists(WORDS, max_size=8))
def test_looking_at_the_tokens_changes_none(texts: list[str]) -> None:
    content = content_of(machines.byte_level())
    for at in range(len(texts)):
        content.add_text(texts[at])
        whole = "".join(texts[: at + 1])
        assert content.ids() == (content.encoder.start(whole) if whole else [])
    assert content.prompt() == content.encoder.start("".join(texts))


@given(WORDS, WORDS)
def test_a_fork_merges_as_one_string_would(before: str, after: str) -> None:
    content = content_of(machines.byte_level())
    content.add_text(before)
    branch = content.fork()
    branch.add_text(after)
    assert branch.prompt() == branch.encoder.start(before + after)


def test_a_fork_shares_the_stable_part() -> None:
    content = content_of(machines.byte_level())
    content.add_text("Here is a long constant whose last word is unfin")
    one, two = content.fork(), content.fork()
    assert one.tokens is two.tokens is content.tokens
    assert one.pending == " unfin"


def test_generated_tokens_stay_as_sampled() -> None:
    tokenizer = machines.byte_level()
    content = content_of(tokenizer)
    content.add_text("x")
    odd = [*tokenizer.encode("T"), *tokenizer.encode("he")]  # not how "The" is encoded
    assert odd != tokenizer.encode("The")
    content.add_generated(odd, "The", cut=False)
    content.add_text(" end")
    assert content.prompt() == [*content.encoder.start("x"), *odd, *tokenizer.encode(" end")]


def test_a_stop_string_inside_a_token_leaves_text() -> None:
    tokenizer = machines.byte_level()
    content = content_of(tokenizer)
    content.add_text("x")
    [the] = tokenizer.encode("The")
    content.add_generated([*tokenizer.encode("n"), the], "nTh", cut=True)  # "e" was the stop
    assert content.pending == "Th"
    content.add_text("is")
    assert content.prompt() == [
        *content.encoder.start("x"),
        *tokenizer.encode("n"),
        *tokenizer.encode("This"),
    ]


def test_candidates_reach_back_to_the_last_word() -> None:
    tokenizer = machines.byte_level()
    content = content_of(tokenizer)
    content.add_text("it is a quick bro")
    found = content.candidates(["wn", "ken"])
    assert machines.text_of(tokenizer, found.prefix[1:]) == "it is a quick"
    assert found.rows[0] == tokenizer.encode(" brown")
    assert found.start == len(found.prefix)


def test_candidates_never_reach_into_generated_tokens() -> None:
    tokenizer = machines.byte_level()
    content = content_of(tokenizer)
    content.add_generated(tokenizer.encode("one two"), "one two", cut=False)
    content.add_text("thr")
    found = content.candidates(["ee"])
    assert machines.text_of(tokenizer, found.prefix) == "one two"
    assert found.rows == [tokenizer.encode("three")]


def test_choices_at_the_very_beginning() -> None:
    found = content_of(machines.byte_level()).candidates(["a", "b"])
    assert found.prefix == []
    assert found.start == 1  # BOS predicts the first token
    with pytest.raises(InvalidRequestError, match="before the choices"):
        content_of(Templated(None, adds_bos=False)).candidates(["a", "b"])
    assert content_of(Templated(None, adds_bos=False)).candidates(["ab", "ac"]).start == 1


def test_an_empty_prompt() -> None:
    assert content_of(machines.byte_level()).prompt() == [machines.byte_level().bos_id]
    silent = Templated(None, adds_bos=False)
    assert silent.bos_id is not None  # which it has, and does not add
    with pytest.raises(InvalidRequestError, match=r"empty prompt.*puts no BOS token before"):
        content_of(silent).prompt()


def test_bos_is_written_once() -> None:
    content = content_of(Templated(machines.VERBATIM))
    content.add_text("Before. ")
    content.begin_role("user")
    content.add_text("hi")
    content.end_role("user")
    ids = content.prompt()
    assert ids.count(256) == 1
    assert ids[0] == 256
    content.check_invariants()


def test_the_end_of_turn_is_written_once_and_by_the_role() -> None:
    content = content_of(Templated(machines.VERBATIM))
    content.begin_role("user")
    content.add_text("hi")
    content.end_role("user")
    content.begin_role("assistant")
    content.add_generated(list(b"hello"), "hello", cut=False)
    assert content.prompt().count(257) == 1
    content.end_role("assistant")
    assert content.prompt().count(257) == 2
    assert content.messages() == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]


def test_roles_do_not_nest_and_close_what_they_open() -> None:
    content = content_of(Templated(machines.VERBATIM))
    with pytest.raises(ProgramError, match="none is open"):
        content.end_role("user")
    content.begin_role("user")
    with pytest.raises(ProgramError, match="inside the role user"):
        content.begin_role("assistant")
    with pytest.raises(ProgramError, match="user is open"):
        content.end_role("assistant")


def test_another_states_pieces_keep_their_tokens() -> None:
    tokenizer = machines.byte_level()
    parent = content_of(tokenizer)
    parent.add_text("start")
    branch = parent.fork()
    mark = branch.journal
    branch.add_text(" T")
    branch.add_generated([*tokenizer.encode("T"), *tokenizer.encode("he")], "The", cut=False)
    parent.add_pieces(since(branch.journal, mark))
    assert parent.prompt() == branch.prompt()
    assert parent.text() == branch.text()
    parent.check_invariants()


def test_journal_marks() -> None:
    first = Journal(None, Piece("text", "a"))
    second = Journal(first, Piece("text", "b"))
    assert text_of(since(second, None)) == "ab"
    assert text_of(since(second, first)) == "b"
    with pytest.raises(InvariantError, match="mark"):
        since(first, second)


def test_broken_content_is_caught() -> None:
    content = content_of(machines.byte_level())
    content.add_text("abc")
    assert content.journal is not None
    content.journal.length = 7
    with pytest.raises(InvariantError, match="C1"):
        content.check_invariants()
    content = content_of(machines.byte_level())
    content.pending = "unwritten"
    with pytest.raises(InvariantError, match="C2"):
        content.check_invariants()
    content = content_of(machines.byte_level())
    content.tokens = Tokens().extend([0, 0])
    with pytest.raises(InvariantError, match="C3"):
        content.check_invariants()
