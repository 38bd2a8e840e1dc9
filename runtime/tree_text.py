"""A tree view as the engine sends it, with its prefixes' text."""

from __future__ import annotations

from typing import Any

import msgspec

from ..radix_cache.view import HotPrefix, TreeView
from .tokenizer import Tokenizer

_GAP = " \u2026 "


def told(found: Any, tokenizer: Tokenizer | None) -> TreeView:
    """The view of its plain data, each of its prefixes with its text if there is a tokenizer."""
    view = msgspec.convert(found, TreeView)
    if tokenizer is None:
        return view
    told = [msgspec.structs.replace(hot, text=_text(hot, tokenizer)) for hot in view.hottest]
    return msgspec.structs.replace(view, hottest=told)


def _text(hot: HotPrefix, tokenizer: Tokenizer) -> str:
    head = tokenizer.decode(hot.head, skip_special=False)
    if not hot.tail:
        return head
    return head + _GAP + tokenizer.decode(hot.tail, skip_special=False, continues=True)
