import pytest

from transferkit.backbones.stages import CANONICAL, match_stages
from transferkit.errors import TransferkitError, unknown_name

RESNET = ("stage1", "stage2", "stage3", "stage4", "stage5", "head")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["stage5", "stage1"], ["stage1", "stage5"]),
        (["stage[45]", "head"], ["stage4", "stage5", "head"]),
        (["fc*"], []),
        (["*"], list(RESNET)),
        ([], []),
    ],
)
def test_patterns_match_in_the_order_of_the_stages(patterns, expected):
    assert match_stages(patterns, RESNET) == expected


def test_a_misspelt_stage_is_an_error_that_lists_the_valid_ones():
    with pytest.raises(TransferkitError, match=r"strategy.*'stag5'.*stage5.*stage1, stage2") as caught:
        match_stages(["stag5"], RESNET, "strategy.phases.tail.train")
    assert "\n" not in str(caught.value)


def test_a_plain_name_of_another_networks_stage_is_an_error():
    with pytest.raises(TransferkitError, match="fc7"):
        match_stages(["fc7"], RESNET)


def test_canonical_names_are_ordered_and_unique():
    assert CANONICAL[0] == "stage1"
    assert CANONICAL[-1] == "head"
    assert len(set(CANONICAL)) == len(CANONICAL)


def test_unknown_name_offers_close_matches_and_no_endless_list():
    message = unknown_name("backbone.name", "resnet81", ["resnet18", *(f"net{i}" for i in range(50))], "network")
    assert "resnet18" in message
    assert "net49" not in message
