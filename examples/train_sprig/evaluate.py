"""Scores a model folder per skill, greedy: `python -m examples.train_sprig.evaluate FOLDER`.

Held-out cases of each skill, then the forty hand-written ones. `--docs` writes the table between
the `<!-- scores -->` marks of docs/sprig.md; `--show N` prints wrong answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from .cases import BARS, SKILLS, Case, cases, is_right
from .generate import Turn
from .handwritten import handwritten
from .heldout import HELDOUT
from .world import TRAIN

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sprig.md"
MARK = "<!-- scores -->"


@dataclass(frozen=True)
class Score:
    """How many of how many cases are right."""

    right: int
    count: int

    def __str__(self) -> str:
        return f"{self.right}/{self.count} ({100 * self.right / max(1, self.count):.1f}%)"


class Answers(Protocol):
    """Whatever answers cases."""

    def answers(self, found: list[Case]) -> list[str]:
        """One answer per case."""


class Greedy:
    """Greedy answers by transformers' generate, fp32, batched with left padding."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        self.tokenizer.padding_side = "left"
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()

    def prompt(self, turns: list[Turn]) -> str:
        """The rendered chat with the assistant's header."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return str(
            self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )

    def answers(self, found: list[Case], batch: int = 16) -> list[str]:
        """One answer per case."""
        prompts = [self.prompt(case.turns) for case in found]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            inputs = self.tokenizer(
                [prompts[i] for i in rows],
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                out = self.model.generate(**inputs, max_new_tokens=120, do_sample=False)
            width = inputs["input_ids"].shape[1]
            for i, row in zip(rows, out[:, width:], strict=True):
                answers[i] = self.tokenizer.decode(row, skip_special_tokens=True)
        return answers


def score(model: Answers, found: list[Case]) -> tuple[Score, list[tuple[Case, str]]]:
    """How many are right, and the wrong ones with their answers."""
    answers = model.answers(found)
    wrong = [
        (case, answer)
        for case, answer in zip(found, answers, strict=True)
        if not is_right(case.exchange, answer)
    ]
    return Score(len(found) - len(wrong), len(found)), wrong


def _show(wrong: Iterable[tuple[Case, str]], limit: int) -> None:
    for case, answer in islice(wrong, limit):
        print(
            f"  user:  {case.turns[-1].content!r}\n  right: {case.exchange.assistant!r}\n"
            f"  got:   {answer!r}"
        )


def table(rows: dict[str, dict[str, Score]]) -> str:
    """A Markdown table: skill, bar, then one column per way of scoring."""
    columns = list(dict.fromkeys(name for scores in rows.values() for name in scores))
    lines = [
        "| skill | bar | " + " | ".join(columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for skill, scores in rows.items():
        cells = [str(scores.get(name, "")) for name in columns]
        lines.append(f"| {skill} | {BARS[skill]}% | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_docs(text: str) -> None:
    """Replaces what stands between the two marks of docs/sprig.md."""
    page = DOCS.read_text(encoding="utf-8")
    before, _, after = page.split(MARK)
    DOCS.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}", encoding="utf-8")


def models(options: argparse.Namespace) -> dict[str, Answers]:
    """The ways of answering that are asked for."""
    found: dict[str, Answers] = {}
    if not options.kv_dtype and options.quantization is None:
        found["free-running"] = Greedy(options.folder)
    if options.grammar or options.kv_dtype or options.quantization:
        from .constrained import Constrained

        for kv_dtype in options.kv_dtype or ["auto"]:
            way = "under grammar" + (f", KV {kv_dtype}" if options.kv_dtype else "")
            way += f", weights {options.quantization}" if options.quantization else ""
            found[way] = Constrained(options.folder, kv_dtype, options.quantization)
    return found


def evaluate(options: argparse.Namespace) -> dict[str, dict[str, Score]]:
    """Scores by skill and by way of scoring."""
    rows: dict[str, dict[str, Score]] = {skill: {} for skill in options.skills}
    by_hand = [] if options.train else handwritten()
    for way, model in models(options).items():
        for skill in options.skills:
            drawn = cases(TRAIN if options.train else HELDOUT, skill, options.count, options.seed)
            mine = [case for case in by_hand if case.skill == skill]
            for name, found in (("held-out", drawn), ("hand-written", mine)):
                if found:
                    rows[skill][f"{name}, {way}"], wrong = score(model, found)
                    print(f"{skill:12} {name}, {way}: {rows[skill][f'{name}, {way}']}", flush=True)
                    _show(wrong, options.show)
    return rows


def main() -> None:
    """Reads the flags, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=DOCS.parents[1] / "runtime/sprig")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers a skill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="score training-side chats instead")
    parser.add_argument("--grammar", action="store_true", help="also by espalier.Engine, masked")
    parser.add_argument(
        "--kv-dtype", nargs="+", help="by espalier.Engine, masked, alone: with each KV cache"
    )
    parser.add_argument("--quantization", help="by espalier.Engine, masked, alone: weights so")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/sprig.md")
    parser.add_argument("--skills", nargs="*", default=[*SKILLS, "tool_answer"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = table(evaluate(options))
    print(text)
    if options.docs:
        write_docs(text)


if __name__ == "__main__":
    main()
