"""One engine of a benchmark, in a process of its own, so that nobody's memory, threads or warmth is
another's: what it is to do comes as JSON by stdin, what it found goes as JSON lines to stdout.

Every engine gets the same token ids and answers greedily, exactly as many tokens as asked, ends of
text ignored. Times are of the CPU where the device is one (a machine may be shared), else by the
wall.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Prompts = Sequence[Sequence[int]]
Clock = Callable[[], float]


class Espalier:
    """Ours, its steps made by this process, which collects garbage as one of the engine's own."""

    def __init__(self, job: dict[str, Any]) -> None:
        from ..runtime.collecting import Collector
        from ..runtime.engine import Engine

        self._engine = Engine(job["model"], inline=True, device=job["device"], **job["options"])
        Collector().start()

    def generate(self, prompts: Prompts, counts: Sequence[int]) -> list[list[int]]:
        self._engine.flush_cache()  # what a repetition left does not count
        params = [self._params(count) for count in counts]
        results = self._engine.generate(input_ids=prompts, sampling_params=params)
        return [result.token_ids for result in results]

    def times(self, prompts: Prompts, count: int, clock: Clock) -> list[list[float]]:
        self._engine.flush_cache()
        builder, exchange = self._engine._builder, self._engine._exchange
        given = [list(prompt) for prompt in prompts]
        # One reader of all streams: several would each make a step before the others looked.
        requests = builder.requests(given, self._params(count), None, 0, "", None, stream=True)
        found: dict[int, list[float]] = {request.id: [] for request in requests}
        for chunk in exchange.chunks(requests):
            found[chunk.request_id] += [clock()] * len(chunk.token_ids)
        return list(found.values())

    @staticmethod
    def _params(count: int) -> Any:
        from ..types import SamplingParams

        return SamplingParams(max_tokens=count, ignore_eos=True)


