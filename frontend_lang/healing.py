"""Token healing: a gen may finish the token that the text before it began.

A prompt that ends in `http:` is encoded with a token for the colon, behind which models rarely saw
`//`: in their training text `://` is one token. A gen with `heal=True` takes the last token of the
constant text before it back, and has the model generate its text again, by grammar, as whatever
token it likes. The value is what comes behind that text.

Nothing is healed where no longer token begins with the last one's text, where a stop string could
begin inside it, or where what stands before was generated.
"""

from __future__ import annotations

import msgspec

from ..grammar import terms
from ..grammar.spec import GrammarSpec
from ..types import Result, SamplingParams

_ANYTHING = r"(.|\n)*"


def may_heal(text: str, params: SamplingParams) -> bool:
    """Whether no stop can begin inside the text."""
    if params.stop_regex:
        return False
    ends = [text[at:] for at in range(len(text))]
    return not any(s in text or any(s.startswith(end) for end in ends) for s in params.stop)


def healing_grammar(text: str, grammar: GrammarSpec | None) -> GrammarSpec:
    """The text, and behind it what the gen's own grammar (a regex, or none) says."""
    behind = terms.regex(_ANYTHING)
    if grammar is not None:
        behind = terms.regex(grammar.source, ascii=grammar.ascii)
    return terms.grammar(terms.sequence(text, behind))


def healing_params(params: SamplingParams) -> SamplingParams:
    """Room for the token that is generated again."""
    if params.max_tokens is None:
        return params
    return msgspec.structs.replace(params, max_tokens=params.max_tokens + 1)


def behind(result: Result, text: str) -> Result:
    """The result with texts that leave out what was generated again."""
    samples = [behind(sample, text) for sample in result.samples]
    return msgspec.structs.replace(result, text=result.text[len(text) :], samples=samples)
