"""Which SGLang's frontend this stands for, and that it is not SGLang."""

from __future__ import annotations

from .. import __version__ as _own

__version__ = f"0.5.23+espalier.{_own}"
__version_tuple__ = (0, 5, 23)

__all__ = ["__version__", "__version_tuple__"]
