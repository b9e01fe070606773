"""YAML of others is plain data: nothing resolved, nothing built, nothing large."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from transferkit.plain_yaml import read_texts, read_yaml
from transferkit.untrusted import UnreadableFile

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))


def test_what_omegaconf_writes_comes_back(tmp_path: Path) -> None:
    content = {
        "a": {"b": [1, 2.5, None, True, "1e-3", "yes", "2024-01-01"], "lr": 1e-5, "é": "${oc.env:HOME}"},
        "e": {},
    }
    OmegaConf.save(OmegaConf.create(content), tmp_path / "c.yaml")
    assert read_yaml(tmp_path / "c.yaml") == content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a: !!set {b, c}", "tag"),
        (LAUGHS, "anchors and aliases"),
        ("a: &b [*b]", "anchors and aliases"),
        (5000 * "[", "nested too deeply"),
        ("a: " + 60 * "[" + 60 * "]", "nested too deeply"),
        ("a: .nan", "finite"),
        ("a: 1\na: 2", "twice"),
        ("? [1]\n: 2", "key"),
        ("[1]", "a mapping is wanted"),
        ("a: [", "damaged"),
        ("#" * (1 << 21), "far more"),
    ],
)
def test_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(UnreadableFile, match=told):
        read_yaml(tmp_path / "c.yaml")


def test_a_list_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text("- dataset=digits\n- seed=1\n")
    assert read_texts(path) == ["dataset=digits", "seed=1"]
    for wrong in ("a: 1\n", "- 1\n", "- &a x\n- *a\n"):
        path.write_text(wrong)
        with pytest.raises(UnreadableFile):
            read_texts(path)
