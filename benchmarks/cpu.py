"""Decoding speed on one CPU thread, beside transformers, in tokens per second of CPU time.

Runs ESPALIER_DATA/yardsticks/cpu_bench.py, which gives every engine the same random prompts in a
process of its own: prefill of 512 tokens, decode at batch 1 and 16, 32 ragged requests, and 16
prompts that share 384 of their 400 tokens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..types import SamplingParams
from .report import Row, data_file, finish, load_module, parser

SHAPES = {"6.8M": "tiny10m", "387M": "half_b"}
PEERS = {"hf": "transformers generate", "hf_cb": "transformers generate_batch"}
FIGURES = {
    "prefill512_tok_s_cpu": ("prefill 512", "tokens/CPU s"),
    "b1_decode_tok_s_cpu": ("decode batch 1", "tokens/CPU s"),
    "b16_decode_tok_s_cpu": ("decode batch 16", "tokens/CPU s"),
    "ragged_out_tok_s_cpu": ("ragged", "tokens/CPU s"),
    "shared_prefix_s_cpu": ("16 prompts sharing 384 of 400", "CPU s"),
}


class Adapter:
    """The engine as cpu_bench.py wants to see it: greedy, all prompts at once, exact lengths."""

    name = "espalier"

    def __init__(self, model_dir: str, threads: int) -> None:
        import torch

        from ..runtime.engine import Engine

        torch.set_num_threads(threads)
        self._engine = Engine(model=model_dir, inline=True)

    def generate(self, prompts: list[list[int]], max_new: list[int]) -> list[list[int]]:
        self._engine.flush_cache()  # what is shared inside one call counts, not what a rep left
        params = [SamplingParams(max_tokens=count, ignore_eos=True) for count in max_new]
        results = self._engine.generate(input_ids=prompts, sampling_params=params)
        return [result.token_ids for result in results]


def main(argv: Sequence[str]) -> int:
    """`espalier bench cpu`."""
    options = parser("cpu", __doc__ or "")
    options.add_argument("--shape", choices=sorted(SHAPES), default="6.8M")
    options.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    options.add_argument("--engines", default="hf,hf_cb", help="peers (default: hf,hf_cb)")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--reps", type=int, default=3)
    options.add_argument("--models", type=Path, help="keep the random-weight models there")
    args = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        models = args.models or Path(folder)
        model = make_model(models, args.shape, args.dtype)
        print(f"measuring espalier and {args.engines}, {args.reps} times each", flush=True)
        measured = run(model, args.engines, args.threads, args.reps, Path(folder))
    finish("cpu", argv, args.json, rows(measured, f"cpu/{args.shape} {args.dtype}"))
    return 0


def make_model(folder: Path, shape: str, dtype: str) -> Path:
    """A Llama of random weights in one of the yardstick's shapes, made when it is not there."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = folder / f"{SHAPES[shape]}-{dtype}"
    if not (path / "config.json").exists():
        sizes = load_module(data_file("yardsticks/make_models.py")).CFG[SHAPES[shape]]
        torch.manual_seed(0)
        config = LlamaConfig(
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.05,
            **sizes,
        )
        made: Any = LlamaForCausalLM(config)
        made.to(torch.bfloat16)  # first, so that both dtypes hold equal values
        made.to(torch.float32 if dtype == "fp32" else torch.bfloat16).save_pretrained(path)
    return path


def run(model: Path, engines: str, threads: int, reps: int, folder: Path) -> dict[str, Any]:
    """cpu_bench.py's own output: figures per engine. Raises EngineError where ours failed."""
    adapter, out = folder / "adapter.py", folder / "out.json"
    adapter.write_text(
        "from espalier.benchmarks.cpu import Adapter as Base\nclass Adapter(Base): pass\n"
    )
    package_root = Path(__file__).resolve().parents[1]
    root = package_root if (package_root / "espalier").is_dir() else package_root.parent
    command = [sys.executable, str(data_file("yardsticks/cpu_bench.py"))]
    command += ["--model-dir", str(model), "--adapter", f"{adapter}:Adapter", "--out", str(out)]
    command += ["--engines", engines, "--threads", str(threads), "--reps", str(reps)]
    environment = os.environ | {"PYTHONPATH": str(root), "ENG_TIMEOUT": "900"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    measured: dict[str, Any] = json.loads(out.read_text())
    if "error" in measured[Adapter.name]:
        raise EngineError(f"the benchmark's engine failed: {measured[Adapter.name]['error']}")
    return measured


def rows(measured: dict[str, Any], prefix: str) -> list[Row]:
    made = []
    for figure, (what, unit) in FIGURES.items():
        peers = {
            PEERS.get(engine, engine): found[figure]
            for engine, found in measured.items()
            if engine != Adapter.name and figure in found
        }
        value = measured[Adapter.name][figure]
        made.append(Row(name=f"{prefix}/{what}", value=value, unit=unit, peers=peers))
    agreement = measured[Adapter.name].get("agree_with_first_engine", {})
    if agreement:
        share = min(agreement.values())
        made.append(
            Row(name=f"{prefix}/tokens equal to the first peer's", value=share, unit="share")
        )
    return made
