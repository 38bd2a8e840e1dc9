"""Decoding speed on one CPU thread, beside transformers and, where llama-cpp-python and gguf are
installed, llama.cpp, in tokens per second of CPU time.

Runs ESPALIER_DATA/yardsticks/cpu_bench.py, which gives every engine the same random prompts in a
process of its own: prefill of 512 tokens, decode at batch 1 and 16, 32 ragged requests, and 16
prompts that share 384 of their 400 tokens. With `--quantization int8` also an engine whose
weights have 8 bits, beside the wide one and llama.cpp's Q8_0.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError, InvalidRequestError
from ..types import SamplingParams
from .report import Row, data_file, finish, load_module, parser

SHAPES = {"6.8M": "tiny10m", "387M": "half_b"}
PEERS = {
    "hf": "transformers generate",
    "hf_cb": "transformers generate_batch",
    "llamacpp": "llama.cpp",
}
Q8 = "llamacpp_q8"
NEEDS = {"llamacpp": ("llama_cpp", "gguf")}  # modules a peer runs on, beyond this package's own
GGUF_KINDS = {"fp32": "f32", "bf16": "bf16"}
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
    quantization: str | None = None

    def __init__(self, model_dir: str, threads: int) -> None:
        import torch

        from ..runtime.engine import Engine

        torch.set_num_threads(threads)
        self._engine = Engine(model=model_dir, inline=True, quantization=self.quantization)

    def generate(self, prompts: list[list[int]], max_new: list[int]) -> list[list[int]]:
        self._engine.flush_cache()  # what is shared inside one call counts, not what a rep left
        params = [SamplingParams(max_tokens=count, ignore_eos=True) for count in max_new]
        results = self._engine.generate(input_ids=prompts, sampling_params=params)
        return [result.token_ids for result in results]


class Int8(Adapter):
    """The same, with weights of 8 bits."""

    name = "espalier int8"
    quantization = "int8"


def main(argv: Sequence[str]) -> int:
    """`espalier bench cpu`."""
    options = parser("cpu", __doc__ or "")
    options.add_argument("--shape", choices=sorted(SHAPES), nargs="+", default=["6.8M"])
    options.add_argument("--dtype", choices=["fp32", "bf16"], nargs="+", default=["fp32"])
    options.add_argument(
        "--engines", help=f"peers, with commas, of {', '.join(PEERS)} (default: those installed)"
    )
    options.add_argument("--quantization", choices=["int8"], help="also with such weights")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--reps", type=int, default=3)
    options.add_argument("--models", type=Path, help="keep the random-weight models there")
    args = options.parse_args(argv)
    peers = chosen(args.engines)
    own = [Adapter]
    if args.quantization is not None:
        own.append(Int8)
        peers += [Q8] if "llamacpp" in peers else []
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        models = args.models or Path(folder)
        for shape, dtype in itertools.product(args.shape, args.dtype):
            kinds = [GGUF_KINDS[dtype]] if "llamacpp" in peers else []
            kinds += ["q8_0"] if Q8 in peers else []
            model = make_model(models, shape, dtype, kinds)
            print(f"{shape} {dtype}: espalier, {', '.join(peers)}, {args.reps} times", flush=True)
            measured = run(model, ",".join(peers), args.threads, args.reps, Path(folder), own)
            found += rows(measured, f"cpu/{shape} {dtype}")
    finish("cpu", argv, args.json, found)
    return 0


def chosen(engines: str | None) -> list[str]:
    """The peers to measure: those asked for, or those that can be imported. Raises
    InvalidRequestError for an unknown one, and for one that is not installed."""
    missing = {
        peer: [module for module in modules if importlib.util.find_spec(module) is None]
        for peer, modules in NEEDS.items()
    }
    if engines is None:
        for peer, modules in missing.items():
            if modules:
                print(f"without {PEERS[peer]}: {', '.join(modules)} not installed")
        return [peer for peer in PEERS if not missing.get(peer)]
    asked = engines.split(",")
    for peer in asked:
        if peer not in PEERS or missing.get(peer):
            raise InvalidRequestError(
                expected=f"peers of {', '.join(PEERS)}, installed",
                got=peer if peer not in PEERS else f"{peer} without {', '.join(missing[peer])}",
                where="--engines",
            )
    return asked


def make_model(folder: Path, shape: str, dtype: str, kinds: Sequence[str] = ()) -> Path:
    """A Llama of random weights in one of the yardstick's shapes, made when it is not there; also
    as a GGUF of each of these kinds, which llama.cpp reads."""
    path = folder / f"{SHAPES[shape]}-{dtype}"
    twins = {kind: path / f"model-{kind}.gguf" for kind in kinds}
    if not all(file.exists() for file in (path / "config.json", *twins.values())):
        made = random_model(path, shape, dtype)
        for kind, file in twins.items():
            maker = load_module(data_file("yardsticks/make_models.py"))
            maker.gguf_write(dict(made.state_dict()), made.config, str(file), kind)
    return path


def random_model(path: Path, shape: str, dtype: str, vocab_size: int | None = None) -> Any:
    """Saves a Llama of random weights in one of the yardstick's shapes, maybe with another
    vocabulary's size, and gives it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    sizes = load_module(data_file("yardsticks/make_models.py")).CFG[SHAPES[shape]]
    if vocab_size is not None:
        sizes = sizes | {"vocab_size": vocab_size}
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
    return made


