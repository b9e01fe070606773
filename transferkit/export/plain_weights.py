"""The weights alone, under the original network's names, classifier included."""

from safetensors.torch import save_file

from transferkit.export.description import as_text
from transferkit.export.exported import Exported, Exporting
from transferkit.export.original_network import original_network
from transferkit.files import new_file

FILE = "state_dict.safetensors"
BUILDERS = {"timm": "timm.create_model", "torchvision": "torchvision.models.get_model"}


def write_plain_weights(exporting: Exporting) -> Exported:
    """Write `state_dict.safetensors`, which the original network with the new number of classes loads.

    Raises:
        TransferkitError: The model's head is not the original network's.
    """
    network, kwargs, difference = original_network(exporting, "state_dict")
    path = exporting.folder / FILE
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        save_file(tensors, temporary, metadata=as_text(exporting.about))
        temporary.chmod(0o644)  # safetensors makes files that only their owner reads
    spec = exporting.network.model.backbone.spec
    builder = BUILDERS.get(spec.source)
    given = [f"{name}={value!r}" for name, value in kwargs.items()]
    built = f"{builder}({', '.join([repr(spec.name), *given])})" if builder else f"{spec.name}({', '.join(given)})"
    use = f"{built}.load_state_dict(...)"
    return Exported("state_dict", path, difference, (path,), use)
