"""Images and figures as the bytes of a file."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tracker.events.errors import InvalidEvent
from tracker.values import step_value


def path_of(
    artifact_file: str | None, *, key: str | None, step: int | None, timestamp: int | None
) -> str:
    """Where the image goes. Raises InvalidEvent unless exactly one of file and key is given."""
    if (artifact_file is None) == (key is None):
        raise InvalidEvent("log_image needs either artifact_file or key (with a step)")
    if artifact_file is not None:
        if step is not None or timestamp is not None:
            raise InvalidEvent("step and timestamp belong to log_image(key=…)")
        return artifact_file
    assert key is not None
    time_ms = time.time_ns() // 1_000_000 if timestamp is None else int(timestamp)
    return f"images/{key.replace('/', '#')}/step_{step_value(step)}_{time_ms}.png"


def image_bytes(image: Any, path: str) -> bytes:
    """The image in the format that the path's ending names, PNG if it has none."""
    if hasattr(image, "to_pil"):  # MLflow's own
        image = image.to_pil()
    picture = image if hasattr(image, "save") else _picture(_array_of(image))
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=_format_of(path))
    except (OSError, ValueError, KeyError) as error:
        raise InvalidEvent(f"the image cannot be written as {path}: {error}") from None
    return buffer.getvalue()


def _format_of(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    found = _pillow().registered_extensions().get(suffix) if suffix else "PNG"
    if found is None:
        raise InvalidEvent(
            f"the image cannot be written as {path}: no format of images has the ending {suffix}; "
            "use .png, .jpg, .webp or .gif"
        )
    return str(found)


def figure_bytes(figure: Any, path: str, save_kwargs: Mapping[str, Any]) -> bytes:
    """A matplotlib or plotly figure in the format that the path's ending names."""
    suffix = path.rpartition(".")[2].lower() if "." in path else ""
    if hasattr(figure, "savefig"):
        buffer = io.BytesIO()
        try:
            figure.savefig(buffer, **{"format": suffix or "png", **save_kwargs})
        except (ValueError, TypeError) as error:
            raise InvalidEvent(f"the figure cannot be written as {path}: {error}") from None
        return buffer.getvalue()
    if hasattr(figure, "write_html"):
        if suffix in ("html", "htm"):
            options = {"include_plotlyjs": "cdn", "auto_open": False, **save_kwargs}
            options.pop("auto_open")
            return str(figure.to_html(**options)).encode()
        try:
            return bytes(figure.to_image(format=suffix or "png", **save_kwargs))
        except (ValueError, RuntimeError) as error:
            raise InvalidEvent(f"the figure cannot be written as {path}: {error}") from None
    raise InvalidEvent(
        f"log_figure takes a figure of matplotlib or plotly, not {type(figure).__name__}"
    )


def _array_of(image: Any) -> Any:
    try:
        import numpy as np
    except ImportError:
        raise InvalidEvent("log_image of an array needs numpy; `pip install numpy`") from None
    if hasattr(image, "detach"):  # torch: off the graph and off the device
        image = image.detach().cpu()
    array = np.asarray(image)
    if (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.ndim not in (2, 3):
        raise InvalidEvent(
            f"an image is an array (height, width) or (height, width, 1, 3 or 4), not "
            f"{array.shape}; for torch's (channels, height, width) use .permute(1, 2, 0)"
        )
    return _as_bytes_per_pixel(np, array)


def _as_bytes_per_pixel(np: Any, array: Any) -> Any:
    """uint8: integers are 0 to 255, floats 0 to 1, bools black and white; as MLflow's."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8) * 255
    if kind in "iu":
        if array.size and not (array.min() >= 0 and array.max() <= 255):
            raise InvalidEvent("integer pixels must lie between 0 and 255")
        return array.astype(np.uint8)
    if kind == "f":
        if ((array < 0) | (array > 1)).any():  # NaN is neither, and drawn black
            raise InvalidEvent("float pixels must lie between 0 and 1; divide by 255 first")
        return (np.nan_to_num(array) * 255).astype(np.uint8)
    raise InvalidEvent(f"pixels must be numbers, not {array.dtype}")


def _picture(array: Any) -> Any:
    plain = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return _pillow().fromarray(plain)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise InvalidEvent("log_image needs the package pillow; `pip install pillow`") from None
    return Image
