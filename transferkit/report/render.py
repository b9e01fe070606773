"""Rendering of templates to HTML pages."""

from datetime import datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from transferkit.report.facts import duration, percent, plain, plural, show_score

FILTERS = {"percent": percent, "score": show_score, "duration": duration, "plain": plain, "plural": plural}


def render(template: str, content: dict[str, Any], package: str = "report", **filters: Any) -> str:
    """Return the page of a template.

    Args:
        template: Its file name.
        content: Its variables except the time.
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
    page = env.get_template(template).render(**content, time=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"))
    # File names that are not valid UTF-8 contain lone surrogates, which are not valid in a page.
    return page.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
