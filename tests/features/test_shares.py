"""A share of the features, and what is refused."""

from typing import Any

import pytest

from transferkit.errors import TransferkitError
from transferkit.features.identities import SHARDS
from transferkit.features.shares import find_share, parse_share


@pytest.mark.parametrize("n", [1, 3, 4, SHARDS])
def test_the_shares_are_everything_once(n: int) -> None:
    shares = [list(parse_share(f"{i}/{n}")) for i in range(1, n + 1)]
    assert sorted(shard for share in shares for shard in share) == list(range(SHARDS))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/33", "1", "a/b", "1/4/2", "-1/4", "1/0", "0.25"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(TransferkitError, match=r"extract\.shard=.*i/n"):
        parse_share(text)


def test_shares_meet_in_the_cache() -> None:
    settings: dict[str, Any] = {"extract": {"shard": "1/2"}, "cache": {"enabled": False}}
    with pytest.raises(TransferkitError, match=r"cache\.enabled=false"):
        find_share(settings)
    assert find_share({"cache": {"enabled": False}}) is None
