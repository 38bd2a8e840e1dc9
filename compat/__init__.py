"""Programs written for SGLang's frontend, run unmodified.

    from espalier.compat import install_sglang_alias
    install_sglang_alias()
    import sglang as sgl            # and sglang.lang.ir, sglang.utils, ...

What such a file means is what SGLang's frontend documents, where it differs from Espalier's own:
`temperature` is 1.0 unless given, a name may be set again, a typed gen's value is its text, and
`select` weighs by `token_length_normalized`. docs/sglang.md has the whole list.
"""

from __future__ import annotations

from .alias import install_sglang_alias, remove_sglang_alias

__all__ = ["install_sglang_alias", "remove_sglang_alias"]
