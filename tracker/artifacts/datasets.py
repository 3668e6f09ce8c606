"""Describing a dataset: what it is called, what it holds, where it came from; never its bytes.

The digest is a hash of a bounded part of the contents, enough to tell two versions apart.
Names, kinds of source and the shape of schema and profile are MLflow's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tracker.events.errors import InvalidEvent
from tracker.events.limits import DATASET_NAME_CHARACTERS_MAX

CONTEXT_TAG: Final = "mlflow.data.context"
_HASHED_ROWS_MAX: Final = 10_000
_HASHED_BYTES_MAX: Final = 64 * 1024 * 1024
_DIGEST_CHARACTERS: Final = 16


class Described(NamedTuple):
    """The fields of input.logged."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None

    def fact(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if value is not None}


def describe(dataset: Any) -> Described:
    """Raises InvalidEvent for what is no dataset."""
    if callable(getattr(dataset, "to_dict", None)) and hasattr(dataset, "digest"):
        return _of_mlflow(dataset)
    if isinstance(dataset, (str, Path)):
        return _of_place(str(dataset))
    if hasattr(dataset, "_fingerprint") and hasattr(dataset, "features"):
        return _of_hugging_face(dataset)
    if hasattr(dataset, "columns") and hasattr(dataset, "dtypes"):
        return _of_frame(dataset)
    if hasattr(dataset, "dtype") and hasattr(dataset, "shape"):
        return _of_array(dataset)
    raise InvalidEvent(
        f"log_input takes a frame, an array, a Hugging Face dataset, a path or URI, or an MLflow "
        f"dataset, not {type(dataset).__name__}"
    )


def model_id_of(model: Any) -> str:
    """A logged model's id: given as such, or carried by an object. Raises InvalidEvent."""
    model_id = getattr(model, "model_id", model)
    if not isinstance(model_id, str) or not model_id:
        raise InvalidEvent(
            f"model must be a logged model's id, or an object with a model_id, "
            f"not {type(model).__name__}"
        )
    return model_id


def _of_mlflow(dataset: Any) -> Described:
    told = dataset.to_dict()
    return Described(
        name=_name(told.get("name") or "dataset"),
        digest=str(told.get("digest") or dataset.digest),
        source_type=str(told.get("source_type") or ""),
        source=str(told.get("source") or ""),
        schema=told.get("schema"),
        profile=told.get("profile"),
    )


def _of_place(place: str) -> Described:
    parts = urlsplit(place)
    if parts.password is not None:
        raise InvalidEvent("a source must not carry a password; give the address without it")
    if parts.scheme and len(parts.scheme) > 1:
        kind = parts.scheme if parts.scheme in ("s3", "gs", "http", "https", "hf") else "uri"
        source = json.dumps({"uri": place})
        digest = _short(hashlib.sha256(place.encode()))
        return Described(
            _name(parts.path.rstrip("/").rpartition("/")[2] or place), digest, kind, source
        )
    path = Path(place)
    if not path.exists():
        raise InvalidEvent(f"there is no file or folder {place!r} to log as an input")
    source = json.dumps({"uri": path.resolve().as_uri()})
    profile = json.dumps(_sizes(path))
    return Described(
        _name(path.resolve().name), _digest_of_path(path), "local", source, None, profile
    )


def _sizes(path: Path) -> dict[str, int]:
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {"num_files": len(files), "num_bytes": sum(p.stat().st_size for p in files)}


def _digest_of_path(path: Path) -> str:
    """Of a file its beginning and its length; of a folder the names and lengths in it."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            digest.update(file.read(_HASHED_BYTES_MAX))
        digest.update(str(path.stat().st_size).encode())
        return _short(digest)
    for each in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{each.relative_to(path)}\0{each.stat().st_size}\0".encode())
    return _short(digest)


def _of_frame(frame: Any) -> Described:
    import_name = type(frame).__module__.partition(".")[0]
    head = frame.head(_HASHED_ROWS_MAX)
    if import_name == "polars":
        rows = head.hash_rows().to_numpy().tobytes()
        schema = {name: str(kind) for name, kind in frame.schema.items()}
        count = frame.height
    else:
        import pandas as pd

        rows = pd.util.hash_pandas_object(head, index=False).to_numpy().tobytes()
        schema = {str(name): str(kind) for name, kind in frame.dtypes.items()}
        count = len(frame)
    digest = hashlib.sha256(rows + json.dumps([schema, count]).encode())
    columns = [{"name": name, "type": kind} for name, kind in schema.items()]
    profile = {"num_rows": count, "num_elements": count * len(schema)}
    return Described(
        "dataset",
        _short(digest),
        "code",
        json.dumps({"tags": {"library": import_name}}),
        json.dumps({"mlflow_colspec": columns}),
        json.dumps(profile),
    )


def _of_array(array: Any) -> Described:
    import numpy as np

    plain = np.asarray(array)
    part = np.ascontiguousarray(plain.reshape(-1)[: _HASHED_BYTES_MAX // max(1, plain.itemsize)])
    about = f"{plain.dtype}{plain.shape}".encode()
    schema = {"dtype": str(plain.dtype), "shape": list(plain.shape)}
    profile = {"shape": list(plain.shape), "size": int(plain.size), "nbytes": int(plain.nbytes)}
    return Described(
        "dataset",
        _short(hashlib.sha256(about + part.tobytes())),
        "code",
        json.dumps({"tags": {"library": "numpy"}}),
        json.dumps({"mlflow_tensorspec": schema}),
        json.dumps(profile),
    )


def _of_hugging_face(dataset: Any) -> Described:
    info = getattr(dataset, "info", None)
    name = getattr(info, "dataset_name", None) or "dataset"
    source = {
        "path": name,
        "config_name": getattr(info, "config_name", None),
        "split": str(getattr(dataset, "split", "") or "") or None,
        "revision": str(getattr(info, "version", "") or "") or None,
    }
    profile = {"num_rows": dataset.num_rows, "dataset_size": getattr(info, "dataset_size", None)}
    schema = {key: str(kind) for key, kind in dataset.features.items()}
    return Described(
        _name(name),
        str(dataset._fingerprint)[:36],
        "hugging_face",
        json.dumps(source),
        json.dumps(schema),
        json.dumps(profile),
    )


def _name(name: str) -> str:
    return name[:DATASET_NAME_CHARACTERS_MAX] or "dataset"


def _short(digest: Any) -> str:
    return str(digest.hexdigest())[:_DIGEST_CHARACTERS]
