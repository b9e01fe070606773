"""Rows in memory, and identities."""

import numpy as np
import pytest

from transferkit.choices import SHARDS
from transferkit.features.identities import ID_BYTES, shards_of, to_ids
from transferkit.features.memory_rows import MemoryRows


def test_rows_come_back_in_the_order_asked_for() -> None:
    rows, values = MemoryRows(), np.arange(12.0).reshape(6, 2)
    ids = to_ids([f"image {i}" for i in range(7)])
    rows.append(0, ids[:2], values[:2])
    rows.append(0, ids[2:6], values[2:])
    assert rows.find(ids).tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert np.array_equal(rows.gather(ids[[5, 0, 0]]), values[[5, 0, 0]])


def test_what_is_expected_is_not_copied() -> None:
    rows, ids = MemoryRows(), to_ids([f"image {i}" for i in range(6)])
    rows.expect(6)
    rows.append(0, ids[:3], np.zeros((3, 2)))
    first = rows.rows
    rows.append(0, ids[3:], np.ones((3, 2)))
    assert np.shares_memory(first, rows.gather(ids))
    assert rows.gather(ids)[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_hash_is_its_own_identity() -> None:
    digits = "00ff" * 7 + "0000"
    ids = to_ids([digits, "another name", digits])
    assert ids.dtype.itemsize == ID_BYTES
    assert ids[:1].tobytes() == bytes.fromhex(digits)
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("first", [0, 7, 8, 255])
def test_the_first_bits_decide_the_shard(first: int) -> None:
    assert shards_of(to_ids([f"{first:02x}" + "0" * 30])).tolist() == [first * SHARDS // 256]
