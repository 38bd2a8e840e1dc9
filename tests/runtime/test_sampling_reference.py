"""Every sampling argument at once, against decoding by the definition: transformers' logits, one
token and one whole forward at a time, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import regex
import torch
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from espalier.grammar import GrammarSpec
from espalier.kernels.sampling import exponential_noise, noise_keys
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from tests.tiny_tokenizers import made

Tiny = Any
VOCAB = 406
PATTERNS = [None, "[ab]{3,8}c?", "(?:he|she) [a-z]{2,6}", "[0-9]{2}(?:,[0-9]{2}){0,5}"]
CLOSE = 1e-3  # of scores: closer ones are rounding's to decide


@pytest.fixture(scope="module")
def tiny(tiny_model: Callable[..., Tiny]) -> Tiny:
    return tiny_model("llama3", text=True)


@pytest.fixture(scope="module")
def engine(tiny: Tiny) -> Iterator[Engine]:
    with Engine(str(tiny.folder), inline=True, device="cpu") as made_one:
        yield made_one


TEXTS = [made("byte-level").token_bytes(id) for id in range(VOCAB)]
END = [1, 2]  # the tokenizer's </s>, and what the tiny models' config.json names


class Naive:
    """One request, decoded by the definition. `close`: whether rounding might have decided."""

    def __init__(self, reference: Any, prompt: list[int], params: dict[str, Any]) -> None:
        self._model = reference
        self._prompt = prompt
        self._params = params
        self.generated: list[int] = []
        self.close = False

    def run(self, pattern: str | None) -> list[int]:
        """The tokens, without the one that ended it."""
        params = self._params
        ends = {*params["stop_token_ids"], *(() if params["ignore_eos"] else END)}
        while len(self.generated) < params["max_tokens"]:
            token = self._next(pattern, ends)
            if token in ends or (pattern is not None and token in END):
                break
            self.generated.append(token)
            if pattern is not None and not self._allowed(pattern).any():
                break
        return self.generated

    def _allowed(self, pattern: str) -> np.ndarray:
        """Which tokens keep the text a beginning of what the pattern matches."""
        text = b"".join(TEXTS[token] for token in self.generated).decode()
        allowed = np.zeros(VOCAB, dtype=bool)
        for token, piece in enumerate(TEXTS):
            if piece and piece.isascii() and token not in END:
                whole = text + piece.decode()
                allowed[token] = regex.fullmatch(pattern, whole, partial=True) is not None
        if regex.fullmatch(pattern, text):
            allowed[list(END)] = True
        if not allowed[[t for t in range(VOCAB) if t not in END]].any():
            allowed[:] = False  # nothing but the end is left: the engine ends by itself
        return allowed

    def _next(self, pattern: str | None, ends: set[int]) -> int:
        params = self._params
        ids = [*self._prompt, *self.generated]
        with torch.inference_mode():
            logits = self._model(torch.tensor([ids])).logits[0, -1].double().numpy().copy()
        for token, bias in params["logit_bias"].items():
            logits[token] += bias
        for token in set(ids):
            factor = params["repetition_penalty"]
            logits[token] = logits[token] / factor if logits[token] > 0 else logits[token] * factor
        for token in set(self.generated):
            logits[token] -= params["frequency_penalty"] * self.generated.count(token)
            logits[token] -= params["presence_penalty"]
        if pattern is not None:
            logits[~self._allowed(pattern)] = -np.inf
        if len(self.generated) < params["min_tokens"]:
            held = logits.copy()
            held[list(ends)] = -np.inf
            logits = held if np.isfinite(held).any() else logits
        return self._draw(logits, len(ids))

    def _draw(self, logits: np.ndarray, position: int) -> int:
        params = self._params
        scores = logits
        if params["temperature"]:
            scores = self._kept(logits / params["temperature"])
            keys = noise_keys(*(torch.tensor([n]) for n in (params["seed"], 0, position)))
            scores = scores - np.log(exponential_noise(keys, VOCAB)[0].double().numpy())
        best = np.sort(scores)[-2:]
        self.close |= bool(best[1] - best[0] < CLOSE)
        return int(scores.argmax())

    def _kept(self, scaled: np.ndarray) -> np.ndarray:
        """Top-k, then top-p of what is left, then min-p."""
        params = self._params
        order = np.argsort(-scaled)
        order = order[np.isfinite(scaled[order])]
        order = order[: params["top_k"]] if params["top_k"] else order
        probs = np.exp(scaled[order] - scaled[order[0]])
        probs /= probs.sum()
        before = np.cumsum(probs) - probs
        kept = (before < params["top_p"]) & (probs >= params["min_p"] * probs[0])
        if params["top_p"] < 1:
            self.close |= bool(abs(before - params["top_p"]).min() < 1e-5)
        if params["min_p"]:
            self.close |= bool(abs(probs / probs[0] / params["min_p"] - 1).min() < 3e-5)
        out = np.full(VOCAB, -np.inf)
        out[order[kept]] = scaled[order[kept]]
        return out


_PARAMS = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 14),
        "min_tokens": st.just(0),
        "temperature": st.sampled_from([0.0, 0.4, 1.0, 1.7]),
        "top_k": st.sampled_from([0, 1, 3, 40]),
        "top_p": st.sampled_from([1.0, 0.9, 0.4]),
        "min_p": st.sampled_from([0.0, 0.02, 0.3]),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "presence_penalty": st.sampled_from([0.0, 0.0, 0.7, -0.4]),
        "frequency_penalty": st.sampled_from([0.0, 0.0, 0.5, -0.3]),
        "repetition_penalty": st.sampled_from([1.0, 1.0, 1.3, 0.7]),
        "logit_bias": st.dictionaries(
            st.integers(0, VOCAB - 1), st.sampled_from([-5.0, 0.3, 2.0, 6.0]), max_size=4
        ),
        "stop_token_ids": st.lists(st.integers(0, VOCAB - 1), max_size=2),
        "ignore_eos": st.booleans(),
    }
)
_REQUESTS = st.lists(
    st.tuples(
        st.lists(st.integers(4, VOCAB - 1), min_size=1, max_size=6),
        _PARAMS,
        st.sampled_from(PATTERNS),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(requests=_REQUESTS)
def test_against_the_definition(engine: Engine, tiny: Tiny, requests: list[Any]) -> None:
    """Requests of one batch each get what they would get alone."""
    prompts, every, specs, expected = [], [], [], []
    for prompt, drawn, pattern, least in requests:
        params = {**drawn, "min_tokens": min(least, drawn["max_tokens"])}
        if pattern is not None:  # what fits its budget is not withheld
            params |= {"max_tokens": 60, "stop_token_ids": [], "ignore_eos": False}
        naive = Naive(tiny.reference, prompt, params)
        tokens = naive.run(pattern)
        prompts.append(prompt)
        every.append(params)
        specs.append(None if pattern is None else GrammarSpec.regex(pattern))
        expected.append(None if naive.close else tokens)
    results = engine.generate(input_ids=prompts, sampling_params=every, grammar=specs)
    for result, tokens in zip(results, expected, strict=True):
        assert tokens is None or result.token_ids == tokens


def test_the_reference_is_seldom_too_close_to_tell(engine: Engine, tiny: Tiny) -> None:
    """Else the test above would prove nothing."""
    assert isinstance(engine.link, InlineLink)
    assert sorted(engine.link.core._eos) == END
    rng = np.random.default_rng(0)
    close = 0
    for seed in range(12):
        params = {
            "max_tokens": 10, "min_tokens": 0, "temperature": 1.0, "top_k": 0, "top_p": 0.9,
            "min_p": 0.02, "seed": seed, "presence_penalty": 0.2, "frequency_penalty": 0.2,
            "repetition_penalty": 1.1, "logit_bias": {}, "stop_token_ids": [], "ignore_eos": True,
        }  # fmt: skip
        prompt = rng.integers(4, VOCAB, size=5).tolist()
        naive = Naive(tiny.reference, prompt, params)
        tokens = naive.run(None)
        close += naive.close
        if not naive.close:
            [result] = engine.generate(input_ids=[prompt], sampling_params=params)
            assert result.token_ids == tokens
    assert close <= 4
