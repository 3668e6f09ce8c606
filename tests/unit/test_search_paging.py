from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.search.errors import InvalidQuery
from projections.search.paging import Cursor, _check, decode_token, encode_token, fingerprint

_values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)


@given(st.lists(_values, max_size=6), st.integers(0, 2**60))
def test_a_token_gives_its_values_back_exactly(values: list[object], now_us: int) -> None:
    cursor = Cursor(tuple(values), now_us)  # type: ignore[arg-type]  # hypothesis' union

    found = decode_token(encode_token(cursor, "s"), "s", columns=len(values))

    assert repr(found) == repr(cursor)


def test_a_token_of_another_search_is_refused() -> None:
    token = encode_token(Cursor((1,), 0), fingerprint("a"))

    with pytest.raises(InvalidQuery, match="belongs to another search"):
        decode_token(token, fingerprint("b"), columns=1)
    with pytest.raises(InvalidQuery, match="belongs to another search"):
        decode_token(token, fingerprint("a"), columns=2)


@pytest.mark.parametrize("token", ["x", "é", "====", "AAAA", "\ud800", "A" * 70_000, "%00"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidQuery, match="page token"):
        decode_token(token, "s", columns=1)


@given(st.integers(0, 30), st.integers(1, 255))
def test_a_flipped_bit_is_found(at: int, mask: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(encode_token(Cursor((1, "abc"), 0), "s") + "=="))
    data[at % len(data)] ^= mask
    token = base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    with pytest.raises(InvalidQuery):
        decode_token(token, "s", columns=2)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "7",
        '[1,"s",0]',
        '[1,"s",0,[{}]]',
        '[1,"s",0,[[1]]]',
        '[1,"s",0,[99999999999999999999]]',
        '[1,"s",0,["\\ud800"]]',
        '[1,"s","x",[1]]',
        '[1,"s",1e999,[1]]',
        "[" * 9_000,
    ],
)
def test_a_forged_token_is_refused_not_followed(body: str) -> None:
    data = _check(body.encode()) + body.encode()

    with pytest.raises(InvalidQuery):
        decode_token(base64.urlsafe_b64encode(data).decode().rstrip("="), "s", columns=1)
