"""Where a model is: a folder, a hub id, or the embedded model."""

from __future__ import annotations

from pathlib import Path

import torch

from ...errors import InvalidRequestError, ModelLoadError
from ..config import ModelConfig

SPRIG = Path(__file__).resolve().parent.parent / "sprig"
FILES = ["*.json", "*.safetensors", "tokenizer*", "*.jinja"]
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def resolve_folder(model: str | Path, *, revision: str | None = None) -> Path:
    """The folder of `model`: an existing folder, "sprig", or a hub id (downloaded if need be).

    Raises ModelLoadError, saying what was tried.
    """
    if str(model) == "sprig":
        if not (SPRIG / "config.json").is_file():
            raise ModelLoadError(
                "the embedded model is not installed",
                where=str(SPRIG),
                hint="Install Espalier from a wheel or a full checkout.",
            )
        return SPRIG
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    name = str(model)
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelLoadError(
            "no such model folder",
            where=str(folder),
            hint="Give a folder or a hub id (owner/name).",
        )
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except HFValidationError as error:
        reason, hint = str(error), "Give an existing folder or a hub id (owner/name)."
    except GatedRepoError:
        reason, hint = "its owner must grant access", "Ask on its hub page, then `hf auth login`."
    except RepositoryNotFoundError:
        reason, hint = "the hub has no such model", "Check the name; `hf auth login` if private."
    except RevisionNotFoundError:
        reason, hint = f"it has no revision {revision!r}", "Check the revision."
    except (LocalEntryNotFoundError, OSError) as error:
        reason = f"the hub cannot be reached and the model is not in the local cache ({error})"
        hint = "Go online, or give a local folder; model 'sprig' needs no download."
    raise ModelLoadError(f"model {name!r} cannot be fetched: {reason}", where=name, hint=hint)


def resolve_dtype(
    dtype: str | torch.dtype, config: ModelConfig, device: torch.device
) -> torch.dtype:
    """The dtype to compute in; "auto" is the checkpoint's where the device can."""
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype != "auto":
        if dtype not in _DTYPES:
            raise InvalidRequestError(
                expected=f"one of auto, {', '.join(_DTYPES)}", got=repr(dtype), where="dtype"
            )
        return _DTYPES[dtype]
    chosen = _DTYPES.get(config.dtype or "float32", torch.float32)
    if device.type == "cpu" and not _native_on_cpu(chosen):
        return torch.float32
    return chosen


def _native_on_cpu(dtype: torch.dtype) -> bool:
    """Whether this CPU has instructions for `dtype`; without them it is slower than float32."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return True
