"""Weights from the caches of torchvision and timm, downloaded if missing."""

import logging
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from transferkit.errors import WeightsUnavailable

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 8


def url_path(url: str) -> Path:
    """The path at which torchvision and timm cache the file of a URL: `TORCH_HOME/hub/checkpoints/<file>`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch_url(url: str, what: str) -> Path:
    """The cached file of a URL, downloaded first if missing, with progress and checked against the hash in its name.

    Args:
        url: Of a weights file.
        what: The network of the weights, for messages.

    Raises:
        WeightsUnavailable: If it is not cached and cannot be downloaded.
    """
    path = url_path(url)
    if path.is_file():
        return path
    reason = _unreachable(url)
    if reason is None:
        logger.info("downloading %s to %s", url, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = re.search(r"-([a-f0-9]{8,})\.", path.name)
        try:
            torch.hub.download_url_to_file(url, str(path), digest.group(1) if digest else None, progress=True)
            return path
        except (OSError, RuntimeError) as error:
            reason = str(error)
    raise _not_here(what, path.name, str(path), "TORCH_HOME", url, reason)


def fetch_hub(repo: str, filenames: list[str], what: str) -> Path:
    """The cached file of a Hugging Face repository, downloaded first if missing.

    Args:
        repo: "owner/name", or "owner/name@revision".
        filenames: In order of preference.
        what: The network of the weights, for messages.

    Raises:
        WeightsUnavailable: If none is cached and none can be downloaded.
    """
    repo_id, _, revision = repo.partition("@")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    for filename in filenames:
        found = try_to_load_from_cache(repo_id, filename, revision=revision or None)
        copies = [Path(found)] if isinstance(found, str) else sorted(folder.glob(f"snapshots/*/{filename}"))
        if copies:
            return copies[-1]
    page = f"{constants.ENDPOINT}/{repo_id}"
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _unreachable(page)
    for filename in filenames if reason is None else ():
        try:
            return Path(hf_hub_download(repo_id, filename, revision=revision or None))
        except (HfHubHTTPError, OSError) as error:
            reason = str(error).strip().split("\n")[0]
    wanted = str(folder / "snapshots" / "<any>" / filenames[0])
    raise _not_here(what, filenames[0], wanted, "HF_HOME", page, reason or "")


def _unreachable(url: str) -> str | None:
    """The reason why a server cannot be reached, within seconds; None if it answers, even with an error."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else f"no network: {error.reason}"
    except OSError as error:
        return f"no network: {error}"
    return None


def _not_here(what: str, filename: str, path: str, variable: str, url: str, reason: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"backbone.weights: the weights of {what} are not on this machine and cannot be downloaded ({reason}): "
        f"{filename} from {url}; expected at {path} ({variable} sets that folder). Without a network: "
        "backbone=efficientnet_lite0, whose ImageNet weights were installed with transferkit; put the file there; "
        "backbone.weights=/path/to/file; backbone.weights=null (random); for small drawings, backbone=resnet_glyphs."
    )
