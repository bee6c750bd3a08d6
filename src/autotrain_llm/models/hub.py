"""The metadata files of a model on the Hugging Face Hub, from there or from the local cache; never its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.declare.rule import Rule
from autotrain_llm.models.findings import GATED_MODEL, HUB_UNREACHABLE, NOT_ON_THE_HUB

REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][\w.\-]*(?:/[A-Za-z0-9][\w.\-]*)?")
METADATA_FILES = (
    "*.json",
    "*.jinja",
    "*.model",
    "merges.txt",
    "vocab.txt",
)


@dataclass(frozen=True)
class Repository:
    """A repository's metadata files in `folder`; the names of all its files and its tensors' shapes, as far as the Hub lists them."""

    folder: Path
    files: tuple[str, ...] | None = None
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class HubFault(Exception):
    """Why a model on the Hub can't be loaded: the kind of finding, its message and its fix."""

    def __init__(self, kind: Rule, message: str, fix: str) -> None:
        super().__init__(message)
        self.kind, self.message, self.fix = kind, message, fix


def is_repository_name(name: str) -> bool:
    """Whether the Hub could have a model of this name: `model` or `owner/model`, at most 96 characters."""
    if len(name) > 96 or not REPOSITORY_NAME.fullmatch(name) or "--" in name or ".." in name:
        return False
    return not any(part[0] in "-." or part[-1] in "-." for part in name.split("/")) and not name.endswith(".git")


def fetch_metadata(
    name: str, revision: str | None, cache_dir: str | Path | None, offline: bool, token: str | None
) -> Repository:
    """Download a model's metadata files, or find them in the cache. Raises HubFault."""
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        return _from_cache(name, revision, cache_dir)
    return _from_hub(name, revision, cache_dir, token)


def _from_cache(name: str, revision: str | None, cache_dir: str | Path | None) -> Repository:
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json"):
        cached = try_to_load_from_cache(name, file, cache_dir=cache_dir, revision=revision)
        if isinstance(cached, str):
            return Repository(Path(cached).parent)
    message = f"{name} is not a folder here, and not in the local cache: nothing can be downloaded offline"
    raise HubFault(HUB_UNREACHABLE, message, "remove --offline (and HF_HUB_OFFLINE), or give the model's folder")


def _from_hub(name: str, revision: str | None, cache_dir: str | Path | None, token: str | None) -> Repository:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(token=token)
    try:
        info = api.model_info(name, revision=revision)
        files = tuple(sibling.rfilename for sibling in info.siblings or ())
        folder = Path(_download(name, info.sha, cache_dir, token))
        return Repository(folder, files, _tensors(api, name, info.sha, files))
    except GatedRepoError as error:
        message = f"{name} is gated: its owner gives access only to accounts that have accepted its terms"
        fix = f"accept them at https://huggingface.co/{name}, then give --token or run `hf auth login`"
        raise HubFault(GATED_MODEL, message, fix) from error
    except RevisionNotFoundError as error:
        message = f"{name} is on the Hub, but has no revision {revision}"
        raise HubFault(NOT_ON_THE_HUB, message, "--revision main") from error
    except RepositoryNotFoundError as error:
        message = f"{name} is neither a folder here nor a model on the Hub (or a private one that this login can't see)"
        raise HubFault(NOT_ON_THE_HUB, message, "correct the name, or give --token for a private model") from error
    except (HTTPError, OSError) as error:
        message = f"{name} is not a folder here, and the Hub can't be reached ({type(error).__name__})"
        raise HubFault(
            HUB_UNREACHABLE, message, "try again, use --offline with a cached model, or give a folder"
        ) from error


def _download(name: str, revision: str | None, cache_dir: str | Path | None, token: str | None) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(
        name,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        allow_patterns=list(METADATA_FILES),
        ignore_patterns=["*/*"],
    )


def _tensors(api: Any, name: str, revision: str | None, files: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The tensors of a model that is one file, from the first bytes of it; a sharded model's index already names its own."""
    if "model.safetensors" not in files:
        return {}
    header = api.parse_safetensors_file_metadata(name, "model.safetensors", revision=revision)
    return {tensor: tuple(info.shape) for tensor, info in header.tensors.items()}
