"""The test protocols by the name that the configuration gives them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import Extract
from transferkit.models.center_crop import center_probabilities
from transferkit.models.transfer_model import TransferModel

Protocol = Callable[[TransferModel, ImageSet, Extract], npt.NDArray[np.float32]]

PROTOCOLS: dict[str, Protocol] = {"center": center_probabilities}


def get_protocol(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
        TransferkitError: there is none; the message lists those there are.
    """
    if name not in PROTOCOLS:
        raise TransferkitError(f"protocol.name={name} is not known; the protocols are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
