"""A tree view as the engine sends it, with the text of its nodes and prefixes."""

from __future__ import annotations

from typing import Any

import msgspec

from ..radix_cache.view import HotPrefix, TreeNode, TreeView
from .tokenizer import Tokenizer

_GAP = " \u2026 "


def told(found: Any, tokenizer: Tokenizer | None) -> TreeView:
    """The view of its plain data, with the text of what it shows if there is a tokenizer."""
    view = msgspec.convert(found, TreeView)
    if tokenizer is None:
        return view
    hottest = [msgspec.structs.replace(hot, text=_text(hot, tokenizer)) for hot in view.hottest]
    nodes = [msgspec.structs.replace(node, text=_head(node, tokenizer)) for node in view.nodes]
    return msgspec.structs.replace(view, hottest=hottest, nodes=nodes)


def _head(node: TreeNode, tokenizer: Tokenizer) -> str:
    return tokenizer.decode(node.head, skip_special=False, continues=node.start > 0)


def _text(hot: HotPrefix, tokenizer: Tokenizer) -> str:
    head = tokenizer.decode(hot.head, skip_special=False)
    if not hot.tail:
        return head
    return head + _GAP + tokenizer.decode(hot.tail, skip_special=False, continues=True)
