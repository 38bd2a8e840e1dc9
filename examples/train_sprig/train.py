"""Trains Sprig from scratch: `python -m examples.train_sprig.train --out /tmp/sprig --minutes 70`.

Writes into `--out`: checkpoint.pt (resume with --resume), log.jsonl (a line every 20 steps) and
model/ (a folder that transformers and Espalier load). The rate follows a cosine over `--tokens`,
or over `--minutes` of training time where that is given.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from tqdm import tqdm
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import AttentionMaskInterface

from . import tokenizer as sprig_tokenizer
from .data import TOKENS_PER_STEP, Packer


def sprig_config() -> LlamaConfig:
    """Sprig's shape: 4.98M parameters."""
    return LlamaConfig(
        vocab_size=sprig_tokenizer.VOCABULARY_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=sprig_tokenizer.CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        rms_norm_eps=1e-5,
    )


@dataclass
class Progress:
    """Where a run stands, and where its present rate curve began; saved with its checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    begun_step: int = 0
    begun_tokens: int = 0
    begun_seconds: float = 0.0


class Optimizers:
    """Muon for the matrices of the layers, AdamW for everything else; or AdamW alone."""

    def __init__(self, model: nn.Module, rate: float, muon: bool) -> None:
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n]
        rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers" in n)]
        self._rate = rate
        self._all: list[torch.optim.Optimizer] = []
        if muon:
            self._all.append(
                torch.optim.Muon(
                    matrices,
                    lr=rate,
                    momentum=0.95,
                    weight_decay=0.1,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        else:
            self._all.append(
                torch.optim.AdamW(
                    matrices, lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
                )
            )
        self._all.append(
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        )

    def step(self, scale: float) -> None:
        """One update at `scale` times the peak rate."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = self._rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [optimizer.state_dict() for optimizer in self._all]

    def load(self, states: list[dict[str, Any]]) -> None:
        """From a checkpoint."""
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def attention(
    _module: nn.Module,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    _mask: None,
    scaling: float,
    **_options: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention of whole rows in plain products, for `torch.compile`: on a CPU the backward
    pass of torch's own kernel took half of a step. q [B, H, S, D]; k, v [B, G, S, D]."""
    rows, heads, length, width = q.shape
    groups = k.shape[1]
    q = (q * scaling).bfloat16().reshape(rows * groups, -1, width)
    k = k.bfloat16().reshape(rows * groups, length, width)
    v = v.bfloat16().reshape(rows * groups, length, width)
    scores = torch.bmm(q, k.transpose(1, 2)).view(rows * groups, -1, length, length)
    at = torch.arange(length, device=q.device)
    shares = scores.masked_fill(at > at[:, None], -1e4).softmax(-1)
    out = torch.bmm(shares.view(rows * groups, -1, length), v).view(rows, heads, length, width)
    return out.transpose(1, 2), None


AttentionInterface.register("plain_causal", attention)
AttentionMaskInterface.register("plain_causal", lambda *_args, **_options: None)


def loss_of(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross entropy of one step's rows (see `Batch`)."""
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden)
    losses = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (losses * weights.flatten()).sum() / weights.sum()


def scale_at(done: float, step: int) -> float:
    """Warm-up over 100 steps, then a cosine from 1 to 0.01 at `done` of the way."""
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return min(1.0, (step + 1) / 100) * cosine


def export(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes bf16 weights, configs and the tokenizer, replacing the folder in one move."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    sprig_tokenizer.save(tokenizer, fresh)
    tensors = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, fresh / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
    (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "do_sample": False}
    text = json.dumps(generation, indent=2) + "\n"
    (fresh / "generation_config.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


class Run:
    """One training run in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        self.device = torch.device(_device(options.device))
        self.tokenizer = self._tokenizer()
        architecture: Any = LlamaForCausalLM
        if options.compile:
            self.model: Any = architecture._from_config(
                sprig_config(), attn_implementation="plain_causal"
            )
            self.loss: Any = torch.compile(loss_of, dynamic=False)
        else:
            self.model, self.loss = architecture(sprig_config()), loss_of
        self.model.to(self.device).train()
        self.optimizers = Optimizers(self.model, options.rate, options.optimizer == "muon")
        self.packer = Packer(self.tokenizer, options.seed)
        self.progress = Progress()
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)
        if options.init:
            self._start_from(Path(options.init))
        if options.resume:
            self._resume(Path(options.resume))

    def _stop(self, _signal: int, _frame: object) -> None:
        """SIGTERM: finish the step, save, leave."""
        self.stopped = True

    def _tokenizer(self) -> Tokenizer:
        if self.options.init:
            sprig_tokenizer.save(sprig_tokenizer.load(Path(self.options.init)), self.out)
        if not (self.out / "tokenizer.json").exists():
            sprig_tokenizer.save(sprig_tokenizer.train(), self.out)
        return sprig_tokenizer.load(self.out)

    def _start_from(self, folder: Path) -> None:
        """The weights of a model folder, a new optimizer and a new rate curve."""
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        self.model.load_state_dict(tensors)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizers.load(state["optimizers"])
        self.progress = now = Progress(**state["progress"])
        if self.options.anew:
            now.begun_step, now.begun_tokens, now.begun_seconds = now.step, now.tokens, now.seconds

    def save(self) -> None:
        """A checkpoint and the model folder."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state(),
            "progress": asdict(self.progress),
        }
        fresh = self.out / "checkpoint.new"
        torch.save(state, fresh)
        os.replace(fresh, self.out / "checkpoint.pt")
        export(self.model, self.tokenizer, self.out / "model")

    def done(self) -> float:
        """The share of the present rate curve that is behind us."""
        now = self.progress
        if self.options.minutes:
            return (now.seconds - now.begun_seconds) / (60 * float(self.options.minutes))
        return (now.tokens - now.begun_tokens) / float(self.options.tokens)

    def train(self) -> None:
        """Steps until done; the bar tells loss, tokens per second and the time left."""
        saved = time.monotonic()
        last = time.monotonic()
        bar = tqdm(total=1000, unit="permille", mininterval=5.0)
        total, count, since = 0.0, 0, self.progress.seconds
        while self.done() < 1.0 and not self.stopped:
            scale = scale_at(self.done(), self.progress.step - self.progress.begun_step)
            batch = self.packer.batch(self.progress.step, self.done())
            loss = self.loss(self.model, batch.ids.to(self.device), batch.weights.to(self.device))
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizers.step(scale)
            now = time.monotonic()
            self.progress.step += 1
            self.progress.tokens += TOKENS_PER_STEP
            self.progress.seconds += now - last
            last = now
            total, count = total + float(loss.detach()), count + 1
            if count == 20:
                self._log(
                    total / count, scale, count * TOKENS_PER_STEP / (self.progress.seconds - since)
                )
                total, count, since = 0.0, 0, self.progress.seconds
            bar.update(int(1000 * self.done()) - bar.n)
            if now - saved > 60 * self.options.save_minutes:
                self.save()
                saved = time.monotonic()
        bar.close()
        self.save()

    def _log(self, loss: float, scale: float, speed: float) -> None:
        spent = self.progress.seconds - self.progress.begun_seconds
        left = (1 / max(self.done(), 1e-6) - 1) * spent
        line = {
            **asdict(self.progress),
            "loss": round(loss, 4),
            "tokens_per_second": round(speed),
            "rate": self.options.rate * scale,
            "seconds_left": round(left),
        }
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        tqdm.write(
            f"step {self.progress.step} tokens {self.progress.tokens / 1e6:.2f}M "
            f"loss {loss:.4f} {speed:.0f} tok/s, {left / 60:.0f} min left"
        )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def main() -> None:
    """Reads the flags and trains."""
    parser = argparse.ArgumentParser(description="Trains Sprig from scratch.")
    parser.add_argument("--out", default="sprig-run")
    parser.add_argument("--tokens", type=float, default=20e6)
    parser.add_argument("--minutes", type=float, help="train this long, whatever the speed")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="adamw")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--resume", help="a checkpoint.pt to go on from")
    parser.add_argument("--init", help="a model folder (weights, tokenizer) to begin with")
    parser.add_argument("--anew", action="store_true", help="resume, but begin the rate anew")
    parser.add_argument("--save-minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--compile", action="store_true", help="by torch.compile, half as fast again (needs c++)"
    )
    options = parser.parse_args()
    # Before any thread starts, for they inherit it: sharp attention makes numbers that cost a CPU
    # a hundred times the time of ordinary ones.
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    Run(options).train()


if __name__ == "__main__":
    main()
