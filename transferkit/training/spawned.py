"""Set-up of a training process for one of several devices: log and warnings."""

import logging
import multiprocessing
import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class SpawnedProcess(Callback):  # type: ignore[misc]
    """Passes the log files of the parent to the first of several training processes, and filters their warnings."""

    def __init__(self) -> None:
        handlers = logging.getLogger().handlers
        self._files = [handler.baseFilename for handler in handlers if isinstance(handler, logging.FileHandler)]

    def setup(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Set up a spawned process; the parent is not changed."""
        if multiprocessing.parent_process() is None:
            return
        # Otherwise each epoch's loaders would also be spawned, which is slow because they import everything.
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        if trainer.is_global_zero and not logging.getLogger().handlers:
            files = [logging.FileHandler(name, encoding="utf-8") for name in self._files]
            logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[logging.StreamHandler(), *files])
