"""The demo as a browser meets it: the page, a picture, and requests that are not meant for it."""

from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from tests.conftest import Run
from tests.report.html_page import Page
from transferkit.demo import server as server_module
from transferkit.demo.server import DemoServer, NoPicture, is_local, uploaded
from transferkit.errors import TransferkitError

FORM = "multipart/form-data; boundary=EDGE"


class Reply(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


def ask(server: DemoServer, body: bytes | None = None, path: str = "/", **headers: str) -> Reply:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, given)
    answer = connection.getresponse()
    found = Reply(answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()})
    connection.close()
    return found


def form(content: bytes, name: str) -> bytes:
    head = f'--EDGE\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n'
    return f"{head}Content-Type: image/png\r\n\r\n".encode() + content + b"\r\n--EDGE--\r\n"


def test_a_picture_is_answered_as_by_predict(server: DemoServer, default_run: Run, picture: Path) -> None:
    found = ask(server, form(picture.read_bytes(), picture.name), Content_Type=FORM)
    assert found.status == 200
    (prediction,) = tk.load_model(default_run.folder).predict([picture])
    page = Page(found.text)
    rows = [row for table in page.tables.values() for row in table]
    assert prediction.label == "3"
    assert [name for name, _ in rows] == [str(i) for i in np.argsort(-prediction.probabilities, kind="stable")]
    shown = [float(value.split("\u202f")[0]) for _, value in rows]
    np.testing.assert_allclose(shown, np.sort(100 * prediction.probabilities)[::-1], atol=0.051)
    assert "drei & ü.png" in page.text
    assert "like the training images" in page.text
    assert "No heat map: the feature map of stage5 has 1 row" in page.text
    assert sum(value.startswith("Training image, a ") for value in page.values("img", "alt")) == 5


def test_the_page_asks_for_a_picture_and_loads_nothing(server: DemoServer) -> None:
    found = ask(server)
    page = Page(found.text)
    assert found.status == 200
    assert "linear_probe" in page.text
    assert ("input", "type", "file") in page.attributes
    assert not [value for _, name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
    assert "default-src 'none'" in found.text
    assert found.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (form(b"no picture", "a.jpg"), FORM, "cannot read image a.jpg: not an image"),
        (form(b"", ""), FORM, "Choose a picture first"),
        (b"x=1", "application/x-www-form-urlencoded", "Choose a picture first"),
        (b"\xff\x00", "multipart/form-data", "Choose a picture first"),
        (form(b"x", "<script>alert(1)</script>.jpg"), FORM, "&lt;script&gt;alert(1)"),
    ],
)
def test_what_is_no_picture_gets_a_message(server: DemoServer, body: bytes, kind: str, told: str) -> None:
    found = ask(server, body, Content_Type=kind)
    assert found.status == 400
    assert told in found.text
    assert "<script>alert" not in found.text


def test_requests_of_other_sites_are_refused(server: DemoServer, picture: Path) -> None:
    body = form(picture.read_bytes(), "a.png")
    assert ask(server, Host="evil.example").status == 403
    assert ask(server, body, Content_Type=FORM, Origin="http://evil.example").status == 403
    assert ask(server, body, Content_Type=FORM, Origin=server.address.rstrip("/")).status == 200
    assert ask(server, path="/../etc/passwd").status == 404
    assert ask(server, path="/favicon.ico").status == 204


def test_a_large_file_is_not_read(server: DemoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_BYTES", 10)
    assert "more than 0 MB" in ask(server, form(b"x" * 100, "a.png"), Content_Type=FORM).text


def test_the_content_of_a_form_arrives_byte_by_byte() -> None:
    odd = [b"\r\n\r\n", b"ends with a line\r\n", b"--EDG\r\n\n\r--", b"\x0b\x0c\x85\x1c"]
    for content in [bytes(range(256)) * 5, *odd]:
        assert uploaded(FORM, form(content, "x.png")) == (content, "x.png")
    with pytest.raises(NoPicture):
        uploaded("text/plain", b"")


def test_a_port_that_is_taken_is_told(server: DemoServer) -> None:
    with pytest.raises(TransferkitError, match=r"demo\.port=\d+ cannot be opened: .*demo\.port=0 takes a free port"):
        DemoServer("127.0.0.1", server.server_address[1], server.site)


def test_what_is_local() -> None:
    assert [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org", "")] == [
        *(True, True, True, False, False, False)
    ]


def test_an_image_with_transparency_and_rotation_is_decoded(server: DemoServer, tmp_path: Path) -> None:
    Image.new("RGBA", (30, 20), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert ask(server, form((tmp_path / "a.png").read_bytes(), "a.png"), Content_Type=FORM).status == 200
