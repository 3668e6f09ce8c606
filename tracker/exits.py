"""How a process leaves, as far as it can tell by itself, and what that makes of its runs.

    way out                            status of a run never ended
    end of the script, sys.exit(0)     FINISHED
    an exception nobody caught         FAILED, reason: its class; detail: its message
    sys.exit(n), sys.exit("text")      FAILED, reason SystemExit
    Ctrl-C that nobody caught          KILLED, reason KeyboardInterrupt
    SIGTERM, unless handled by others  KILLED, reason SIGTERM

SIGKILL, os._exit and crashes leave no time; the shipper finds the writer dead and tells
why. `raise SystemExit(n)` without sys.exit is not seen, and counts as a clean exit.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, NoReturn, Protocol

from tracker.events.types import RunStatus

_TEXT_MAX: Final = 2048
_REASON_CHARACTERS_MAX: Final = 256


class EndRuns(Protocol):
    """Ends every run of this process that is still active. Never raises."""

    def __call__(self, status: RunStatus, *, reason: str | None, detail: str | None) -> None: ...


class Outcome:
    """How a run ends, and what is known about why. `end_time_us`: when, if not now."""

    def __init__(
        self,
        status: RunStatus,
        reason: str | None = None,
        detail: str | None = None,
        end_time_us: int | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        self.end_time_us = end_time_us


def outcome_of(error: BaseException | None) -> Outcome:
    """What an exception that leaves a run, or the program, makes of the run."""
    if error is None:
        return Outcome(RunStatus.FINISHED)
    if isinstance(error, SystemExit):
        return _outcome_of_exit(error.code)
    reason = type(error).__name__[:_REASON_CHARACTERS_MAX]
    if isinstance(error, KeyboardInterrupt):
        return Outcome(RunStatus.KILLED, reason, "interrupted from the keyboard")
    return Outcome(RunStatus.FAILED, reason, _message_of(error))


def _outcome_of_exit(code: object) -> Outcome:
    if code is None or code == 0:
        return Outcome(RunStatus.FINISHED)
    detail = f"exit code {code}" if isinstance(code, int) else _short(f"exit message {code}")
    return Outcome(RunStatus.FAILED, "SystemExit", detail)


def _message_of(error: BaseException) -> str:
    try:
        return _short(str(error))
    except Exception:  # noqa: BLE001 - foreign __str__; its failure is part of the detail
        return "its message could not be formatted"


def _short(text: str) -> str:
    # The limit counts bytes of what is stored; a character has at most four.
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"


class Exits:
    """Watches over one process from its first run on. `install` may be called repeatedly."""

    def __init__(self, end_runs: EndRuns) -> None:
        self._end_runs = end_runs
        self._is_installed = False
        self._handles_sigterm = False
        self._outcome = Outcome(RunStatus.FINISHED)
        self._excepthook: Callable[..., object] = sys.excepthook
        self._exit: Callable[..., NoReturn] = sys.exit

    def install(self) -> None:
        if not self._is_installed:
            self._is_installed = True
            atexit.register(self._at_exit)
            self._excepthook, sys.excepthook = sys.excepthook, self._note_exception
            self._exit, sys.exit = sys.exit, self._note_exit
        self._watch_sigterm()

    def leave_to_parent(self) -> None:
        """After a fork: SIGTERM means what it meant before the parent tracked a run."""
        self._outcome = Outcome(RunStatus.FINISHED)
        if self._handles_sigterm:
            self._handles_sigterm = False
            if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _watch_sigterm(self) -> None:
        """Only where nobody else handles it, and only the main thread may set handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)
            self._handles_sigterm = True

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """End the runs, then die of the signal as if it had not been handled.

        The handler runs between two instructions of the main thread, which may hold a
        writer's lock; so another thread does the work, and this one lets go of the lock.
        A second SIGTERM is not handled any more and ends the process at once.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            threading.Thread(target=self._die_of_sigterm, name="tracker-sigterm").start()
        except RuntimeError:  # no thread can be had, or the interpreter is ending already
            os.kill(os.getpid(), signal.SIGTERM)

    def _die_of_sigterm(self) -> None:
        try:
            self._end_runs(RunStatus.KILLED, reason="SIGTERM", detail="terminated by SIGTERM")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _note_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        traceback: TracebackType | None,
    ) -> None:
        # An interactive session goes on after an exception.
        if not hasattr(sys, "ps1"):
            self._outcome = outcome_of(error)
        self._excepthook(kind, error, traceback)

    def _note_exit(self, status: object = None, /) -> NoReturn:
        if threading.current_thread() is threading.main_thread():
            # Not bound to a name here: a frame that holds it would keep it alive.
            raise self._noted_exit(status)
        self._exit(status)

    def _noted_exit(self, status: object) -> SystemExit:
        error = SystemExit(status)
        error.__dict__["_tracker_note"] = _ExitNote(self, status)
        return error

    def note_exit_code(self, code: object) -> None:
        self._outcome = _outcome_of_exit(code)

    def _at_exit(self) -> None:
        outcome = self._outcome
        last = getattr(sys, "last_value", None)
        if outcome.status is RunStatus.FINISHED and last is not None and not _is_interactive():
            # Somebody replaced sys.excepthook after us; the interpreter keeps the exception.
            outcome = outcome_of(last)
        self._end_runs(outcome.status, reason=outcome.reason, detail=outcome.detail)


class _ExitNote:
    """Rides on a SystemExit and tells, when that dies, whether it ended the program.

    sys.exit() may be caught (argparse, tests); then the exit code means nothing. An
    exception that nobody caught is released when no Python frame is left.
    """

    def __init__(self, exits: Exits, code: object) -> None:
        self._exits = exits
        self._code = code

    def __del__(self) -> None:
        try:
            sys._getframe(1)
        except ValueError:
            self._exits.note_exit_code(self._code)


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules or bool(sys.flags.interactive)
