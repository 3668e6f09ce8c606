"""Every limit of what may be recorded and sent, each with its reason.

Client and server read the same numbers, so what the SDK lets through the server
accepts. A refusal names the limit by the constant's name in lower case.
"""

from __future__ import annotations

from typing import Final

# Keys and names. 250 is MLflow's key length, so that every key moves both ways.
KEY_CHARACTERS_MAX: Final = 250
EXPERIMENT_NAME_CHARACTERS_MAX: Final = 500
RUN_NAME_CHARACTERS_MAX: Final = 500
RUN_ID_CHARACTERS_MAX: Final = 256
WRITER_ID_CHARACTERS_MAX: Final = 64

# Values. 64 KiB holds any configuration value that somebody reads; what is longer is
# an artifact. MLflow's endpoints keep MLflow's own smaller limits.
PARAM_VALUE_BYTES_MAX: Final = 65_536
TAG_VALUE_BYTES_MAX: Final = 65_536
TEXT_BYTES_MAX: Final = 65_536

# Steps are int64 and times are microseconds since 1970 in int64.
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

# One log call. A record's value count is stored in 16 bits.
METRICS_PER_RECORD_MAX: Final = 10_000
ENTRIES_PER_EVENT_MAX: Final = 10_000
# An event's data: parsers and printers of JSON recurse, and give up at depths of their own.
DATA_DEPTH_MAX: Final = 32

# One spool record: 10,000 metrics with keys of 250 characters fit.
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024

# One batch on the wire. 65,536 records keep a batch's offsets in 16 bits of entropy;
# 16 MiB compressed and 64 MiB unpacked bound the server's memory for one request.
BATCH_RECORDS_MAX: Final = 65_536
BATCH_POINTS_MAX: Final = 2_000_000
BATCH_FRAMES_MAX: Final = 65_536
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
BATCH_UNPACKED_BYTES_MAX: Final = 64 * 1024 * 1024

# A range that was lost in the client may be wide; it costs positions, not bytes.
DROPPED_RANGE_MAX: Final = 2**40

# Files of a run. Parts are small enough to be sent again and large enough for S3, which
# takes at most 10,000 of them: 156 GiB is the largest file.
ARTIFACT_PART_BYTES: Final = 16 * 1024 * 1024
ARTIFACT_PARTS_MAX: Final = 10_000
ARTIFACT_BYTES_MAX: Final = ARTIFACT_PART_BYTES * ARTIFACT_PARTS_MAX

# Small files in one request, so that one sync of the disk serves them all: the body is held
# in memory once, and answering for thousands takes less than a second.
BLOB_BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
BLOB_BATCH_BLOBS_MAX: Final = 4_096
BLOB_BATCH_BLOB_BYTES_MAX: Final = 1024 * 1024

# A path in a run's tree of artifacts; a part of it is a file's name, 255 bytes on every system.
ARTIFACT_PATH_CHARACTERS_MAX: Final = 1024
ARTIFACT_NAME_BYTES_MAX: Final = 255

# Datasets: MLflow's lengths, so that every input moves both ways.
DATASET_NAME_CHARACTERS_MAX: Final = 500
DATASET_DIGEST_CHARACTERS_MAX: Final = 64
DATASET_TEXT_BYTES_MAX: Final = 1024 * 1024

# Points of one model.metrics_logged; what training logs by the million belongs to its run.
MODEL_METRICS_PER_EVENT_MAX: Final = 1_000
