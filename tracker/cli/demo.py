"""`tracker demo`: the whole product in half a minute, on this machine only."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from tracker.cli.output import note


@click.command("demo")
@click.option(
    "--keep",
    is_flag=True,
    envvar="TRACKER_DEMO_KEEP",
    show_envvar=True,
    help="Leave the server up and print its address.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 1000),
    default=8,
    envvar="TRACKER_DEMO_EPOCHS",
    show_default=True,
    show_envvar=True,
    help="Epochs of each of the seven trainings.",
)
@click.option(
    "--outage-s",
    type=click.FloatRange(0, 600),
    default=3.0,
    envvar="TRACKER_DEMO_OUTAGE_S",
    show_default=True,
    show_envvar=True,
    help="How long the server is taken away in the middle of the training.",
)
def command(keep: bool, epochs: int, outage_s: float) -> None:
    """Train seven small networks, take the server away meanwhile, and show what was tracked.

    Everything lives in a temporary folder, which is removed at the end unless --keep.
    """
    try:
        import sklearn  # noqa: F401  # only to say early what is missing
    except ImportError:
        raise click.ClickException(
            "the demo trains with scikit-learn: pip install 'tracker[demo]'"
        ) from None
    from tracker.demo.story import DemoFailed, tell

    folder = Path(tempfile.mkdtemp(prefix="tracker-demo-"))
    try:
        tell(folder, keep=keep, epochs=epochs, outage_s=outage_s)
    except DemoFailed as failure:
        note(f"The demo failed; its files are in {folder}")
        raise click.ClickException(str(failure)) from None
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
