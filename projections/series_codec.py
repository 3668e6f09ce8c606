"""The codec of value columns: bit exact for every float64, the smallest of a few forms.

    CONSTANT  the 8 bytes that all values share
    FLOAT32   planes of float32, when every value is one
    FLOAT64   planes of float64
    XOR       planes of each value xor its predecessor: smooth float64 curves
    DECIMAL   digits u8, then `series_ints` of value × 10**digits: rounded and whole numbers
    PLAIN     zstd over the float64s as they are: the same values again and again
    RAW       the float64s as they are: short or incompressible columns

No form is best for a kind of number as such (decimal beats float32 four to one on rounded
losses and loses four to one on accuracies of k/256), so sizes decide: the forms that a few
values do not rule out compete on a sample of the column's beginning. Whatever is chosen is
exact; a poor sample only costs bytes. NaN payloads, infinities, -0.0 and denormals are
compared as bits.

Floats are rotated left by one bit before they are cut into planes: then the exponent lies
in bytes of its own and the sign beside the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from projections.columns import Float64s, Int64s
from projections.series_ints import decode_ints, encode_ints
from projections.series_planes import pack_bytes, pack_planes, unpack_bytes, unpack_planes
from tracker.events.errors import CorruptPayload

CONSTANT: Final = 0
FLOAT32: Final = 1
FLOAT64: Final = 2
XOR: Final = 3
DECIMAL: Final = 4
PLAIN: Final = 5
RAW: Final = 6

_SAMPLE: Final = 512
_RAW_BELOW: Final = 4
_DIGITS_MAX: Final = 12
_POWERS: Final = 10.0 ** np.arange(_DIGITS_MAX + 1)
_PROBE: Final = 16
_EXACT_INTEGERS: Final = 2.0**53


def encode_values(values: Float64s) -> bytes:
    """The smallest form of a contiguous column of at least one value."""
    n = len(values)
    bits = values.view(np.uint64)
    if n == 1 or (bits == bits[0]).all():
        return bytes([CONSTANT]) + values[:1].astype("<f8").tobytes()
    if n < _RAW_BELOW:
        return _raw(values)
    floats = _float32 if is_float32(values) else _float64
    forms = [floats, *_worth_trying(values)]
    if len(forms) > 1:
        forms = _in_order_of_size(forms, values[:_SAMPLE])
    # A column may stop being decimal after the sample; the next form holds it then.
    encoded = next(encoded for form in forms if (encoded := form(values)) is not None)
    return encoded if len(encoded) <= 8 * n else _raw(values)


def decode_values(data: bytes, n: int) -> Float64s:
    """The n values that were encoded, bit for bit. Raises CorruptPayload."""
    body = memoryview(data)[1:]
    match data[0] if data else None:
        case 0 if len(body) == 8:
            return np.full(n, np.frombuffer(body, "<u8")[0], np.uint64).view(np.float64)
        case 1:
            words = unpack_planes(body, n=n, planes=4, size=4)
            return widen_float32(_rotated_right32(words).view(np.float32))
        case 2:
            return _rotated_right64(unpack_planes(body, n=n, planes=8, size=8)).view(np.float64)
        case 3:
            words = _rotated_right64(unpack_planes(body, n=n, planes=8, size=8))
            return np.bitwise_xor.accumulate(words).view(np.float64)
        case 4 if len(body) > 1:
            whole = decode_ints(bytes(body[1:]), n).astype(np.float64)
            whole /= _POWERS[min(body[0], _DIGITS_MAX)]
            return whole
        case 5:
            return np.frombuffer(unpack_bytes(body, 8 * n), "<f8").astype(np.float64, copy=False)
        case 6 if len(body) == 8 * n:
            return np.frombuffer(body, "<f8").astype(np.float64, copy=False)
        case _:
            raise CorruptPayload("a sealed value column has an unknown form or length")


def is_float32(values: Float64s) -> bool:
    """Whether every value comes back with the same bits from float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = values.astype(np.float32)
    return bool((widen_float32(single).view(np.uint64) == values.view(np.uint64)).all())


def widen_float32(single: NDArray[np.float32]) -> Float64s:
    with np.errstate(invalid="ignore"):  # a signalling NaN may raise the flag
        return single.astype(np.float64)


_Form = Callable[[Float64s], bytes | None]


def _worth_trying(values: Float64s) -> list[_Form]:
    """The forms beside the plain floats that a look at a few values does not rule out."""
    probe = values[: 4 * _PROBE]
    bits = probe.view(np.uint64)
    forms: list[_Form] = []
    if _digits_of(values[:: max(1, len(values) // _PROBE)]) is not None:
        forms.append(_decimal)
    if len(set(bits.tolist())) <= len(bits) // 2:
        forms.append(_plain)
    if np.count_nonzero((bits[1:] ^ bits[:-1]) >> np.uint64(48)) <= len(bits) // 2:
        forms.append(_xor)
    return forms


def _in_order_of_size(forms: list[_Form], sample: Float64s) -> list[_Form]:
    sizes = [(len(encoded), form) for form in forms if (encoded := form(sample)) is not None]
    return [form for _, form in sorted(sizes, key=lambda item: item[0])]


def _raw(values: Float64s) -> bytes:
    return bytes([RAW]) + values.astype("<f8", copy=False).tobytes()


def _plain(values: Float64s) -> bytes:
    return bytes([PLAIN]) + pack_bytes(values.astype("<f8", copy=False).tobytes())


def _float32(values: Float64s) -> bytes:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        words = values.astype(np.float32).view(np.uint32)
    rotated = (words << np.uint32(1)) | (words >> np.uint32(31))
    return bytes([FLOAT32]) + pack_planes(rotated, planes=4)


def _float64(values: Float64s) -> bytes:
    return bytes([FLOAT64]) + pack_planes(_rotated_left64(values.view(np.uint64)), planes=8)


def _xor(values: Float64s) -> bytes:
    words = values.view(np.uint64).copy()
    words[1:] ^= words[:-1].copy()
    return bytes([XOR]) + pack_planes(_rotated_left64(words), planes=8)


def _decimal(values: Float64s) -> bytes | None:
    """None unless some power of ten makes all values whole and gives them back exactly."""
    digits = _digits_of(values[:: max(1, len(values) // _PROBE)])
    if digits is None:
        return None
    whole = _whole(values, digits)
    if whole is None:
        return None
    return bytes([DECIMAL, digits]) + encode_ints(whole)


def _digits_of(probe: Float64s) -> int | None:
    if not np.isfinite(probe).all():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(probe[None, :] * _POWERS[:, None])
        fits = (scaled / _POWERS[:, None] == probe[None, :]).all(axis=1)
        fits &= (np.abs(scaled) < _EXACT_INTEGERS).all(axis=1)
    return int(fits.argmax()) if fits.any() else None


def _whole(values: Float64s, digits: int) -> Int64s | None:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * _POWERS[digits])
        if not (np.abs(scaled) < _EXACT_INTEGERS).all():  # NaN and infinities fail here
            return None
    back = scaled.astype(np.int64).astype(np.float64) / _POWERS[digits]
    if not (back.view(np.uint64) == values.view(np.uint64)).all():  # -0.0 fails here
        return None
    whole: Int64s = scaled.astype(np.int64)
    return whole


def _rotated_left64(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (words << np.uint64(1)) | (words >> np.uint64(63))


def _rotated_right64(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (words >> np.uint64(1)) | (words << np.uint64(63))


def _rotated_right32(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (words >> np.uint32(1)) | (words << np.uint32(31))
