"""`verify`: the proof that a store is complete, unchanged, and folded right."""

from __future__ import annotations

from collections.abc import Sequence

from projections.builds import Builds
from projections.findings import OnProgress, VerifyReport
from projections.kinds import ProjectionKind
from projections.verify_builds import verify_build
from projections.verify_log import LogToVerify, verify_log


async def verify(
    log: LogToVerify,
    builds: Builds,
    kinds: Sequence[ProjectionKind],
    *,
    on_progress: OnProgress,
) -> VerifyReport:
    """Prove the log, then every serving build of a current version. Blocks its thread.

    Appends may go on meanwhile. A build of an older version is left out: it is about to be
    replaced, and nothing can rebuild it.
    """
    report = VerifyReport()
    await verify_log(log, report, on_progress)
    for kind in kinds:
        build = builds.current(kind.name)
        if build is not None and build.version == kind.version:
            await verify_build(
                kind, build, log, builds=builds, report=report, on_progress=on_progress
            )
    return report
