"""The fold of the log into experiments and runs as they are now.

Theory
------
Input: the log's batches in order of position. Output: the rows that changed. There is no
clock and no I/O here (what was stored before comes through a `RunsLoader`), so the rows
after position p are a function of the log up to p. Nothing recorded makes the fold raise:
events of unknown type, or about a run in a batch that belongs to none, are counted and
skipped.

Spools of offline machines arrive late and in any order. The log keeps the order in which
the batches of one writer were recorded; between writers it knows only the order in which
they happened to arrive. Therefore every rule gives the same rows for every interleaving
of the writers' batches, and for every cutting of a writer's records into batches:

1. Each writer has a clock in the fold: clock = max(clock + 1, event.time_us), over its
   non-metric events in order of sequence. It rises strictly, even when the machine's clock
   is set back by a day. Its value is the event's *order* (order_us). Metrics and dropped
   ranges do not move it, as they may be regrouped inside a batch.
2. What can be set again (tags, name, user, lifecycle, status, end) is said by the greatest
   order; of equal orders by the greater text. A deleted tag stays as a row without value,
   so that an older write that arrives later does not bring it back.
3. What is said once (params, what a run was born with) stands as said by the smallest
   order. Another value of a param is kept as a conflict with who said it.
4. A run's base status is what its writers and the server's users said. A server that
   concludes that a silent writer is dead ends the run with a *guess*. A guess is kept while
   its order is above the base status's and nothing of that writer at or beyond the guessed
   sequence number has been folded; both can only become false. It is shown while the base
   status is not terminal. So data that arrives later revives the run, whatever came first.
   Several guesses are kept, for when the latest turns out wrong.
5. A run exists from the first event about it, whatever that is. Until its run.started
   arrives it is RUNNING, in the default experiment, and began with its earliest fact.
6. Metric summaries are maxima, minima and counts: see `projections.metric_summaries`.
7. Experiments, artifacts, inputs and logged models: see `projections.experiment_rules`,
   `artifact_rules`, `input_rules` and `model_rules`.

Three things do tell the order of arrival, on purpose: positions, updated_us (when the
server received the last event), and the numbers of runs and keys. Numbers are given in
order of first appearance in the log, so they too are the same in every rebuild.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from projections import run_rules
from projections.artifact_rules import ARTIFACT_EVENTS, Artifacts
from projections.columns import Columns, MetricFrame, OffsetEvent
from projections.experiment_rules import EXPERIMENT_EVENTS, Experiments
from projections.input_rules import RunInputs, say_input
from projections.log import StoredBatch
from projections.metric_summaries import MetricTable, summarised
from projections.model_rules import LINK_EVENTS, MODEL_EVENTS, Models, link_of
from projections.projection import DecodedBatch
from projections.runs_state import (
    Changes,
    ParamValue,
    RunDetails,
    RunEntry,
    RunsLoader,
    RunState,
    Said,
    WriterState,
)
from tracker.events.types import Event, EventType

# Between transactions, what was touched longest ago is let go beyond these numbers. An
# entry is a run, a param, a tag or a metric: 100 to 300 bytes each, so 30 MB at most
# beside the runs of the round itself.
ENTRIES_CACHED_MAX: Final = 100_000
WRITERS_CACHED_MAX: Final = 20_000
KEYS_CACHED_MAX: Final = 100_000
EXPERIMENTS_CACHED_MAX: Final = 10_000
ARTIFACTS_CACHED_MAX: Final = 100_000
MODELS_CACHED_MAX: Final = 10_000

_Frames = dict[tuple[str, tuple[str, ...]], list[MetricFrame]]


class RunsFold:
    """The state in memory and what changed in it since `take_changes`.

    When storing the changes fails, throw the fold away: its memory is ahead of the store.
    """

    def __init__(
        self, loader: RunsLoader, *, runs_count: int, keys_count: int, skipped: Counter[str]
    ) -> None:
        self._loader = loader
        self._runs_count = runs_count
        self._keys_count = keys_count
        self._runs: OrderedDict[str, RunEntry] = OrderedDict()
        self._writers: OrderedDict[str, WriterState] = OrderedDict()
        self._keys: dict[str, int] = {}
        self._experiments = Experiments(loader)
        self._artifacts = Artifacts(loader)
        self._models = Models(loader)
        self._changes = Changes()
        self.skipped = skipped

    def fold(self, batches: Sequence[DecodedBatch]) -> None:
        """Fold batches in order of position."""
        frames: _Frames = {}
        for batch, columns in batches:
            if columns.metrics or columns.events or columns.dropped:
                self._fold_batch(batch, columns, frames)
        for (run_id, keys), group in frames.items():
            entry = self._runs[run_id]
            self._metrics(entry).merge([self._keys[key] for key in keys], summarised(group))

    def unknown(
        self, *, run_ids: Collection[str], writer_ids: Collection[str], keys: Collection[str]
    ) -> tuple[list[str], list[str], list[str]]:
        """Those of the runs, writers and keys that would have to be loaded."""
        some_keys = keys if len(self._keys) < self._keys_count else ()
        return (
            sorted(run_id for run_id in run_ids if run_id not in self._runs),
            sorted(writer_id for writer_id in writer_ids if writer_id not in self._writers),
            sorted(key for key in some_keys if key not in self._keys),
        )

    def run_nos_without(self, part: str, run_ids: Collection[str]) -> list[int]:
        """The numbers of stored runs of which `part` (details …) would have to be loaded."""
        found = []
        for run_id in run_ids:
            entry = self._runs.get(run_id)
            run = self._loader.run(run_id) if entry is None else entry.run
            if run is not None and (entry is None or getattr(entry, part) is None):
                found.append(run.run_no)
        return sorted(found)

    def take_changes(self) -> Changes:
        """What changed since the last call, to be stored in one transaction."""
        changes, self._changes = self._changes, Changes()
        return changes

    def settle(self, changes: Changes) -> None:
        """These changes are stored: forget what is beyond the limits of memory."""
        for entry in changes.runs.values():
            entry.changed_params.clear()
            entry.changed_conflicts.clear()
            entry.changed_tags.clear()
            if entry.metrics is not None:
                entry.metrics.changed.clear()
            if entry.inputs is not None:
                entry.inputs.changed.clear()
        size = sum(map(len, self._runs.values()))
        while size > ENTRIES_CACHED_MAX:
            size -= len(self._runs.popitem(last=False)[1])
        while len(self._writers) > WRITERS_CACHED_MAX:
            self._writers.popitem(last=False)
        if len(self._keys) > KEYS_CACHED_MAX:
            self._keys.clear()
        if len(self._experiments) > EXPERIMENTS_CACHED_MAX:
            self._experiments = Experiments(self._loader)
        if len(self._artifacts) > ARTIFACTS_CACHED_MAX:
            self._artifacts = Artifacts(self._loader)
        if len(self._models) > MODELS_CACHED_MAX:
            self._models = Models(self._loader)

    def _fold_batch(self, batch: StoredBatch, columns: Columns, frames: _Frames) -> None:
        entry = self._entry(batch) if batch.run_id else None
        writer = self._writer(batch, entry)
        if entry is not None:
            for frame in columns.metrics:
                self._take_frame(entry, frame, frames)
            for dropped in columns.dropped:
                run_rules.see_time(entry.run, dropped.time_us)
                run_rules.range_dropped(entry.run, dropped)
        else:
            self.skipped[EventType.METRICS_LOGGED] += sum(len(f.steps) for f in columns.metrics)
        for item in columns.events:
            self._apply(item, entry, writer, batch.first_position + item.offset)
        if entry is not None and entry.run.guesses:
            run_rules.drop_outdated_guesses(entry.run, lambda w: self._next_seq(entry.run, w))

    def _apply(
        self, item: OffsetEvent, entry: RunEntry | None, writer: WriterState, position: int
    ) -> None:
        event = item.event
        order_us = writer.advance(event.time_us)
        if event.type in EXPERIMENT_EVENTS:
            self._experiments.apply(event, order_us, position, self._changes)
            return
        if event.type in ARTIFACT_EVENTS:
            self._say_artifact(event, order_us, entry)
            return
        if event.type in MODEL_EVENTS:
            self._say_model(event, order_us, entry)
            return
        if entry is None:
            self.skipped[event.type] += 1
            return
        if not entry.run.born_writer_id:
            run_rules.see_time(entry.run, event.time_us)
        # By hand and not by a table: these are nearly all events of a log.
        if event.type == "tags.set":
            self._say_tags(entry, event.data["tags"], order_us)
        elif event.type == "params.logged":
            self._say_params(entry, event.data["params"], order_us, writer.writer_id)
        elif event.type == "run.started":
            experiment_id = self._experiments.bind(
                event.data, event.time_us, position, self._changes
            )
            run_rules.started(entry.run, event, order_us, writer, experiment_id)
            self._say_tags(entry, event.data.get("tags") or {}, order_us)
        elif event.type == "tag.deleted":
            self._say_tags(entry, {event.data["key"]: None}, order_us)
        elif event.type == "input.logged":
            say_input(self._inputs(entry), event.data, order_us)
        elif event.type in LINK_EVENTS:
            self._changes.models.links.add(link_of(event, entry.run.run_no))
        elif event.type in run_rules.RULES:
            run_rules.RULES[event.type](entry.run, event, order_us, writer)
        else:
            self.skipped[event.type] += 1

    def _say_artifact(self, event: Event, order_us: int, entry: RunEntry | None) -> None:
        run_id = "" if entry is None else entry.run.run_id
        if entry is not None and not entry.run.is_born:
            run_rules.see_time(entry.run, event.time_us)
        if not self._artifacts.apply(event, order_us, run_id, self._changes.artifacts):
            self.skipped[event.type] += 1

    def _say_tags(self, entry: RunEntry, tags: Mapping[str, str | None], order_us: int) -> None:
        details = entry.details or self._details(entry)
        for key, value in tags.items():
            run_rules.say_tag(entry, details, self._key_id(key), Said(order_us, value))

    def _say_params(
        self, entry: RunEntry, params: Mapping[str, str], order_us: int, writer_id: str
    ) -> None:
        details = entry.details or self._details(entry)
        for key, value in params.items():
            said = ParamValue(order_us, value, writer_id)
            run_rules.say_param(entry, details, self._key_id(key), said)

    def _take_frame(self, entry: RunEntry, frame: MetricFrame, frames: _Frames) -> None:
        """Keep the frame for the end of the round; its new keys are numbered now, in order."""
        if not entry.run.is_born:
            run_rules.see_time(entry.run, int(frame.times_us.min()))
        group = frames.get((entry.run.run_id, frame.keys))
        if group is None:
            for key in frame.keys:
                self._key_id(key)
            frames[entry.run.run_id, frame.keys] = group = []
        group.append(frame)

    def _entry(self, batch: StoredBatch) -> RunEntry:
        entry = self._runs.get(batch.run_id)
        if entry is None:
            run = self._loader.run(batch.run_id)
            if run is None:
                self._runs_count += 1
                run = RunState(self._runs_count, batch.run_id, batch.first_position)
                entry = RunEntry(run, RunDetails(), MetricTable())
            else:
                entry = RunEntry(run, None, None)
            self._runs[batch.run_id] = entry
        else:
            self._runs.move_to_end(batch.run_id)
        entry.run.last_position = batch.last_position
        entry.run.updated_us = batch.received_at_us
        self._changes.runs[batch.run_id] = entry
        return entry

    def _writer(self, batch: StoredBatch, entry: RunEntry | None) -> WriterState:
        run_no = entry.run.run_no if entry else None
        writer = self._writers.get(batch.writer_id) or self._loader.writer(batch.writer_id)
        if writer is None:
            writer = WriterState(batch.writer_id, run_no=run_no)
        elif writer.run_no != run_no:
            writer.run_no = None
        self._writers[batch.writer_id] = writer
        self._writers.move_to_end(batch.writer_id)
        writer.epoch = max(writer.epoch, batch.epoch)
        writer.next_seq = max(writer.next_seq, batch.first_seq + batch.n)
        writer.last_position = batch.last_position
        self._changes.writers[batch.writer_id] = writer
        return writer

    def _next_seq(self, run: RunState, writer_id: str) -> int:
        writer = self._writers.get(writer_id) or self._loader.writer(writer_id)
        return writer.next_seq if writer is not None and writer.run_no == run.run_no else 0

    def _details(self, entry: RunEntry) -> RunDetails:
        if entry.details is None:
            entry.details = self._loader.details(entry.run.run_no)
        return entry.details

    def _say_model(self, event: Event, order_us: int, entry: RunEntry | None) -> None:
        run_id = "" if entry is None else entry.run.run_id
        if entry is not None and not entry.run.is_born:
            run_rules.see_time(entry.run, event.time_us)
        self._models.apply(event, order_us, run_id, self._changes.models)

    def _inputs(self, entry: RunEntry) -> RunInputs:
        if entry.inputs is None:
            entry.inputs = self._loader.inputs(entry.run.run_no)
        return entry.inputs

    def _metrics(self, entry: RunEntry) -> MetricTable:
        if entry.metrics is None:
            entry.metrics = self._loader.metrics(entry.run.run_no)
        return entry.metrics

    def _key_id(self, key: str) -> int:
        key_id = self._keys.get(key)
        if key_id is None:
            # When all keys there are lie in memory, an unknown one is a new one.
            if len(self._keys) < self._keys_count:
                key_id = self._loader.key_id(key)
            if key_id is None:
                self._keys_count += 1
                key_id = self._keys_count
                self._changes.keys[key] = key_id
            self._keys[key] = key_id
        return key_id
