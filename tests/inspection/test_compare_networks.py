"""Networks beside each other: published accuracy, counts, one figure."""

import csv
from pathlib import Path

import pytest

from tests.conftest import compose_settings
from transferkit.backbones.imagenet_accuracy import published_accuracy, timm_table
from transferkit.cli.inspect import main
from transferkit.errors import TransferkitError
from transferkit.inspection.compare_networks import Network, Networks, compare_networks, images_per_second
from transferkit.inspection.networks_page import names_below, networks_text, render_networks


def test_published_accuracy() -> None:
    vgg = published_accuracy("torchvision", "vgg16", 224)
    assert vgg is not None
    assert (vgg.weights, vgg.size, round(vgg.top1, 2), round(vgg.top5, 2)) == ("IMAGENET1K_V1", 224, 71.59, 90.38)
    at = {size: published_accuracy("timm", "resnet50.a1_in1k", size) for size in (224, 288)}
    assert [(one.size, one.top1) for one in at.values() if one] == [(224, 80.38), (288, 81.24)]
    untagged = published_accuracy("timm", "resnet50", 224)
    assert untagged is not None
    assert untagged.weights == "a1_in1k"
    assert published_accuracy("embedded", "narrow_vgg8", 32) is None
    assert all(50 < one.top1 <= one.top5 <= 100 for rows in timm_table().values() for one in rows if one.top1 > 50)
    assert len(timm_table()) > 1000


def test_counts_of_several(tmp_path: Path) -> None:
    settings = compose_settings("finetune_few")
    settings["inspect"] |= {"compare": ["vgg16", "alexnet", "resnet_glyphs"], "speed": False}
    main(settings, tmp_path)
    with (tmp_path / "networks.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert (rows["vgg16"]["parameters"], rows["vgg16"]["top1"]) == ("138357544", "71.592")
    assert (rows["resnet_glyphs"]["top1"], rows["resnet_glyphs"]["images_per_second"]) == ("", "")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "Images a second" not in page
    settings["inspect"] |= {"compare": ["vgg61"]}
    with pytest.raises(TransferkitError, match="vgg61"):
        compare_networks(settings)


def test_names_of_close_points_do_not_overlap() -> None:
    assert names_below([(1.0, 70.0), (10.0, 80.0), (1.1, 70.1), (1.05, 60.0)]) == [False, False, True, False]
    assert names_below([]) == []


def test_speed_is_in_table_and_figure() -> None:
    settings = compose_settings("linear_probe")
    speed = images_per_second(settings["backbone"], settings)
    assert speed > 0
    one = Network("fast", (32, 32), 10_000, 2_000_000, 5_000, published_accuracy("torchvision", "alexnet", 224), speed)
    networks = Networks((one,), "cpu, fp32")
    assert f"{speed:.1f}" in networks_text(networks)
    assert "images a second on this machine" in render_networks(networks, "command")
