"""A folder in the layout of Hugging Face's hub, which `timm.create_model("local-dir:FOLDER")` loads; and its upload."""

from collections.abc import Callable
from typing import Any

from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError
from transferkit.export.agreement import largest_difference, network_predict
from transferkit.export.exported import Exported, Exporting, first_line
from transferkit.export.model_card import model_card
from transferkit.export.original_network import original_network
from transferkit.extras import import_extra
from transferkit.files import write_text

FOLDER = "hub"


def write_hub_folder(exporting: Exporting) -> Exported:
    """Write `hub/`: `config.json`, `model.safetensors` and the model card `README.md`.

    Raises:
        TransferkitError: The network is none of timm, its head is not the usual one, or timm loads something else.
    """
    import timm
    from timm.models import save_for_hf

    model = exporting.network.model
    spec = model.backbone.spec
    if not model.target.soft_max:
        raise TransferkitError(
            f"export.format=hub is for models of classes, and this one predicts {model.target.words()}, which timm's "
            "configuration of a model cannot say. export.format=onnx writes any model."
        )
    if spec.source != "timm":
        raise TransferkitError(
            f"export.format=hub is for networks of timm, and {spec.name} is one of {spec.source}. "
            "export.format=onnx writes any model, export.format=state_dict the weights of this one."
        )
    network, kwargs, _ = original_network(exporting, "hub")
    folder = exporting.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    described: Any = network
    described.pretrained_cfg = {**described.pretrained_cfg, **timm_preprocessing(model.preprocess)}
    names = {"label_names": model.class_names}
    arguments = {name: value for name, value in kwargs.items() if name != "num_classes"}
    save_for_hf(network, folder, model_config=names, model_args=arguments, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes files that only their owner reads
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    difference = largest_difference(exporting.compared, network_predict(loaded, model.target), str(folder))
    write_text(folder / "README.md", model_card(exporting))
    files = tuple(folder / name for name in ("config.json", "model.safetensors", "README.md"))
    return Exported("hub", folder, difference, files, f'timm.create_model("local-dir:{FOLDER}", pretrained=True)')


def timm_preprocessing(preprocess: Preprocessing) -> dict[str, Any]:
    """Return the preprocessing in timm's terms."""
    return {
        "input_size": (3, *preprocess.input_size),
        "interpolation": preprocess.interpolation,
        "mean": preprocess.mean,
        "std": preprocess.std,
        "crop_pct": preprocess.crop_pct,
        "crop_mode": preprocess.crop_mode,
    }


def import_hub() -> Any:
    """Return the module huggingface_hub.

    Raises:
        TransferkitError: It is not installed.
    """
    then = ", and then once: hf auth login"
    (hub,) = import_extra("export.push needs huggingface_hub", "hub", "huggingface_hub", otherwise=then)
    return hub


def push(exported: Exported, repository: str, import_module: Callable[[], Any] = import_hub) -> str:
    """Upload a folder to a repository of huggingface.co, which is made (private) if it is not there.

    Args:
        exported: The folder.
        repository: "user/name".
        import_module: Returns huggingface_hub.

    Returns:
        The address.

    Raises:
        TransferkitError: Not logged in, no permission, or no network.
    """
    try:
        api = import_module().HfApi(library_name="transferkit")
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=exported.path, commit_message="Model by transferkit")
    except TransferkitError:
        raise
    except Exception as error:
        raise TransferkitError(
            f"export.push={repository}: {first_line(error)}. The folder {exported.path} is complete: after "
            f"hf auth login, hf upload {repository} {exported.path} sends it."
        ) from error
    return str(address)
