"""The JSON of the administrative routes: rebuild and verify."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ingest.schemas import Answer, Request


class RebuildRequest(Request):
    projection: Literal["runs", "series", "all"] = "all"


class RebuildState(Answer):
    projection: str
    state: Literal["running", "done", "failed"]
    position: int = Field(description="how far the new build is")
    head: int = Field(description="where the log ended when it was last looked at")
    error: str | None


class RebuildAnswer(Answer):
    rebuilds: list[RebuildState]


class VerifyProgressAnswer(Answer):
    stage: str = Field(description="log, or the name of a projection")
    done: int
    total: int


class FindingAnswer(Answer):
    fault: str
    position: int | None
    message: str


class ProofAnswer(Answer):
    name: str
    version: int
    position: int
    rows: int
    hashes: dict[str, str] = Field(description="SHA-256 per table over its rows")


class VerifyReportAnswer(Answer):
    """`findings` lists the first thousand; `findings_count` is how many there are."""

    is_clean: bool
    head: int
    chain: str = Field(description="the hash chain's value at the head, in hex")
    batches: int
    events: int
    points: int
    dropped: int
    writers: int
    projections: list[ProofAnswer]
    findings: list[FindingAnswer]
    findings_count: int


class VerifyAnswer(Answer):
    state: Literal["none", "running", "done", "failed"]
    progress: VerifyProgressAnswer | None = None
    report: VerifyReportAnswer | None = None
    error: str | None = None
