"""Rendering of templates to HTML pages.

A page extends `page.html.j2`, which gives it the look and the only script that it may run: `page.js`, allowed by its
hash, so that a script that a name of a file or a class brings along does not run even if it were not escaped.
"""

from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from transferkit import __version__
from transferkit.report.facts import duration, percent, plain, plural, show_score

FILTERS = {"percent": percent, "score": show_score, "duration": duration, "plain": plain, "plural": plural}


def render(template: str, content: dict[str, Any], package: str = "report", **filters: Any) -> str:
    """Return the page of a template.

    Args:
        template: Its file name.
        content: Its variables except the time, the version and the script.
        package: The sub-package of the template; templates of `report` can be included.
        filters: Additional filters.
    """
    folders = dict.fromkeys([package, "report"])
    env = Environment(
        loader=ChoiceLoader([PackageLoader("transferkit", folder) for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= FILTERS | filters
    script = files("transferkit.report").joinpath("page.js").read_text(encoding="utf-8")
    common = {
        "time": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": __version__,
        "script": Markup(script),
        "script_hash": f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
    }
    page = env.get_template(template).render(common | content)
    # File names that are not valid UTF-8 contain lone surrogates, which are not valid in a page.
    return page.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
