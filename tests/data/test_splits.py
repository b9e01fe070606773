"""Splits against hand-computed counts and scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from transferkit.arrays import Labels
from transferkit.data.splits import Part, SplitOptions, make_splits
from transferkit.data.stratify import apportion
from transferkit.errors import TransferkitError

NAMES = ["a", "b", "c", "d"]
SIZES = (50, 30, 15, 5)


def labelled(*sizes: int) -> Labels:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(7).permutation(labels)


def counts(labels: dict[str, Labels], part: Part) -> list[int]:
    source, rows = part
    return [int((labels[source][rows] == label).sum()) for label in range(4)]


def test_nothing_given_cuts_both_in_proportion():
    labels = {"train": labelled(*SIZES)}
    splits = make_splits(labels, NAMES, SplitOptions(), seed=0)
    assert counts(labels, splits.test) == [10, 6, 3, 1]
    assert counts(labels, splits.val) == [10, 6, 3, 1]
    assert counts(labels, splits.train) == [30, 18, 9, 3]
    together = np.concatenate([splits.train[1], splits.val[1], splits.test[1]])
    assert sorted(together) == list(range(100))
    assert splits.note == (
        "no split given, 20 % cut out for test, 20 % cut out for val (stratified, seed 0): 60 train, 20 val, 20 test"
    )


@pytest.mark.parametrize("sizes", [(50, 30, 15, 5), (178, 182, 177, 183), (7, 8, 9, 100)])
def test_class_counts_agree_with_scikit_learn(sizes):
    labels = {"train": labelled(*sizes)}
    splits = make_splits(labels, NAMES, SplitOptions(), seed=3)
    total = len(labels["train"])
    _, theirs = train_test_split(
        labels["train"], test_size=round(0.2 * total), stratify=labels["train"], random_state=0
    )
    ours = counts(labels, splits.test)
    assert sum(ours) == len(theirs)
    assert np.abs(np.array(ours) - np.bincount(theirs, minlength=4)).max() <= 1  # equal but for ties


def test_train_and_val_only_reports_val_as_test():
    labels = {"train": labelled(*SIZES), "val": labelled(3, 3, 3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(), seed=0)
    assert splits.test[0] == "val"
    assert splits.test[1].tolist() == list(range(12))
    assert counts(labels, splits.val) == [10, 6, 3, 1]
    assert splits.val[0] == splits.train[0] == "train"
    assert "val as given is reported as test" in splits.note


def test_train_and_test_only_cuts_val_from_train():
    labels = {"train": labelled(*SIZES), "test": labelled(3, 3, 3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(val_fraction=0.4), seed=0)
    assert splits.test[0] == "test"
    assert counts(labels, splits.val) == [20, 12, 6, 2]


def test_all_given_is_kept_as_it_is():
    labels = {"train": labelled(*SIZES), "val": labelled(2, 2, 2, 2), "test": labelled(3, 3, 3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(), seed=0)
    for split in ("train", "val", "test"):
        source, rows = getattr(splits, split)
        assert source == split
        assert rows.tolist() == list(range(len(labels[split])))
    assert splits.note == "train, val and test as given: 100 train, 8 val, 12 test"


def test_seed_decides_cuts_but_never_a_given_test_split():
    labels = {"train": labelled(*SIZES), "test": labelled(30, 30, 30, 30)}
    options = SplitOptions(max_test=40)
    first, again, other = (make_splits(labels, NAMES, options, seed) for seed in (0, 0, 1))
    assert first.val[1].tolist() == again.val[1].tolist()
    assert first.val[1].tolist() != other.val[1].tolist()
    assert first.test[1].tolist() == other.test[1].tolist()
    assert counts(labels, first.test) == [10, 10, 10, 10]
    assert "test reduced from 120 to 40" in first.note


def test_test_cut_does_not_depend_on_how_much_is_used_for_training():
    labels = {"train": labelled(*SIZES)}
    whole, few, part = (
        make_splits(labels, NAMES, options, seed=0)
        for options in (SplitOptions(), SplitOptions(per_class=3), SplitOptions(fraction=0.5))
    )
    assert whole.test[1].tolist() == few.test[1].tolist() == part.test[1].tolist()


@pytest.mark.parametrize(("wanted", "val"), [(2, 1), (3, 1), (5, 1), (8, 2), (10, 2), (15, 3)])
def test_per_class_counts_train_and_val_together(wanted, val):
    labels = {"train": labelled(50, 30, 20, 20), "test": labelled(1, 1, 1, 1)}
    splits = make_splits(labels, NAMES, SplitOptions(per_class=wanted), seed=0)
    assert counts(labels, splits.val) == [val] * 4
    assert counts(labels, splits.train) == [wanted - val] * 4
    assert not set(splits.val[1]) & set(splits.train[1])


def test_per_class_leaves_a_given_val_split_unused():
    labels = {"train": labelled(9, 9, 9, 9), "val": labelled(9, 9, 9, 9), "test": labelled(1, 1, 1, 1)}
    splits = make_splits(labels, NAMES, SplitOptions(per_class=4), seed=0)
    assert splits.val[0] == "train"
    assert len(splits.val[1]) + len(splits.train[1]) == 16


def test_smaller_per_class_samples_are_part_of_larger_ones():
    labels = {"train": labelled(50, 30, 20, 20)}
    small, large = (
        {*splits.train[1], *splits.val[1]}
        for splits in (make_splits(labels, NAMES, SplitOptions(per_class=n), seed=5) for n in (4, 10))
    )
    assert small < large


def test_per_class_error_names_the_classes_that_have_fewer():
    labels = {"train": labelled(50, 30, 15, 5), "val": labelled(9, 9, 9, 9), "test": labelled(1, 1, 1, 1)}
    with pytest.raises(TransferkitError) as caught:
        make_splits(labels, NAMES, SplitOptions(per_class=20), seed=0)
    message = str(caught.value)
    assert "dataset.per_class=20" in message
    assert "c (15), d (5)" in message
    assert "given val split is not used" in message
    assert "to 5 or less" in message


def test_fraction_is_a_stratified_part_of_train_and_val():
    labels = {"train": labelled(50, 30, 15, 5), "val": labelled(10, 10, 10, 10), "test": labelled(3, 3, 3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(fraction=0.2), seed=0)
    assert counts(labels, splits.train) == [10, 6, 3, 1]
    assert counts(labels, splits.val) == [2, 2, 2, 2]
    assert counts(labels, splits.test) == [3, 3, 3, 3]
    assert "20 % of train and val" in splits.note


def test_fraction_keeps_every_class_in_train():
    labels = {"train": labelled(500, 10, 2, 1), "test": labelled(1, 1, 1, 1)}
    splits = make_splits(labels, NAMES, SplitOptions(fraction=0.05), seed=0)
    assert min(counts(labels, splits.train)) == 1


def test_fraction_applies_to_a_val_that_is_cut():
    labels = {"train": labelled(100, 100, 100, 100)}
    splits = make_splits(labels, NAMES, SplitOptions(fraction=0.5), seed=0)
    assert counts(labels, splits.test) == [20] * 4
    assert counts(labels, splits.val) == [10] * 4
    assert counts(labels, splits.train) == [30] * 4


def test_a_class_of_one_image_stays_in_train():
    labels = {"train": labelled(1, 20, 20, 20)}
    for seed in range(10):
        splits = make_splits(labels, NAMES, SplitOptions(), seed)
        assert counts(labels, splits.train)[0] == 1


def test_every_class_keeps_a_train_image_when_val_is_cut():
    labels = {"train": labelled(1, 1, 1, 40), "test": labelled(1, 1, 1, 1)}
    splits = make_splits(labels, NAMES, SplitOptions(val_fraction=0.5), seed=0)
    assert counts(labels, splits.train) == [1, 1, 1, 18]


def test_small_sets_give_one_image_each_rather_than_none():
    labels = {"train": labelled(3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(val_fraction=0.05, test_fraction=0.05), seed=0)
    assert (len(splits.train[1]), len(splits.val[1]), len(splits.test[1])) == (4, 1, 1)


def test_too_few_images_to_cut_anything():
    with pytest.raises(TransferkitError, match=r"no image can be set aside for test.*each class must keep one"):
        make_splits({"train": labelled(1, 1, 1, 1)}, NAMES, SplitOptions(), seed=0)


def test_max_test_above_the_size_changes_nothing():
    labels = {"train": labelled(*SIZES), "test": labelled(3, 3, 3, 3)}
    splits = make_splits(labels, NAMES, SplitOptions(max_test=500), seed=0)
    assert len(splits.test[1]) == 12
    assert "reduced" not in splits.note


def test_max_test_may_leave_small_classes_out():
    labels = {"train": labelled(*SIZES), "test": labelled(97, 1, 1, 1)}
    splits = make_splits(labels, NAMES, SplitOptions(max_test=10), seed=0)
    assert len(splits.test[1]) == 10


@pytest.mark.parametrize(
    ("sizes", "total", "most", "expected"),
    [
        ([50, 30, 20], 10, [50, 30, 20], [5, 3, 2]),
        ([5, 3, 2], 3, [5, 3, 2], [1, 1, 1]),  # quotas 1.5, 0.9, 0.6
        ([10, 1, 1], 6, [9, 0, 0], [6, 0, 0]),  # the small classes may give nothing
        ([1, 1, 1], 5, [1, 1, 1], [1, 1, 1]),  # more than there is
        ([4, 4, 4], 4, [4, 4, 4], [1, 2, 1]),  # a tie: the second comes first
    ],
)
def test_largest_remainders(sizes, total, most, expected):
    shares = apportion(np.array(sizes), total, np.array(most), np.array([2, 0, 1]))
    assert shares.tolist() == expected
