"""Sprig, the embedded model: weights, tokenizer and chat template (see docs/sprig.md)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
