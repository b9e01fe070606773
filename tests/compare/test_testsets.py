from tests.compare.conftest import MakeRun
from transferkit.compare.testsets import part_by_test_set


def sizes(parts) -> list[int]:
    return sorted(len(part.runs) for part in parts)


def test_seeds_of_one_cut_belong_together(make_run: MakeRun) -> None:
    runs = [make_run(strategy, seed, test=(f"{seed}a", f"{seed}b")) for seed in (0, 1) for strategy in ("x", "y")]
    (part,) = part_by_test_set(runs)
    assert (part.dataset, part.images, len(part.runs)) == ("toys", 2, 4)


def test_another_number_of_test_images_is_another_test_set(make_run: MakeRun) -> None:
    assert sizes(part_by_test_set([make_run(), make_run(test=("a", "b"))])) == [1, 1]


def test_another_data_set_is_another_test_set(make_run: MakeRun) -> None:
    assert sizes(part_by_test_set([make_run(), make_run(dataset__name="tools")])) == [1, 1]


def test_data_that_have_changed_in_between_are_not_mixed(make_run: MakeRun) -> None:
    before, after = [make_run("x", test=("a", "b")), make_run("y", test=("a", "b"))], make_run("z", test=("a", "c"))
    assert sizes(part_by_test_set([*before, after])) == [1, 2]


def test_other_settings_with_the_same_test_images_belong_together(make_run: MakeRun) -> None:
    runs = [make_run(dataset__root="/home/a/photos"), make_run(dataset__root="photos"), make_run(dataset__per_class=5)]
    assert sizes(part_by_test_set(runs)) == [3]


def test_other_settings_with_other_test_images_do_not(make_run: MakeRun) -> None:
    assert sizes(part_by_test_set([make_run(), make_run(dataset__root="else", test=("w", "x", "y", "z"))])) == [1, 1]


def test_fewer_labelled_images_leave_the_test_set_as_it_is(make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, dataset__per_class=n, test=(f"{seed}",)) for seed in (0, 1) for n in (5, None)]
    assert sizes(part_by_test_set(runs)) == [4]
