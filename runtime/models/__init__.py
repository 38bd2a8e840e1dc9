"""Model definitions, and the way from a folder to one of them."""

from ..locate import resolve_folder
from .registry import ARCHITECTURES, CausalLM, load_model

__all__ = ["ARCHITECTURES", "CausalLM", "load_model", "resolve_folder"]
