import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tests.conftest import compose_settings
from tests.report.conftest import MakeResult
from tests.report.html_page import Page
from transferkit.cli.fit import main
from transferkit.errors import TransferkitError
from transferkit.report.gallery import run_gallery
from transferkit.report.image_map import place
from transferkit.report.run_page import render_report
from transferkit.report.run_result import Places


@pytest.mark.parametrize(
    ("asked", "name"),
    [("tsne", "t-SNE"), ("pca", "principal components"), pytest.param("umap", "UMAP", marks=pytest.mark.slow)],
)
def test_images_of_a_cluster_of_features_lie_beside_each_other(asked: str, name: str) -> None:
    if asked == "umap":
        pytest.importorskip("umap", reason="umap-learn is not installed (extra umap)")
    rng = np.random.default_rng(0)
    cluster = np.arange(60) % 3
    features = (10 * np.eye(3, 20)[cluster] + rng.normal(size=(60, 20))).astype(np.float32)
    xy, method = place(features, asked)
    assert method == name
    near = NearestNeighbors(n_neighbors=6).fit(xy).kneighbors(xy, return_distance=False)[:, 1:]
    assert (cluster[near] == cluster[:, None]).mean() > 0.95


def test_equal_features_have_one_place() -> None:
    assert not place(np.ones((12, 5), dtype=np.float32))[0].any()


def test_principal_components_of_one_feature_have_a_place() -> None:
    xy, _ = place(np.arange(12, dtype=np.float32)[:, None], "pca")
    assert xy.shape == (12, 2)
    assert not xy[:, 1].any()


def test_umap_names_its_extra_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    settings = compose_settings("linear_probe", "report.map=umap", "dataset=folder", "dataset.root=nowhere")
    with pytest.raises(TransferkitError, match=r"pip install 'transferkit\[umap\]'; or report\.map=tsne"):
        main(settings, tmp_path)


def test_points_of_the_gallery_open_their_image(make_result: MakeResult) -> None:
    result = make_result(["<a>", "b", "c"], n=90)
    xy = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    page = Page(render_report(replace(result, places=Places(np.arange(90), xy, "t-SNE"))))
    shown = {f"#image-{card.index}" for card in run_gallery(result).cards}
    assert {href for href in page.values("a", "href") if href.startswith("#image-")} == shown
    assert page.tags.count("circle") == 90
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert {href[1:] for href in shown} <= set(ids)
