"""`tracker server`: start a tracking server and stay until it is told to stop."""

from __future__ import annotations

from typing import Any

import click

from tracker.cli.options import option
from tracker.cli.output import note


@click.command("server")
@option(
    "--backend-store-uri",
    env="TRACKER_BACKEND_STORE_URI",
    metavar="URI",
    help="The event log: sqlite:///PATH, or postgresql://USER:PASSWORD@HOST:PORT/NAME. "
    "[default: server/tracker.db under TRACKER_HOME]",
)
@option(
    "--artifacts-destination",
    env="TRACKER_ARTIFACTS_DESTINATION",
    metavar="PATH|URI",
    help="Where artifacts are kept: a folder, or s3://BUCKET/PREFIX. "
    "[default: server/artifacts under TRACKER_HOME]",
)
@option(
    "--artifacts-only", env="TRACKER_ARTIFACTS_ONLY", is_flag=True,
    help="Serve blobs and, with --backend-store-uri, artifacts; nothing else.",
)  # fmt: skip
@option(
    "--serve-artifacts/--no-serve-artifacts", env="TRACKER_SERVE_ARTIFACTS", default=True,
    show_default=True,
    help="Whether files go through this server; else clients go to the store themselves.",
)  # fmt: skip
@option(
    "--host", env="TRACKER_HOST", default="127.0.0.1", show_default=True,
    help="The address to listen on.",
)  # fmt: skip
@option(
    "--port", env="TRACKER_PORT", type=click.IntRange(0, 65535), default=5000, show_default=True,
    help="The port to listen on; 0 takes a free one.",
)  # fmt: skip
@option(
    "--spool-dir", env="TRACKER_SPOOL_DIR", metavar="PATH",
    help="The local spool to deliver from. [default: spool under TRACKER_HOME]",
)  # fmt: skip
@option(
    "--home", env="TRACKER_HOME", metavar="PATH",
    help="The folder of everything. [default: ~/.tracker]",
)  # fmt: skip
@option(
    "--workspace", env="TRACKER_WORKSPACE", metavar="NAME",
    help="The workspace this store holds. [default: default]",
)  # fmt: skip
@option(
    "--api-key", env="TRACKER_API_KEY", metavar="KEY",
    help="Ask clients for this key. Required beyond loopback.",
)  # fmt: skip
@option(
    "--insecure", env="TRACKER_INSECURE", is_flag=True,
    help="Listen beyond loopback without a key.",
)  # fmt: skip
@option(
    "--allowed-hosts", env="TRACKER_ALLOWED_HOSTS", metavar="NAMES",
    help="More names this server goes by (Host headers), separated by commas.",
)  # fmt: skip
@option(
    "--idle-exit-s", env="TRACKER_IDLE_EXIT_S", type=float, metavar="SECONDS",
    help="Stop after this long without requests and live runs.",
)  # fmt: skip
@option(
    "--log-level", env="TRACKER_LOG_LEVEL", default="info", show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]), help="What to log on stderr.",
)  # fmt: skip
def command(host: str, port: int, insecure: bool, log_level: str, **given: Any) -> None:
    """Start a tracking server.

    Without flags it keeps everything under ~/.tracker/server, listens on
    http://127.0.0.1:5000 and delivers what this machine's spool holds.
    """
    # Everything heavy is imported here, so that --help and refusals are quick.
    from ingest.serving import run_server

    run_server(
        log_level=log_level,
        announce=note,
        given={**given, "host": host, "port": port, "insecure": insecure},
    )
