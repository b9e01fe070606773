"""A small HTTP server of one page: GET shows it, POST with a picture answers.

gradio, which is made for such pages, excludes Pillow 13 (as of gradio 6.31), below which decoding is not safe
(CVE-2026-96639): pip would install a gradio of 2023.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import Lock
from urllib.parse import urlsplit

from transferkit.errors import TransferkitError, shown_text

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024**2
"""Of a picture; the decoder has limits of its own (`data.images`)."""
SECONDS = 60
"""For a connection that says nothing."""


class NoPicture(Exception):
    """The request brings no picture: the message says why."""


@dataclass(frozen=True)
class Site:
    """The pages that are served.

    Attributes:
        page: Returns the page at the start.
        answer: Returns the page for a picture: its content and the name of its file.
        failure: Returns the page for a message about one that cannot be read.
    """

    page: Callable[[], str]
    answer: Callable[[bytes, str], str]
    failure: Callable[[str], str]


class DemoServer(ThreadingHTTPServer):
    """Serves a `Site`; one picture is predicted at a time."""

    daemon_threads = True

    def __init__(self, host: str, port: int, site: Site) -> None:
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise TransferkitError(
                f"demo.host={host} demo.port={port} cannot be opened: {error}. demo.port=0 takes a free port."
            ) from error
        self.site, self.busy, self.host = site, Lock(), host

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{self.host}:{self.server_address[1]}/"

    def allows(self, name: str) -> bool:
        """Whether a request to a host of this name is meant for this server.

        A page of a foreign site can have its name resolved to this computer (DNS rebinding), and would read answers.
        """
        return not is_local(self.host) or is_local(urlsplit(f"//{name}").hostname or "")


def is_local(host: str) -> bool:
    """Whether a name or address is that of this computer alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def uploaded(content_type: str, body: bytes) -> tuple[bytes, str]:
    """Return the content and the file name of the picture in a form.

    Raises:
        NoPicture: The form has none.
    """
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body
    )
    for part in message.iter_parts() if message.is_multipart() else ():
        content = part.get_payload(decode=True)
        if part.get_filename() and isinstance(content, bytes) and content:
            return content, shown_text(str(part.get_filename()))
    raise NoPicture("Choose a picture first.")


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: DemoServer
    timeout = SECONDS
    server_version, sys_version = "transferkit", ""

    def do_GET(self) -> None:
        """Show the page."""
        if not self._is_meant():
            return
        if urlsplit(self.path).path == "/":
            self._send(HTTPStatus.OK, self.server.site.page())
        else:
            self._send(HTTPStatus.NO_CONTENT if self.path == "/favicon.ico" else HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Answer for a picture."""
        if not self._is_meant():
            return
        try:
            content, name = uploaded(self.headers.get("Content-Type", ""), self._body())
            with self.server.busy:
                page = self.server.site.answer(content, name)
        except (NoPicture, TransferkitError) as error:
            self._send(HTTPStatus.BAD_REQUEST, self.server.site.failure(str(error)))
        except Exception:
            log.exception("A picture could not be predicted.")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, self.server.site.failure("That failed: see the terminal."))
        else:
            self._send(HTTPStatus.OK, page)

    def _is_meant(self) -> bool:
        """Whether the request came from a page of this server; it is refused otherwise."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if self.server.allows(host) and (origin is None or urlsplit(origin).netloc == host):
            return True
        self._send(HTTPStatus.FORBIDDEN)
        return False

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise NoPicture("The request has no length.")
        if int(length) > MOST_BYTES:
            self.close_connection = True
            raise NoPicture(f"The file has more than {MOST_BYTES // 1024**2} MB.")
        return self.rfile.read(int(length))

    def _send(self, status: HTTPStatus, page: str = "") -> None:
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        if body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of single requests on the screen."""
        log.debug(format, *args)