class Transformers:
    """transformers' `generate`: batches padded on the left, those of like lengths together."""

    def __init__(self, job: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._torch, self._device, self._batch = torch, job["device"], job["batch"]
        kernel = "flash_attention_2" if self._flash() else "sdpa"
        model: Any = AutoModelForCausalLM.from_pretrained(
            job["model"], dtype="auto", attn_implementation=kernel
        )
        self._model = model.to(job["device"]).eval()
        config = self._model.generation_config
        config.do_sample, config.pad_token_id = False, 0
        config.eos_token_id = config.bos_token_id = None

    def _flash(self) -> bool:
        return self._device != "cpu" and importlib.util.find_spec("flash_attn") is not None

    def generate(self, prompts: Prompts, counts: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda i: (counts[i], len(prompts[i])))
        for at in range(0, len(order), self._batch):
            some = order[at : at + self._batch]
            rows = self._run([prompts[i] for i in some], max(counts[i] for i in some))
            for i, row in zip(some, rows, strict=True):
                found[i] = row[: counts[i]]
        return found

    def times(self, prompts: Prompts, count: int, clock: Clock) -> list[list[float]]:
        came: list[float] = []

        class Streamer:
            """Called with the prompts, then with each step's tokens."""

            def put(self, value: Any) -> None:
                value.cpu()
                came.append(clock())

            def end(self) -> None:
                pass

        self._run(prompts, count, streamer=Streamer())
        return [came[1:]] * len(prompts)

    def _run(self, prompts: Prompts, count: int, **more: Any) -> list[list[int]]:
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        tensors = [self._torch.tensor(rows, device=self._device) for rows in (padded, seen)]
        with self._torch.inference_mode():
            out = self._model.generate(
                tensors[0],
                attention_mask=tensors[1],
                max_new_tokens=count,
                min_new_tokens=count,
                **more,
            )
        rows: list[list[int]] = out[:, longest:].tolist()
        return rows


class Paged(Transformers):
    """transformers' `generate_batch`: continuous batching over paged memory, its manager started
    and warmed up before anything is measured."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        import logging

        from transformers import ContinuousBatchingConfig, GenerationConfig

        logging.disable(logging.WARNING)
        made: Any = GenerationConfig
        longest = max(max(counts) for _, counts in job["loads"])
        config = made(max_new_tokens=longest, do_sample=False, eos_token_id=-1)
        sizes: dict[str, Any] = {}
        if self._device == "cpu":  # where it does not look how much memory there is
            most = max(
                sum(map(len, prompts)) + sum(counts) + 32 * len(prompts)
                for prompts, counts in job["loads"]
            )
            sizes = {"num_blocks": most // 32 + 1, "max_batch_tokens": 2048, "block_size": 32}
        self._manager = self._model.init_continuous_batching(
            generation_config=config, continuous_batching_config=ContinuousBatchingConfig(**sizes)
        )
        self._manager.warmup()
        self._manager.start()

    def generate(self, prompts: Prompts, counts: Sequence[int]) -> list[list[int]]:
        found: dict[str, list[int]] = {}
        for i, (prompt, count) in enumerate(zip(prompts, counts, strict=True)):
            self._manager.add_request(list(prompt), request_id=f"r{i}", max_new_tokens=count)
        while len(found) < len(prompts):
            result = self._manager.get_result(timeout=120)
            if result is None:
                raise TimeoutError("no result within two minutes")
            if result.is_finished():
                found[result.request_id] = result.generated_tokens
        return [found[f"r{i}"] for i in range(len(prompts))]

    def close(self) -> None:
        self._manager.stop(block=True, timeout=10)


class LlamaCpp:
    """llama.cpp on a CPU, by the yardstick's own loop of batches of several sequences, of which
    there are 64 at once."""

    def __init__(self, job: dict[str, Any]) -> None:
        from .report import data_file, load_module

        yardstick = load_module(data_file("yardsticks/cpu_bench.py"))
        self._engine = yardstick.LlamaCpp(job["model"], job["threads"])

    def generate(self, prompts: Prompts, counts: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = []
        for at in range(0, len(prompts), 64):
            some = slice(at, at + 64)
            found += self._engine.generate([list(p) for p in prompts[some]], list(counts[some]))
        return found


ENGINES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "espalier": Espalier,
    "hf": Transformers,
    "hf_cb": Paged,
    "llamacpp": LlamaCpp,
}
"""By name. `generate` gives counts[i] tokens after prompts[i], all of them asked for at once;
`times` when each of `count` tokens of each prompt came; `close` ends threads of its own."""


def measure(engine: Any, task: str, prompts: Any, counts: Any, clock: Clock) -> dict[str, Any]:
    """One repetition: of `offline` its seconds and tokens, of `latency` when each token came."""
    begin = clock()
    if task == "offline":
        tokens = engine.generate(prompts, counts)
        seconds = clock() - begin
        if list(map(len, tokens)) != list(counts):
            raise ValueError(f"asked for {counts} tokens, got {list(map(len, tokens))}")
        return {"seconds": seconds, "tokens": tokens}
    came = engine.times(prompts, counts[0], clock)
    return {"came": [[at - begin for at in one] for one in came]}


def main() -> int:
    """Reads one job; of each of its loads warms up and measures, a line for each repetition. What
    fails ends it."""
    job = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not ours
    import torch

    if job["device"] == "cpu":
        torch.set_num_threads(job["threads"])
    clock = time.process_time if job["device"] == "cpu" else time.perf_counter
    engine = ENGINES[job["engine"]](job)
    try:
        for prompts, counts in job["loads"]:
            for number in range(job["reps"] + 1):
                most = job["warm_tokens"] if number == 0 and job["warm_tokens"] else None
                asked = [min(count, most or count) for count in counts]
                found = measure(engine, job["task"], prompts, asked, clock)
                print(json.dumps(found), file=out, flush=True)
    finally:
        if hasattr(engine, "close"):  # threads of its own, which would keep this process
            engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
