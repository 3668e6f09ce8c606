"""Paths of artifacts: what is refused wherever a path appears, and what is not."""

from __future__ import annotations

import pytest

from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent


@pytest.mark.parametrize(
    "path",
    [
        "model.bin",
        "a/b/c.txt",
        "step:200.ckpt",
        "epoch=3-loss=0.1.ckpt",
        "100%.txt",
        "images/x%step%3%00ab.png",
        "ünïcode/模型.bin",
        "a b/c d",
        "..hidden",
        "x" * 255,
    ],
)
def test_names_that_people_use_are_fine(path: str) -> None:
    check_artifact_path(path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("..%2fx", "'..'"),
        ("%2e%2e/x", "'..'"),
        ("%252e%252e%252fx", "'..'"),
        ("..%5cx", "'..'"),
        ("/etc/passwd", "absolute"),
        ("%2fetc/passwd", "absolute"),
        ("C:\\x", "backslash"),
        ("C:/x", "absolute"),
        ("a\\..\\x", "backslash"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("./a", "'.'"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\ud800", "control"),
        ("con", "Windows"),
        ("a/NUL.txt", "Windows"),
        ("lpt1", "Windows"),
        ("trailing.", "Windows"),
        ("trailing ", "Windows"),
        ("", "1 to"),
        ("x" * 256, "artifact_name_bytes_max"),
        ("ü" * 128, "artifact_name_bytes_max"),
        ("x/" * 2000 + "x", "artifact_path_characters_max"),
    ],
)
def test_what_leads_out_or_cannot_be_a_file_is_refused(path: str, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said):
        check_artifact_path(path)
