"""Images in files and in arrays behave alike."""

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from transferkit.data.check_files import content_id
from transferkit.data.images import UnreadableImage, decode
from transferkit.data.imageset import ImageSet


@pytest.fixture
def files(make_image):
    return [make_image(f"{i}.png") for i in range(6)]


def colours() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)


def first_item(batch: list[Any]) -> Any:
    return batch[0]


def test_files_are_decoded_with_their_labels(files):
    images = ImageSet.from_files(files, [0, 1, 0, 1, 0, 1])
    assert len(images) == 6
    image, label = images[3]
    assert label == 1
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(files[3])))
    assert images.names[3] == str(files[3])
    assert images.content(3) == files[3].read_bytes()
    assert images.in_files


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 3)])
def test_arrays_are_images_with_their_labels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = ImageSet.from_arrays(pixels, range(5))
    image, label = images[2]
    assert label == 2
    assert np.array_equal(np.asarray(image), np.broadcast_to(pixels[2].reshape(4, 3, -1), (4, 3, 3)))
    assert np.array_equal(np.asarray(decode(images.content(2))), np.asarray(image))  # a PGM or PPM file
    assert images.names == ["0", "1", "2", "3", "4"]
    assert not images.in_files


def test_arrays_of_other_types_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        ImageSet.from_arrays(np.zeros((2, 4, 4)), [0, 1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 images but labels"):
        ImageSet.from_arrays(np.zeros((2, 4, 4), dtype=np.uint8), [0, 1, 2])


def test_ids_follow_content_not_place(files, tmp_path):
    twin = tmp_path / "elsewhere.png"
    twin.write_bytes(files[0].read_bytes())
    ids = ImageSet.from_files([*files, twin], [0] * 7).ids()
    assert ids[0] == ids[6] == content_id(files[0].read_bytes())
    assert len(set(ids)) == 6


def test_ids_of_arrays_know_the_shape():
    flat = np.zeros((1, 2, 8), dtype=np.uint8)
    ids = {ImageSet.from_arrays(a, [0]).ids()[0] for a in (flat, flat.reshape(1, 8, 2), flat.reshape(1, 4, 4))}
    assert len(ids) == 3


def test_ids_are_computed_once_and_shared_with_subsets(files):
    images = ImageSet.from_files(files, range(6))
    assert images.unreadable() == []
    for path in files:
        path.unlink()
    assert len(set(images.subset([4, 2]).ids())) == 2
    assert images.subset([4, 2]).ids() == [images.ids()[4], images.ids()[2]]


def test_subset_of_a_subset(files):
    images = ImageSet.from_files(files, range(6)).subset([5, 3, 1]).subset([2, 0])
    assert images.labels.tolist() == [1, 5]
    assert images.names == [str(files[1]), str(files[5])]


def test_progress_reaches_the_end(files):
    seen: list[int] = []
    ImageSet.from_files(files * 20, [0] * 120).ids(seen.append)
    assert sum(seen) == 120
    assert len(seen) > 1


def test_a_pickled_file_set_holds_no_pixels(tmp_path):
    path = tmp_path / "a.bmp"
    Image.new("RGB", (500, 500)).save(path)
    images = ImageSet.from_files([path], [3])
    assert images[0][0].size == (500, 500)
    stored = pickle.dumps(images)
    assert len(stored) < 2000
    assert pickle.loads(stored)[0][1] == 3


def test_unreadable_lists_index_and_reason(files):
    files[1].write_bytes(b"")
    files[4].write_bytes(b"text")
    bad = ImageSet.from_files(files, range(6)).unreadable()
    assert [index for index, _ in bad] == [1, 4]
    assert "empty" in bad[0][1]
    assert ImageSet.from_arrays(colours(), range(5)).unreadable() == []


def test_an_image_that_vanished_is_named(files):
    images = ImageSet.from_files(files, range(6))
    files[2].unlink()
    for look in (images.image, images.content):
        with pytest.raises(UnreadableImage, match=r"2\.png.*no such file"):
            look(2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_data_loader_takes_it(files, workers):
    images = ImageSet.from_files(files, range(6))
    loader = DataLoader(images, batch_size=1, collate_fn=first_item, num_workers=workers)  # type: ignore[arg-type, var-annotated]
    assert [label for _, label in loader] == list(range(6))


def test_relabel_keeps_images():
    images = ImageSet.from_arrays(colours(), range(5)).relabel([4, 3, 2, 1, 0])
    assert images[0][1] == 4
