"""The page of the configuration has every key, with its values, default and meaning."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from docs_build.configuration_keys import Key, sections
from docs_build.configuration_page import PLACE, with_keys
from tests.conftest import REPOSITORY
from transferkit.config.job_keys import Cache
from transferkit.config.schema import BY_KEY, CACHE, ONE_MODEL, Job
from transferkit.config.strategy_keys import STRATEGIES

CONF = REPOSITORY / "conf"


@pytest.fixture(scope="module")
def keys() -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for section in sections():
        for key in section.keys:
            found.setdefault(key.name, []).append(key)
    return found


def fields(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The keys of a model and of the models inside it, read from the annotations."""
    for name, field in model.model_fields.items():
        nodes = [one for one in (field.annotation, *nested(field.annotation)) if is_model(one)]
        if not nodes:
            yield f"{prefix}{name}"
        for node in nodes:
            free = "NAME." if f"{prefix}{name}" == "strategy.phases" else ""
            yield from fields(node, f"{prefix}{name}.{free}")


def nested(annotation: Any) -> Iterator[Any]:
    for one in get_args(annotation):
        yield one
        yield from nested(one)


def is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


MODELS = [
    *((model, f"{group}.") for group, model in ONE_MODEL.items()),
    *((model, f"{group}.") for group, (_, models) in BY_KEY.items() for model in models.values()),
    *((model, "strategy.") for model in STRATEGIES.values()),
    *((model, "cache.") for model in (Cache, *CACHE.values())),
    (Job, ""),
]


@pytest.mark.parametrize(("model", "prefix"), MODELS, ids=lambda one: getattr(one, "__name__", one))
def test_every_key_of_the_schema_has_a_row(model: type[BaseModel], prefix: str, keys: dict[str, list[Key]]) -> None:
    assert [name for name in fields(model, prefix) if name not in keys] == []


def test_every_row_says_values_and_meaning(keys: dict[str, list[Key]]) -> None:
    assert [key.name for rows in keys.values() for key in rows if not key.allowed] == []
    assert [key.name for rows in keys.values() for key in rows if not key.meaning] == [], "a comment beside it in conf/"
    below = [key.name for rows in keys.values() for key in rows if not key.default]
    assert all(any(other.startswith(f"{name}.") for other in keys) for name in below)


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("trainer.batch_size", "a whole number from 1 to 65536", "`64`"),
        ("trainer.num_workers", "auto, or a whole number from 0 to 256", "`auto`"),
        ("strategy.auto.share", "a number above 0, at most 0.5", "`0.25`"),
        ("optimizer.lr", "null, or a number above 0, at most 100", "differs by choice"),
        ("strategy.batch_norm", "running or batch", "`running`; from_scratch: `batch`; retrain: `batch`"),
        ("dataset.file", "a CSV file with the columns path, label and optionally split", "must be given"),
        ("cache.max_gb", "a number above 0, at most 1e+06", "`20`"),
    ],
)
def test_values_and_defaults(name: str, values: str, default: str, keys: dict[str, list[Key]]) -> None:
    assert [(key.allowed, key.default) for key in keys[name]] == [(values, default)]


def test_a_meaning_is_the_comment_in_the_file(keys: dict[str, list[Key]]) -> None:
    (seed,) = keys["seed"]
    assert f"seed: 0 # {seed.meaning}\n" in (CONF / "config.yaml").read_text(encoding="utf-8")


def test_the_page_has_a_table_row_for_each_key(keys: dict[str, list[Key]]) -> None:
    page = with_keys((REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8"))
    assert PLACE not in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {re.findall(r"`([^`]+)`", row)[0] for row in rows} == set(keys)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
