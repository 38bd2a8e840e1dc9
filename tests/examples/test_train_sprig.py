"""Sprig's data, tokenizer and training loop; its weights are tested in test_train_sprig_model."""

from __future__ import annotations

import json
import random
import re
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from examples.train_sprig import cases, skills, skills_chat, tokenizer as sprig_tokenizer, words
from examples.train_sprig.average import average
from examples.train_sprig.generate import chat, chats, render
from examples.train_sprig.handwritten import handwritten
from examples.train_sprig.heldout import HELDOUT
from examples.train_sprig.skills import Exchange
from examples.train_sprig.world import TRAIN

# The documented way to ask is the interface, so both sides use it.
CANONICAL = {
    "Extract {fields} as JSON: {text}",
    "Tools: {tools}\n{question}",
    "Is this review {options}? {text}",
    "Judge the {dimension}: {options}?",
    "What is {a} {op} {b}?",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return sprig_tokenizer.train(count=1500)


def templates_of(world: Any) -> dict[str, set[str]]:
    """Every template and listed word of a world, by field."""
    found: dict[str, set[str]] = {}
    for field in fields(world):
        value = getattr(world, field.name)
        if field.name == "facts":
            for kind, fact in value.items():
                found[f"facts.{kind}"] = {*fact.statements, *fact.questions}
        elif isinstance(value, dict):
            for kind, inner in value.items():
                found[f"{field.name}.{kind}"] = {item.lower() for item in inner}
        elif not isinstance(value, bool | float):
            found[field.name] = set(value)
    return found


def test_heldout_templates_and_vocabularies_are_disjoint_from_training() -> None:
    train, heldout = templates_of(TRAIN), templates_of(HELDOUT)
    assert train.keys() == heldout.keys()
    for name in train:
        assert train[name] & heldout[name] <= CANONICAL, name
        assert len(heldout[name]) >= 1


def test_made_words_belong_to_one_side() -> None:
    rng = random.Random(0)
    train = {words.make_word(rng, heldout=False) for _ in range(3000)}
    heldout = {words.make_word(rng, heldout=True) for _ in range(1000)}
    assert not train & heldout
    assert not any(words.is_heldout_word(word) for word in train)
    listed = {word for name in HELDOUT.vocabulary for word in HELDOUT.vocabulary[name]}
    assert not listed & {*words.ENGLISH[False], *(word.title() for word in words.ENGLISH[False])}


def test_handwritten_cases_are_forty_and_no_training_text() -> None:
    found = handwritten()
    assert len(found) == 40
    asked = {case.turns[-1].content for case in found if case.skill != "judging"}
    for turns in islice(chats(1), 2000):
        assert not asked & {turn.content for turn in turns}


def test_same_seed_gives_same_chats() -> None:
    first = [render(turns) for turns in islice(chats(7), 50)]
    assert first == [render(turns) for turns in islice(chats(7), 50)]
    assert first != [render(turns) for turns in islice(chats(8), 50)]


def test_worked_forms_are_right_for_all_numbers() -> None:
    for a in range(100):
        for b in range(100):
            plus, minus = skills_chat.worked_sum(a, b), skills_chat.worked_difference(a, b)
            assert plus.endswith(f", so {a + b}")
            assert minus.endswith(f", so {a - b}")
            for left, right in re.findall(r"([\d+-]+)=(\d+)", f"{plus} {minus}"):
                assert eval(left) == int(right), (a, b, left)


@pytest.mark.parametrize("world", [TRAIN, HELDOUT], ids=["train", "heldout"])
def test_extracted_strings_stand_in_the_text(world: Any) -> None:
    rng = random.Random(3)
    for _ in range(600):
        exchange = skills.extract(rng, world)[0]
        record = json.loads(exchange.assistant)
        assert exchange.assistant == skills.dumps(record)
        for name, value in record.items():
            assert re.search(rf"\b{name}\b", exchange.user)
            if isinstance(value, str):
                assert value in exchange.user


def test_judged_texts_keep_their_length() -> None:
    rng = random.Random(4)
    for _ in range(300):
        judged = skills_chat.judged_text(rng, TRAIN)
        count = len(judged.text.split())
        assert (judged.verdicts["length"] == "short") == (count <= 24)


@pytest.mark.parametrize(
    ("exchange", "answer", "right"),
    [
        (Exchange("extract", "", '{"a": 8}', "json"), '{"a":8.0}', True),
        (Exchange("extract", "", '{"a": 8}', "json"), '{"a": 8', False),
        (Exchange("sums", "", "1+1=2, so 12", "number"), "so 12", True),
        (Exchange("sums", "", "so 12", "number"), "12, so 2", False),
        (Exchange("sums", "", "so -12", "number"), "so 12", False),
        (Exchange("recall", "", "", "contains", "Ana"), "Your name is Ana.", True),
        (Exchange("sentiment", "", "positive", "word"), "Positive.", True),
        (Exchange("sentiment", "", "positive", "word"), "positively", False),
    ],
)
def test_scoring(exchange: Exchange, answer: str, right: bool) -> None:
    assert cases.is_right(exchange, answer) is right


@pytest.mark.parametrize(
    "text", ["plain", "Käthe 漢字 👩‍👩‍👧 \u0000\t\n  x", "a\r\nb", " 007 ", ""]
)
def test_any_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_every_digit_is_its_own_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == sprig_tokenizer.VOCABULARY_SIZE
    assert not [t for t in tokenizer.get_vocab() if len(t) > 1 and re.search(r"\d", t)]


def render_jinja(messages: list[dict[str, str]], header: bool = False) -> str:
    """The rendering of the chat template by plain jinja."""
    template = jinja2.Environment().from_string(sprig_tokenizer.CHAT_TEMPLATE)
    return template.render(messages=messages, add_generation_prompt=header)


def test_template_renders_prefixes_and_encodes_piecewise(tokenizer: Tokenizer) -> None:
    rng = random.Random(5)
    for _ in range(60):
        turns = chat(rng)
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        messages[0]["content"] = rng.choice([" \n x \n\n", "\n", "", messages[0]["content"]])
        whole = render_jinja(messages)
        pieces: list[int] = [tokenizer.token_to_id("<|bos|>")]
        for k, message in enumerate(messages):
            before = render_jinja(messages[:k])
            assert render_jinja(messages[: k + 1]).startswith(before)
            if message["role"] == "assistant":
                assert whole.startswith(render_jinja(messages[:k], header=True))
            for part in (f"<|{message['role']}|>", message["content"], "<|end|>"):
                pieces += tokenizer.encode(part, add_special_tokens=False).ids
        assert pieces == tokenizer.encode(whole, add_special_tokens=True).ids


def test_packer_is_deterministic_and_weighs_answers(tokenizer: Tokenizer) -> None:
    from examples.train_sprig.data import TOKENS_PER_STEP, Packer

    batch, again = Packer(tokenizer, 1).batch(5), Packer(tokenizer, 1).batch(5)
    for row, other in zip(batch.ids.tolist(), again.ids.tolist(), strict=True):
        texts = [tokenizer.decode(ids, skip_special_tokens=False) for ids in (row, other)]
        shared = min(map(len, texts)) - 8  # dropout may cut the rows at different characters
        assert texts[0][:shared] == texts[1][:shared]
    assert batch.weights.numel() == TOKENS_PER_STEP
    assert batch.ids.shape[1] == batch.weights.shape[1] + 1
    user = tokenizer.token_to_id("<|user|>")
    assert (batch.weights[batch.ids[:, 1:] == user] == 0).all()


@pytest.mark.slow
def test_respelled_values_stand_in_the_text(tokenizer: Tokenizer) -> None:
    """Words of values become others, in the question as in the answer; keys stay."""
    from examples.train_sprig.data import Packer

    packer, rng = Packer(tokenizer, seed=1), random.Random(2)
    changed = 0
    for turns in islice(chats(3), 300):
        respelled = packer.respelled(rng, turns)
        assert [turn.role for turn in respelled] == [turn.role for turn in turns]
        changed += respelled != turns
        for at, (old, new) in enumerate(zip(turns, respelled, strict=True)):
            if old.exchange is None or old.exchange.skill != "extract":
                continue
            before, after = json.loads(old.content), json.loads(new.content)
            assert list(before) == list(after)
            for key, value in after.items():
                assert value == before[key] or value in respelled[at - 1].content
    assert changed > 50


def test_training_resumes_where_it_stopped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    import argparse

    from examples.train_sprig.data import TOKENS_PER_STEP
    from examples.train_sprig.train import Run

    sprig_tokenizer.save(tokenizer, tmp_path)
    options = argparse.Namespace(
        out=str(tmp_path),
        tokens=2 * TOKENS_PER_STEP,
        minutes=None,
        device="cpu",
        optimizer="adamw",
        rate=1e-3,
        resume=None,
        anew=False,
        save_minutes=10.0,
        seed=1,
        compile=False,
        init=None,
    )
    Run(options).train()
    options.resume, options.tokens = str(tmp_path / "checkpoint.pt"), 3 * TOKENS_PER_STEP
    run = Run(options)
    assert run.progress.step == 2
    run.train()
    assert run.progress.step == 3
    options.anew = True
    assert Run(options).done() == 0.0
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    options.init, options.resume, options.out = str(tmp_path / "model"), None, str(tmp_path / "on")
    on = Run(options)
    assert on.progress.step == 0
    for name, tensor in on.model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name].bfloat16().float()), name


def test_average_of_weights(tmp_path: Path) -> None:
    for number, size in enumerate((2, 2, 3)):
        folder = tmp_path / str(number)
        folder.mkdir()
        weight = torch.arange(size, dtype=torch.bfloat16) + 4 * number
        save_file({"w": weight}, folder / "model.safetensors")
    first, second, wide = (tmp_path / str(number) for number in range(3))
    mean = average([first, second], [3.0, 1.0])
    assert mean["w"].dtype == torch.bfloat16
    assert mean["w"].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="not of the shape"):
        average([first, wide], [1.0, 1.0])
    for shares in ([1.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="2 positive weights"):
            average([first, second], shares)
