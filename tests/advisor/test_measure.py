"""Probes by depth and neighbours against scikit-learn; what a small val is judged on."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import transferkit as tk
from tests.conftest import compose_settings
from transferkit.advisor import measure as measuring
from transferkit.advisor.measure import find_neighbors, fit_probe, judging_folds, measure, sample, transfer_scores
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.probes.scaling import ShrunkScaler


def blobs(n: int = 90, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(n) % classes)
    return (rng.normal(size=(classes, 6))[labels] + 1.2 * rng.normal(size=(n, 6))).astype(np.float32), labels


def test_a_large_val_is_what_is_judged_on() -> None:
    labels = np.arange(500) % 5
    ((rows, test),) = judging_folds(labels, 300, np.arange(len(labels)), seed=0)
    np.testing.assert_array_equal(rows, np.arange(300))
    np.testing.assert_array_equal(test, np.arange(300, 500))


def test_with_a_small_val_every_image_is_judged_once_by_others() -> None:
    labels = np.arange(50) % 5
    folds = judging_folds(labels, 40, np.arange(len(labels)), seed=0)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(50))
    assert all(not set(rows) & set(test) and len(set(labels[rows])) == 5 for rows, test in folds)


def test_images_of_the_same_content_are_judged_together() -> None:
    labels, contents = np.arange(50) % 5, np.arange(50) // 10 * 5 + np.arange(50) % 5  # two of each
    for rows, test in judging_folds(labels, 40, contents, seed=0):
        assert not set(contents[rows]) & set(contents[test])
        assert len(set(labels[rows])) == 5


def test_a_class_with_a_single_image_leaves_val_as_the_judge() -> None:
    labels = np.array([0, 0, 0, 1, 0, 0])
    assert len(judging_folds(labels, 4, np.arange(len(labels)), seed=0)) == 1


def test_probes_over_folds_as_scikit_learn_has_them() -> None:
    features, labels = blobs()
    folds = judging_folds(labels, 70, np.arange(len(labels)), seed=0)
    found = fit_probe(features, labels, folds, Cs=[0.1])
    model = make_pipeline(ShrunkScaler(), LogisticRegression(C=0.1, max_iter=1000))
    assert found.val_top1 == pytest.approx(cross_val_score(model, features, labels, cv=folds).mean(), abs=0.012)


def test_the_best_C_is_taken() -> None:
    features, labels = blobs()
    folds = judging_folds(labels, 70, np.arange(len(labels)), seed=0)
    each = {C: fit_probe(features, labels, folds, Cs=[C]) for C in (1e-4, 0.1, 100.0)}
    best = fit_probe(features, labels, folds, Cs=list(each))
    assert best.val_top1 == max(probe.val_top1 for probe in each.values())
    assert best.val_top1 == each[best.C].val_top1
    assert best.C_to_use == min(each, key=lambda C: each[C].val_nll)


@pytest.mark.parametrize(("judged", "taken"), [(25, 0.1), (400, 1.0)])
def test_the_loss_decides_among_what_luck_could_have_made_the_best(
    judged: int, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C = 0.1 has the lower loss and 4 points less: within half a standard error of 25 images, not of 400."""

    class Known:
        path_ = ({"val_top1": 0.56, "val_nll": 1.0}, {"val_top1": 0.6, "val_nll": 2.0})

        def __init__(self, **_: object) -> None: ...
        def fit(self, *_: object) -> None: ...

    monkeypatch.setattr(measuring, "LinearProbe", Known)
    features, labels = np.zeros((judged, 1), np.float32), np.zeros(judged, np.int64)
    found = fit_probe(features, labels, [(np.arange(judged), np.arange(judged))], Cs=[0.1, 1.0])
    assert (found.C, found.C_to_use) == (1.0, taken)


def test_neighbours_as_scikit_learn_has_them() -> None:
    features, labels = blobs()
    folds = judging_folds(labels, 70, np.arange(len(labels)), seed=0)
    accuracies = {
        (metric, k): cross_val_score(
            KNeighborsClassifier(k, metric={"l2": "euclidean"}.get(metric, metric)), features, labels, cv=folds
        ).mean()
        for metric in ("l2", "cosine")
        for k in (1, 3, 5, 10, 20)
    }
    found = find_neighbors(features, labels, folds)
    # They settle ties in other ways, so a vote or two may differ.
    assert found.val_top1 == pytest.approx(accuracies[found.metric, found.k], abs=0.023)
    assert found.val_top1 >= max(accuracies.values()) - 0.023
    one = (np.arange(60), np.arange(60, 90))
    features[60:] = 3.0 * features[:30]  # in the direction of an image of train
    labels[60:] = labels[:30]
    found = find_neighbors(features, labels, [one])
    assert (found.metric, found.k, found.val_top1) == ("cosine", 1, 1.0)


def test_no_more_neighbours_are_tried_than_there_are() -> None:
    features, labels = blobs(8, classes=2)
    assert find_neighbors(features, labels, judging_folds(labels, 6, np.arange(len(labels)), seed=0)).k <= 5


def test_one_extraction_measures_every_stage(letters_network: Backbone, digits: ImageData) -> None:
    calls: list[tuple[int, tuple[str, ...]]] = []
    extract = make_extractor(compose_settings())

    def counted(backbone, images, stages, pool="avg"):
        calls.append((len(images), tuple(stages)))
        return extract(backbone, images, stages, pool)

    measured = measure(letters_network, digits, counted, seed=0)
    assert list(measured.probes) == list(letters_network.feature_stages)
    assert [size for size, _ in calls] == [len(digits.train), len(digits.val)]
    assert measured.judged == len(digits.train) + len(digits.val)
    assert measured.probes["stage5"].val_top1 > measured.probes["stage1"].val_top1


def test_the_source_classifier_gives_leep() -> None:
    features, labels = blobs()
    assert set(transfer_scores(features, labels, features)) == {"logme", "h_score", "leep"}
    assert set(transfer_scores(features[:5], labels[:5], None)) == {"logme"}, "no H-score with fewer rows than features"


def test_very_many_images_are_sampled_by_class(digits: ImageData) -> None:
    part = sample(digits, 30, seed=0)
    assert (len(part.train), len(part.val), len(part.test)) == (30, len(digits.val), 0)
    assert set(np.bincount(part.train.labels)) == {3}
    assert len(np.unique(sample(digits, 3, seed=0).train.labels)) == 10, "every class stays"


def test_leep_where_the_network_has_its_head() -> None:
    backbone = tk.create_backbone("resnet18", weights=None, input_size=32)
    data = tk.load_data({"kind": "digits", "name": "digits", "per_class": 3, "max_test": 10}, seed=0)
    extract = make_extractor(compose_settings())
    assert "leep" not in measure(backbone, data, extract, seed=0).scores, "random weights know nothing"
    backbone.weights_name = "something"
    assert "leep" in measure(backbone, data, extract, seed=0).scores
