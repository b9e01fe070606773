import json

import pytest

from tests.features.extraction import extract, network, photographs
from transferkit.features.reuse import PACE, count_reuse, read_pace, write_pace
from transferkit.features.store import FeatureCache


def test_what_others_computed_is_counted_with_its_time_and_only_once(cache: FeatureCache) -> None:
    backbone = network()
    first = count_reuse()
    extract(backbone, photographs(6), ["stage2"], cache=cache)
    extract(backbone, photographs(6), ["stage2"], cache=cache)
    assert first.facts() == {"images": 0, "seconds": 0.0}  # found by the same job that had computed them
    (path,) = cache.root.rglob(PACE)
    path.write_text(json.dumps({"seconds": 0.5, "images": 6}))
    second = count_reuse()
    for _ in range(2):
        extract(backbone, photographs(9), ["stage2"], cache=FeatureCache(cache.root))
    assert second.facts() == {"images": 6, "seconds": 3.0}


def test_an_entry_that_does_not_say_its_time_makes_the_cost_unknown(cache: FeatureCache) -> None:
    extract(network(), photographs(3), ["stage2"], cache=cache)
    (path,) = cache.root.rglob(PACE)
    for content in ("{", '{"seconds": -1.0, "images": 3}', '{"seconds": 1.0}', "[]"):
        path.write_text(content)
        assert read_pace(path.parent) is None
    reuse = count_reuse()
    extract(network(), photographs(3), ["stage2"], cache=FeatureCache(cache.root))
    assert reuse.facts() == {"images": 3, "seconds": None}


def test_the_time_of_the_most_images_is_kept(tmp_path) -> None:
    for seconds, images in ((10.0, 5), (3.0, 1), (8.0, 8)):
        write_pace(tmp_path, seconds, images)
        assert read_pace(tmp_path) == pytest.approx({5: 2.0, 1: 2.0, 8: 1.0}[images])
