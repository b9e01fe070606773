"""torch.export: the network as a program (`.pt2`) that torch runs without the code that built it."""

import json

import torch
from torch import Tensor

from transferkit.export.agreement import largest_difference
from transferkit.export.exported import Exported, Exporting
from transferkit.files import new_file
from transferkit.targets.target import Outputs

FILE, ABOUT = "model.pt2", "about.json"


def write_torch_program(exporting: Exporting) -> Exported:
    """Write `model.pt2`, with its description as the extra file `about.json`.

    Raises:
        TransferkitError: The network cannot be traced, or the program predicts otherwise.
    """
    path = exporting.folder / FILE
    program = exporting.program
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        written = temporary.with_suffix(".pt2")  # torch wants this ending
        try:
            torch.export.save(program, written, extra_files={ABOUT: json.dumps(exporting.about)})
            written.replace(temporary)
        finally:
            written.unlink(missing_ok=True)
    loaded = torch.export.load(path).module()

    @torch.inference_mode()
    def predict(inputs: Tensor) -> Outputs:
        found: Outputs = loaded(inputs).numpy()
        return found

    difference = largest_difference(exporting.compared, predict, str(path))
    return Exported("torch_export", path, difference, (path,), f'torch.export.load("{FILE}").module()')
