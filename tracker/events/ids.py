"""Identifiers: how they are minted, and which ones are accepted from outside.

Run and writer ids are 128 random bits, so clients mint them without asking anyone.
An experiment's id follows from its name: two machines without a network that name
the same experiment mean the same experiment.
"""

from __future__ import annotations

import os
import re
from typing import Final, NewType

RunId = NewType("RunId", str)
WriterId = NewType("WriterId", str)
ExperimentId = NewType("ExperimentId", str)
Position = NewType("Position", int)
"""A place in the event log: 1, 2, 3 … without gaps, in commit order."""

DEFAULT_WORKSPACE: Final = "default"
DEFAULT_EXPERIMENT_NAME: Final = "Default"
DEFAULT_EXPERIMENT_ID: Final = ExperimentId("0")

# The pattern MLflow accepts; it also keeps separators and dots out of file names.
_RUN_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,255}")
_WRITER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,63}")
_WORKSPACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,63}")


def new_run_id() -> RunId:
    return RunId(os.urandom(16).hex())


def new_writer_id() -> WriterId:
    return WriterId(os.urandom(16).hex())


def experiment_id_for(name: str, *, salt: int = 0) -> ExperimentId:
    """The id of an experiment of this name: decimal digits, as MLflow's clients expect.

    `salt` counts up when the plain id is taken by an experiment that was renamed since.
    """
    if name == DEFAULT_EXPERIMENT_NAME and salt == 0:
        return DEFAULT_EXPERIMENT_ID
    import hashlib  # loads OpenSSL, which an import of the SDK should not wait for

    digest = hashlib.sha256(f"{salt}\0{name}".encode()).digest()
    return ExperimentId(str(10**14 + int.from_bytes(digest[:8], "big") % (9 * 10**14)))


def is_run_id(text: str) -> bool:
    return bool(_RUN_ID.fullmatch(text))


def is_writer_id(text: str) -> bool:
    return bool(_WRITER_ID.fullmatch(text))


def is_workspace(text: str) -> bool:
    return bool(_WORKSPACE.fullmatch(text))