def run(
    model: Path,
    engines: str,
    threads: int,
    reps: int,
    folder: Path,
    own: Sequence[type[Adapter]] = (Adapter,),
) -> dict[str, Any]:
    """cpu_bench.py's own output: figures per engine. Raises EngineError where one of our `own`
    failed."""
    adapter, out = folder / "adapter.py", folder / "out.json"
    adapter.write_text(
        "from espalier.benchmarks import cpu\n"
        + "".join(f"class {one.__name__}(cpu.{one.__name__}): pass\n" for one in own)
    )
    package_root = Path(__file__).resolve().parents[1]
    root = package_root if (package_root / "espalier").is_dir() else package_root.parent
    command = [sys.executable, str(data_file("yardsticks/cpu_bench.py"))]
    command += ["--model-dir", str(model), "--out", str(out)]
    for one in own:
        command += ["--adapter", f"{adapter}:{one.__name__}"]
    command += ["--engines", engines, "--threads", str(threads), "--reps", str(reps)]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "ENG_TIMEOUT": "1800"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    measured: dict[str, Any] = json.loads(out.read_text())
    for one in own:
        if "error" in measured[one.name]:
            raise EngineError(f"the benchmark's engine failed: {measured[one.name]['error']}")
    for engine in [engine for engine, figures in measured.items() if "error" in figures]:
        print(
            f"left out: {PEERS.get(engine, engine)} failed: {measured.pop(engine)['error']}",
            flush=True,
        )
    return measured


def rows(measured: dict[str, Any], prefix: str) -> list[Row]:
    """Each figure of each of our engines beside those of all others."""
    called = PEERS | {Q8: "llama.cpp Q8_0"}
    made = []
    for own in (name for name in (Adapter.name, Int8.name) if name in measured):
        title = prefix + own.removeprefix(Adapter.name)
        others = {name: found for name, found in measured.items() if name != own}
        for figure, (what, unit) in FIGURES.items():
            peers = {
                called.get(name, name): found[figure]
                for name, found in others.items()
                if figure in found
            }
            value = measured[own][figure]
            made.append(Row(name=f"{title}/{what}", value=value, unit=unit, peers=peers))
        agreement = measured[own].get("agree_with_first_engine", {})
        if agreement:
            share = min(agreement.values())
            name = f"{title}/tokens equal to the first peer's"
            made.append(Row(name=name, value=share, unit="share"))
    return made
