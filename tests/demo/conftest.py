from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

import transferkit as tk
from tests.conftest import Run
from transferkit.cli.demo import make_site
from transferkit.demo.server import DemoServer


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test image of the digits, a 3."""
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    index = data.test.labels.tolist().index(3)
    path = tmp_path_factory.mktemp("picture") / "drei & ü.png"
    data.test.image(index).resize((64, 64), Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture(scope="module")
def server(default_run: Run) -> Iterator[DemoServer]:
    """The page of the default run, at a free port."""
    with DemoServer("127.0.0.1", 0, make_site(default_run.folder)) as opened:
        thread = Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join(10)
