"""Where a model is: a folder, a hub id, or the embedded model. Loads no torch: clients need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ModelLoadError

SPRIG = Path(__file__).resolve().parent / "sprig"
FILES = ["*.json", "model*.safetensors", "tokenizer*", "*.jinja"]
"""What is fetched from the hub; not `consolidated.safetensors`, which holds the weights twice."""


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
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        """The hub's, on a terminal alone; its own bar over the files is drawn into logs."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"disable": None, **options})  # type: ignore[no-untyped-call]

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=FILES, tqdm_class=Bar)
        return Path(found)
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
