"""What images, figures, tables, dictionaries and datasets become when they are logged."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from tracker.artifacts import content, datasets, images, tables
from tracker.artifacts.folders import FoundFile, LeftOut, files_in
from tracker.artifacts.media import media_type_of
from tracker.events.errors import InvalidEvent


def test_dictionaries_are_json_or_yaml_by_name() -> None:
    thing = {"lr": np.float32(0.5), "shape": np.arange(3), "path": Path("x"), "set": {2, 1}}
    plain = {"lr": 0.5, "shape": [0, 1, 2], "path": "x", "set": [1, 2]}
    assert json.loads(content.dict_bytes(thing, "a.json")) == plain
    assert b"lr: 0.5" in content.dict_bytes(thing, "a.yaml")


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((4, 6), 255, np.uint8),
        np.ones((4, 6, 3), np.float32),
        np.ones((4, 6, 1), bool),
        np.full((4, 6, 4), 255, np.int64),
    ],
)
def test_arrays_become_images_of_their_size(pixels: np.ndarray) -> None:
    picture = Image.open(io.BytesIO(images.image_bytes(pixels, "x.png")))
    assert picture.size == (6, 4)
    assert np.asarray(picture).max() == 255


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.b/x", "PNG"), ("x.JPG", "JPEG"), ("x.tiff", "TIFF"), ("x.webp", "WEBP"), ("x.bmp", "BMP")],
)
def test_an_image_is_what_its_ending_says(name: str, written: str) -> None:
    shades = np.array([[0.0, 1.0], [np.nan, 0.5]])

    picture = Image.open(io.BytesIO(images.image_bytes(shades, name)))

    assert picture.format == written
    with pytest.raises(InvalidEvent, match=r"ending \.xyz; use \.png"):
        images.image_bytes(shades, "x.xyz")


def test_an_image_of_mlflows_is_the_picture_in_it() -> None:
    class MlflowsImage:
        def save(self, path: str) -> None:
            raise AssertionError("MLflow's writes to a path alone")

        def to_pil(self) -> Image.Image:
            return Image.new("RGB", (6, 4))

    assert Image.open(io.BytesIO(images.image_bytes(MlflowsImage(), "x.png"))).size == (6, 4)


def test_images_that_are_none_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidEvent, match="permute"):
        images.image_bytes(np.zeros((3, 10, 10)), "x.png")
    with pytest.raises(InvalidEvent, match="between 0 and 1"):
        images.image_bytes(np.full((2, 2), 7.5), "x.png")
    with pytest.raises(InvalidEvent, match="between 0 and 255"):
        images.image_bytes(np.full((2, 2), 300), "x.png")
    with pytest.raises(InvalidEvent, match="either artifact_file or key"):
        images.path_of(None, key=None, step=None, timestamp=None)
    assert images.path_of(None, key="a/b", step=3, timestamp=5) == "images/a#b/step_3_5.png"


def test_figures_of_both_libraries_are_written_by_name() -> None:
    from matplotlib.figure import Figure
    from plotly import graph_objects

    figure = Figure()
    figure.subplots().plot([1, 2])
    assert images.figure_bytes(figure, "x.png", {}).startswith(b"\x89PNG")
    assert b"<svg" in images.figure_bytes(figure, "x.svg", {})
    html = images.figure_bytes(graph_objects.Figure(), "x.html", {})
    assert b"plotly" in html
    with pytest.raises(InvalidEvent, match="matplotlib or plotly"):
        images.figure_bytes(object(), "x.png", {})


@pytest.mark.parametrize(
    "data",
    [
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        {"a": [1, 2], "b": ["x", "y"]},
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    ],
)
def test_tables_of_every_kind_have_the_same_rows(data: object) -> None:
    assert tables.columns_and_rows(data) == (["a", "b"], [[1, "x"], [2, "y"]])


def test_rows_with_other_columns_are_filled_up() -> None:
    table = tables.Table()
    table.add(["a"], [[1]])
    table.add(["b", "a"], [["x", math.nan]])
    written = json.loads(tables._json(table))
    assert written == {"columns": ["a", "b"], "data": [[1, None], [None, "x"]]}
    with pytest.raises(InvalidEvent, match="equally long"):
        tables.columns_and_rows({"a": [1], "b": [1, 2]})
    with pytest.raises(InvalidEvent, match="log_table takes"):
        tables.columns_and_rows(7)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: pd.DataFrame({"a": range(n)}),
        lambda n: pl.DataFrame({"a": range(n)}),
        lambda n: np.arange(n, dtype=np.float64),
    ],
)
def test_a_dataset_is_described_by_a_digest_of_its_contents(make: object) -> None:
    assert callable(make)
    one, again, other = (datasets.describe(make(n)) for n in (5, 5, 6))
    assert one == again
    assert one.digest != other.digest
    assert one.source_type == "code"
    assert one.schema is not None
    assert one.profile is not None


def test_places_are_described_without_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    file = datasets.describe(tmp_path / "data.csv")
    assert (file.name, file.source_type) == ("data.csv", "local")
    assert json.loads(file.profile or "") == {"num_files": 1, "num_bytes": 8}
    remote = datasets.describe("s3://bucket/train/part.parquet")
    assert (remote.name, remote.source_type) == ("part.parquet", "s3")
    with pytest.raises(InvalidEvent, match="password"):
        datasets.describe("https://me:secret@host/x")
    with pytest.raises(InvalidEvent, match="no file or folder"):
        datasets.describe(str(tmp_path / "missing"))
    with pytest.raises(InvalidEvent, match="log_input takes"):
        datasets.describe(3)


def test_links_in_a_folder_stay_inside_it_and_do_not_go_round(tmp_path: Path) -> None:
    folder = tmp_path / "logged"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (tmp_path / "secret").write_text("s")
    (folder / "inside").symlink_to(folder / "a.txt")
    (folder / "outside").symlink_to(tmp_path / "secret")
    (folder / "sub" / "round").symlink_to(folder)
    (folder / "dangling").symlink_to("nowhere")
    found = list(files_in(folder))

    assert [f.path for f in found if isinstance(f, FoundFile)] == ["a.txt", "inside"]
    left_out = {each.path: each.reason for each in found if isinstance(each, LeftOut)}
    assert set(left_out) == {"outside", "sub/round", "dangling"}
    assert "out of the folder" in left_out["outside"]
    with pytest.raises(InvalidEvent, match="no folder"):
        list(files_in(folder / "a.txt"))


def test_media_types_do_not_depend_on_the_machine() -> None:
    assert media_type_of("a/b.yaml") == "application/yaml"
    assert media_type_of("x.PNG") == "image/png"
    assert media_type_of("x.json.gz") == "application/octet-stream"
    assert media_type_of("noending") == "application/octet-stream"
