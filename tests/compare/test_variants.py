from tests.compare.conftest import MakeRun
from transferkit.compare.variants import find_variants, show_variant


def test_seeds_and_what_has_no_effect_do_not_tell_runs_apart(make_run: MakeRun) -> None:
    assert find_variants([make_run(seed=0), make_run(seed=1)]) == [{}, {}]


def test_only_keys_that_vary_are_named(make_run: MakeRun) -> None:
    runs = [make_run(strategy__C=1.0, strategy__pool="avg"), make_run(strategy__C=0.001, strategy__pool="avg")]
    assert find_variants(runs) == [{"strategy.C": 1.0}, {"strategy.C": 0.001}]
    assert [show_variant(variant) for variant in find_variants(runs)] == ["strategy.C=1", "strategy.C=0.001"]


def test_a_key_that_one_run_lacks_varies(make_run: MakeRun) -> None:
    assert find_variants([make_run(), make_run(strategy__new="max")]) == [
        {"strategy.new": "(not set)"},
        {"strategy.new": "max"},
    ]


def test_strategies_and_backbones_are_not_compared_key_by_key(make_run: MakeRun) -> None:
    runs = [make_run("x", strategy__a=1), make_run("y", strategy__b=2), make_run("x", backbone__name="vgg16")]
    runs[2].settings["strategy.a"] = 1  # type: ignore[index]
    assert find_variants(runs) == [{}, {}, {}]


def test_choices_of_a_group_differ_in_one_thing(make_run: MakeRun) -> None:
    plain = make_run()
    weak = make_run(augment__name="strong", augment__transforms={"crop": 0.5, "flip": True})
    strong = make_run(augment__name="strong", augment__transforms={"crop": 0.1, "flip": True})
    assert find_variants([plain, weak, strong]) == [
        {"augment": "light"},
        {"augment": "strong", "augment.transforms.crop": 0.5},
        {"augment": "strong", "augment.transforms.crop": 0.1},
    ]


def test_settings_of_the_data_vary_for_all_strategies(make_run: MakeRun) -> None:
    runs = [make_run("x", dataset__per_class=5), make_run("x", dataset__per_class=9), make_run("y")]
    assert find_variants(runs) == [{"dataset.per_class": n} for n in (5, 9, None)]
    assert show_variant(find_variants(runs)[0]) == ""


def test_values_are_written_as_the_command_line_takes_them() -> None:
    variant = {"a": None, "b": True, "c": [1, 2], "d": "x", "e": 1e-05}
    assert show_variant(variant) == "a=null, b=true, c=[1, 2], d=x, e=1e-05"
