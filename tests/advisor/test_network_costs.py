"""Time, parameters and memory of networks."""

import torch
from torch import nn

from tests.advisor.conftest import embedded
from transferkit.advisor.network_costs import _LiveBytes, measure_costs
from transferkit.data.imagedata import ImageData
from transferkit.features.extract import Extractor


def test_memory_is_that_of_the_tensors_that_exist_at_once():
    x = torch.ones(1000)
    with _LiveBytes() as live:
        y = x + 1
        z = y * 2
        del y
        z.add_(1)  # in place, and a view: no new memory
        view = z.view(10, 100)
        last = view + 1
        del last, view
    assert live.now == z.nbytes
    assert live.most == 2 * 4000


def test_a_deep_network_needs_no_more_activations_than_a_shallow_one():
    def most(depth: int) -> int:
        network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth))).eval()
        with torch.inference_mode(), _LiveBytes() as live:
            network(torch.zeros(1, 3, 16, 16))
        return int(live.most)

    assert most(12) == most(4)


def test_costs_of_a_network(digits: ImageData):
    backbone = embedded("resnet_glyphs")
    settings = Extractor(None, device="cpu", compile=False, progress=False)
    cost = measure_costs({"one": backbone}, digits.train, settings)["one"]
    assert cost.parameters == sum(p.numel() for p in backbone.parameters())
    assert cost.memory > 4 * cost.parameters
    assert cost.total == cost.seconds + cost.load_seconds > 0
