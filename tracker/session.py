"""The SDK's composition root: one session per process holds its runs and what they share.

Nothing that a disk or a network does raises here; what is wrong with arguments does.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracker import config, delivery, ending, joining, starting, tag_names
from tracker.active import ActiveRuns
from tracker.binding import Binding
from tracker.config import ClientSettings
from tracker.delivery import Patience
from tracker.destination import LOCAL
from tracker.errors import RunAlreadyActive
from tracker.events.types import EventType, RunStatus
from tracker.exits import Exits, Outcome
from tracker.hosting import Hosting
from tracker.recording import Recording, Writer
from tracker.run import Run
from tracker.starting import Asked, EndRun, FlushRuns, given
from tracker.unseen import UnseenWrites

if TYPE_CHECKING:
    from tracker.context import DirtyFlag

# Runs of other processes that are logged to by run_id=; each holds one writer open.
_JOINED_RUNS_MAX: Final = 128
# The dirty flag takes git a moment; a run shorter than that waits this long for its tag.
_DIRTY_FLAG_WAIT_S: Final = 0.05


class Session:
    """What one process records. `chosen` is what set_experiment said."""

    def __init__(self) -> None:
        self.active = ActiveRuns()
        self.chosen: Binding | None = None
        self._exits = Exits(self._end_all)
        self._dirty_flag: DirtyFlag | None = None
        self._hosting = Hosting(self._is_recording)
        self._patience = Patience()
        self._joined: OrderedDict[str, Run] = OrderedDict()
        self._apart: dict[str, Run] = {}  # neither active nor joined by a log call
        self._settings: ClientSettings | None = None
        self._unseen = UnseenWrites()
        self._lock = threading.RLock()
        self._is_watching_forks = False

    # -- starting -----------------------------------------------------------------------

    def start_run(self, asked: Asked) -> Run:
        """A new, resumed or joined run, made the innermost one of this thread or task."""
        parent = self.active.own()
        if parent is None and asked.is_nested:
            parent = self.active.shared
        elif parent is not None and not asked.is_nested:
            if parent.is_inherited and asked.run_id in (None, parent.run_id):
                return parent  # a forked child asks for the run it is in already
            raise RunAlreadyActive(
                f"run {parent.name} ({parent.run_id}) is active; end it with tracker.end_run(), "
                "or start a run inside it with nested=True"
            )
        settings = config.client_settings()
        self._settings = settings
        run = starting.start(
            asked, settings, parent=parent, chosen=self.chosen, end=self.end, flush=self.flush
        )
        self._watch()
        plan = run.recording.plan
        self._hosting.ensure(settings, uri=plan.uri, mode=plan.mode)
        if run.is_owner and tag_names.GIT_COMMIT in run.tags:
            self._tell_whether_dirty(run)
        if asked.run_id is None and run.is_owner:
            # A run that the environment named is gone on with once, not with every start.
            config.forget(config.RUN_ID)
        self.active.push(run)
        self._hand_down()
        return run

    def open_apart(self, make: Callable[[ClientSettings, EndRun, FlushRuns], Run]) -> Run:
        """A run outside of the stack of active ones; shipped, forked and ended as those are."""
        settings = config.client_settings()
        self._settings = settings
        run = make(settings, self.end, self.flush)
        self._watch()
        plan = run.recording.plan
        self._hosting.ensure(settings, uri=plan.uri, mode=plan.mode)
        with self._lock:
            self._apart[run.run_id] = run
        return run

    def _tell_whether_dirty(self, run: Run) -> None:
        from tracker.context import DirtyFlag

        if self._dirty_flag is None:
            self._dirty_flag = DirtyFlag()
        self._dirty_flag.tell(run.add_context)

    # -- finding ------------------------------------------------------------------------

    def run_for_log(self, run_id: str | None) -> Run:
        """The run a log call means: `run_id`, else the current one, else one started now."""
        if run_id is not None:
            return self._run_with_id(run_id)
        run = self.active.current()
        if run is None:
            with self._lock:  # two threads that log first must not start two runs
                run = self.active.shared or self.start_run(Asked())
        return run

    def _run_with_id(self, run_id: str) -> Run:
        for run in self.active.all():
            if run.run_id == run_id:
                return run
        with self._lock:
            joined = self._joined.get(run_id)
            if joined is None:
                settings = config.client_settings()
                self._settings = settings
                joined = starting.joined_run(run_id, settings, end=self.end, flush=self.flush)
                self._watch()
                plan = joined.recording.plan
                self._hosting.ensure(settings, uri=plan.uri, mode=plan.mode)
                self._joined[run_id] = joined
                if len(self._joined) > _JOINED_RUNS_MAX:
                    oldest = next(iter(self._joined.values()))
                    self._take_down([oldest], Outcome(RunStatus.FINISHED), timeout_s=0.0)
            self._joined.move_to_end(run_id)
        return joined

    # -- ending -------------------------------------------------------------------------

    def end(self, run: Run, outcome: Outcome) -> None:
        """End or leave one run, and wait for its delivery. Nothing happens the second time."""
        self._take_down([run], outcome)

    def end_current(self, outcome: Outcome) -> None:
        run = self.active.to_end()
        if run is not None:
            self.end(run, outcome)

    def _end_all(self, status: RunStatus, *, reason: str | None, detail: str | None) -> None:
        self._take_down(self._runs(), Outcome(status, reason, detail))

    def _take_down(
        self, runs: Sequence[Run], outcome: Outcome, *, timeout_s: float | None = None
    ) -> None:
        # An end that a signal met under way is brought to its end, whoever began it: should that
        # be a thread that goes on, one of the two records it.
        to_end = [run for run in runs if not run.is_ended or run.is_end_owed]
        for run in to_end:
            plan = run.recording.plan
            self._hosting.ensure(self._known_settings(), uri=plan.uri, mode=plan.mode)
        if self._dirty_flag is not None and any(run.is_owner for run in to_end):
            self._dirty_flag.wait(_DIRTY_FLAG_WAIT_S)
        ending.take_down(
            to_end,
            outcome,
            settings=self._known_settings(),
            patience=self._patience,
            timeout_s=timeout_s,
        )
        for run in to_end:
            self._unseen.end(run.recording)
            self.active.pop(run)
            with self._lock:
                self._joined.pop(run.run_id, None)
                self._apart.pop(run.run_id, None)
        self._hand_down()

    # -- what has been recorded ---------------------------------------------------------

    def flush(self, runs: Sequence[Run] | None, timeout_s: float | None) -> bool:
        """Put `runs`, or all, on disk; whether all was acknowledged within the time."""
        if timeout_s is None:
            timeout_s = self._known_settings().exit_wait_s
        to_flush = self._runs() if runs is None else runs
        # Offline nobody delivers: only what is being staged is waited for.
        is_offline = all(run.recording.plan.mode == "offline" for run in to_flush)
        deadline = time.monotonic() + timeout_s
        are_staged = [
            run.finish_artifacts(max(0.0, deadline - time.monotonic())) for run in to_flush
        ]
        writers = self._writers(to_flush)
        for writer in writers:
            writer.flush_to_disk()
        left_s = 0.0 if is_offline else max(0.0, deadline - time.monotonic())
        return delivery.wait_until_acked(writers, timeout_s=left_s) and all(are_staged)

    def record_workspace_fact(
        self, kind: EventType, data: Mapping[str, Any], *, uri: str | None = None
    ) -> None:
        """Spool a fact that belongs to no run, for `uri` or for the destination."""
        settings = config.client_settings()
        plan = starting.plan_of("", settings, binding=Binding(), mode=settings.mode, uri=uri)
        recording = Recording(plan, is_owner=False)
        recording.open_with(kind, data)
        writer = recording.close_with(None, {})
        if writer is not None:
            writer.close()
        self._hosting.ensure(settings, uri=plan.uri, mode=plan.mode)

    def unseen_writes(self, uri: str, *, with_artifacts: bool = False) -> list[tuple[str, int]]:
        """(writer id, next sequence) of what a query of `uri` should wait for."""
        if uri != LOCAL and config.client_settings().shipper == "none":
            return []  # nobody here delivers it
        runs = self._runs()
        recordings = [run.recording for run in runs]
        if with_artifacts:
            recordings += [run.opened_artifacts.recording for run in runs if run.opened_artifacts]
        return self._unseen.to(uri, recordings)

    def is_begun_here(self, run_id: str) -> bool:
        """Whether this process owns the run and was its first; then no earlier one logged to it."""
        return any(run.run_id == run_id and run.is_new for run in self._runs())

    def saw_writes(self, writer_id: str, next_seq: int) -> None:
        self._unseen.see(writer_id, next_seq)

    def ring(self) -> None:
        """Wake whoever ships what this process is recording."""
        for writer in self._writers(self._runs()):
            writer.ring_doorbell()

    def _known_settings(self) -> ClientSettings:
        """Those of the latest start: an end must not fail for what the environment says now."""
        return self._settings or config.client_settings()

    def _is_recording(self) -> bool:
        return any(not run.is_ended for run in self._runs())

    def _runs(self) -> list[Run]:
        with self._lock:
            return [*self.active.all(), *self._joined.values(), *self._apart.values()]

    def _writers(self, runs: Sequence[Run]) -> list[Writer]:
        recordings = [run.recording for run in runs]
        recordings += [run.opened_artifacts.recording for run in runs if run.opened_artifacts]
        found = [recording.writer for recording in recordings]
        return [writer for writer in found if writer is not None]

    # -- the process --------------------------------------------------------------------

    def _watch(self) -> None:
        self._exits.install()
        if not self._is_watching_forks:
            self._is_watching_forks = True
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._go_on_in_child)

    def _go_on_in_child(self) -> None:
        """After a fork: the parent's runs go on in the parent; here they are joined."""
        self._lock = threading.RLock()
        self._dirty_flag = None
        self._hosting = Hosting(self._is_recording)
        self._patience = Patience()
        self._unseen = UnseenWrites()
        config.take_over_in_child()
        self._exits.leave_to_parent()
        kept = self.active.keep_in_child()
        for run in [*kept, *self._joined.values(), *self._apart.values()]:
            run.leave_to_parent()

    def _hand_down(self) -> None:
        """Let child processes join the run of this process, wherever they are started."""
        run = self.active.shared
        if run is None:
            config.hand_down({})
            return
        plan = run.recording.plan
        if plan.mode == "disabled":
            config.hand_down({config.MODE: plan.mode})
            return
        config.hand_down(
            given(
                {
                    config.URI: plan.uri,
                    config.MODE: plan.mode,
                    config.SPOOL_DIR: str(plan.spool_dir),
                    config.EXPERIMENT_NAME: plan.experiment_name,
                    config.EXPERIMENT_ID: plan.experiment_id,
                    config.RUN_ID: plan.run_id,
                    config.RUN_OWNER: joining.owner_name(),
                }
            )
        )
