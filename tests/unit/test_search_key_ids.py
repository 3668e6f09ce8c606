"""The ids of keys that searches keep, by build."""

from __future__ import annotations

import pytest

from projections.search import key_ids
from projections.search.key_ids import KeyIds


def test_keys_that_are_all_known_have_their_ids() -> None:
    kept = KeyIds()
    kept.keep("one", {"lr": 1, "loss": 2})
    kept.keep("one", {"team": 3})

    assert kept.of("one", {"loss", "team"}) == {"loss": 2, "team": 3}
    assert kept.of("one", set()) == {}


def test_a_key_that_is_not_known_may_exist_by_now() -> None:
    kept = KeyIds()
    kept.keep("one", {"lr": 1})

    assert kept.of("one", {"lr", "new"}) is None


def test_another_build_gives_other_ids() -> None:
    kept = KeyIds()
    kept.keep("one", {"lr": 1, "loss": 2})
    kept.keep("two", {"lr": 7})

    assert kept.of("one", {"lr"}) is None
    assert kept.of("two", {"lr"}) == {"lr": 7}
    assert kept.of("two", {"loss"}) is None


def test_not_more_than_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ids, "KEPT_MAX", 2)
    kept = KeyIds()
    kept.keep("one", {"a": 1, "b": 2})
    kept.keep("one", {"c": 3})

    assert kept.of("one", {"a"}) is None
    assert kept.of("one", {"c"}) == {"c": 3}


def test_they_are_kept_for_seconds_since_the_first_of_them() -> None:
    now = [100.0]
    kept = KeyIds(clock=lambda: now[0])
    kept.keep("one", {"a": 1})
    now[0] += key_ids.KEPT_S - 1
    kept.keep("one", {"b": 2})
    assert kept.of("one", {"a", "b"}) == {"a": 1, "b": 2}

    now[0] += 1

    assert kept.of("one", {"a"}) is None
    kept.keep("one", {"a": 3})
    assert kept.of("one", {"a"}) == {"a": 3}
    assert kept.of("one", {"b"}) is None
