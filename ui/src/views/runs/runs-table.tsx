/** The table of runs: flat, grouped by values, or as a tree of nested runs. */
import { useEffect, useMemo, useRef } from "preact/hooks";

import { ApiError } from "../../api/client";
import { Empty, Failed, Loading } from "../../components/basics";
import { many, whole } from "../../components/format";
import { Icon } from "../../components/icons";
import { assigned } from "../../state/colors";
import { go, listText, setQuery } from "../../state/location";
import { pulse } from "../../state/live";
import { textOf, type Column } from "../../table/columns";
import { Grid } from "../../table/grid";
import { ROW_HEIGHT } from "../../table/viewport";
import { BulkBar } from "./bulk-bar";
import { ColumnPicker } from "./column-picker";
import { GroupLines } from "./group-lines";
import { GroupPicker } from "./group-picker";
import type { Lines } from "./lines";
import { cellOf, hintOf, type CellContext } from "./run-cells";
import { RunHeader } from "./run-header";
import type { RunsState } from "./state";
import { useColumns } from "./use-columns";
import { useLines } from "./use-lines";

export function RunsTable({ state, names }: { state: RunsState; names: Map<string, string> }) {
  const columns = useColumns(state);
  if (!columns) return <Loading what="Looking for runs" />;
  return <Table state={state} names={names} columns={columns} />;
}

function Table({
  state,
  names,
  columns,
}: {
  state: RunsState;
  names: Map<string, string>;
  columns: Column[];
}) {
  const lines = useLines(state, columns);
  const version = lines?.version.value ?? 0;
  const seen = useRef({ from: 0, to: 0 });
  const scroller = useRef<HTMLElement | null>(null);
  const lastToggled = useRef<number | null>(null);
  const actions = useRef({ toggle: (_index: number, _isRange: boolean) => {} });
  const selected = useMemo(() => new Set(state.selected), [listText(state.selected)]);
  const isNewestFirst = state.order.length === 0;
  const colours = assigned.value;

  const beat = pulse.value;
  useEffect(() => {
    if (!lines || beat === 0) return;
    void lines.refresh(seen.current.from, seen.current.to, isNewestFirst).then((added) => {
      const element = scroller.current;
      if (added > 0 && element && element.scrollTop > 0) element.scrollTop += added * ROW_HEIGHT;
    });
  }, [beat, lines]);

  if (!lines) return <Loading what="Looking for runs" />;
  const isRefused = lines.error instanceof ApiError && lines.error.code === "invalid_query";
  const onColumns = (next: Column[] | null) =>
    setQuery({ cols: next === null ? null : listText(next.map(textOf)) });
  const select = (ids: Iterable<string>) => setQuery({ sel: listText([...ids]) });
  const toggle = (index: number, isRange: boolean) => {
    const line = lines.line(index);
    if (line.kind !== "run") return;
    const next = new Set(selected);
    const isOn = !next.has(line.run.run_id);
    const from = isRange && lastToggled.current !== null ? lastToggled.current : index;
    for (let i = Math.min(from, index); i <= Math.max(from, index); i += 1) {
      const one = lines.line(i);
      if (one.kind !== "run") continue;
      if (isOn) next.add(one.run.run_id);
      else next.delete(one.run.run_id);
    }
    lastToggled.current = index;
    select(next);
  };
  // Rows are not drawn again when the selection of others changes: they call the newest one.
  actions.current.toggle = toggle;
  const context: CellContext = {
    names,
    groups: state.groups,
    isTree: state.isTree,
    isSelected: (id) => selected.has(id),
    onToggle: (index, isRange) => actions.current.toggle(index, isRange),
    onOpen: (key) => lines.toggle(key),
  };
  const open = (index: number) => {
    const line = lines.line(index);
    if (line.kind === "run") go(`/runs/${encodeURIComponent(line.run.run_id)}`);
    else if (line.kind === "group") lines.toggle(line.key);
  };

  return (
    <section class="table-page" aria-label="Runs" data-version={version}>
      <div class="table-tools">
        {selected.size > 0 ? (
          <BulkBar
            selected={state.selected}
            isDeleted={state.isDeleted}
            onChanged={(runs) => lines.write(runs)}
            onGone={(ids) => lines.remove(ids)}
          />
        ) : (
          <Count lines={lines} />
        )}
        <div class="row">
          <GroupPicker state={state} />
          <button
            type="button"
            aria-pressed={state.isTree}
            class={state.isTree ? "on" : ""}
            disabled={state.groups.length > 0}
            title="Nested runs below their parents"
            onClick={() => setQuery({ tree: !state.isTree })}
          >
            <Icon name="tree" /> <span class="button-text">Tree</span>
          </button>
          <ColumnPicker columns={columns} experiments={state.experiments} onChange={onColumns} />
        </div>
      </div>
      {lines.error && lines.length === 0 ? (
        isRefused ? (
          <Empty title="The filter cannot be read">
            <p class="faint">It is marked above where it goes wrong.</p>
          </Empty>
        ) : (
          <Failed error={lines.error} retry={() => lines.retry()} />
        )
      ) : lines.length === 0 ? (
        <Empty title="No run matches">
          {state.filter && (
            <button type="button" onClick={() => setQuery({ q: null }, { replace: false })}>
              Clear the filter
            </button>
          )}
        </Empty>
      ) : (
        <Grid
          label="Runs"
          source={lines}
          columns={columns}
          rowCount={lines.length}
          rowParts={(index) => {
            const line = lines.line(index);
            if (line.kind === "run") {
              return [line.run, line.children, line.isOpen, line.depth, names, colours, state.isTree];
            }
            return line.kind === "group" ? [line.group, line.isOpen, names] : [];
          }}
          rowClass={(index) => {
            const line = lines.line(index);
            if (line.kind === "group") return "group";
            return line.kind === "run" && line.run.lifecycle_stage === "deleted" && !state.isDeleted ? "gone" : "";
          }}
          isSelected={(index) => {
            const line = lines.line(index);
            return line.kind === "run" && selected.has(line.run.run_id);
          }}
          cell={(index, column) => cellOf(lines.line(index), index, column.id, context)}
          hint={(index, columnId) => hintOf(lines.line(index), columnId)}
          header={(column) => (
            <RunHeader
              column={column}
              state={state}
              isSortable={state.groups.length === 0}
              lines={lines}
              onSelect={select}
              selected={selected}
            />
          )}
          onSeen={(from, to) => {
            seen.current = { from, to };
            lines.see(from, to);
          }}
          onOpen={open}
          onToggle={toggle}
          onColumns={onColumns}
          onScroller={(element) => {
            scroller.current = element;
          }}
        />
      )}
      {lines.error && lines.length > 0 && !isRefused && (
        <div class="note" role="alert">
          {lines.error.message}{" "}
          <button type="button" class="link" onClick={() => lines.retry()}>
            Try again
          </button>
        </div>
      )}
    </section>
  );
}

function Count({ lines }: { lines: Lines }) {
  const loaded = lines.runs().length;
  const total = lines.total;
  if (lines.error && loaded === 0) return <div />;
  const runs = total === undefined ? `${whole(loaded)} runs, more to come` : many(total, "run");
  const groups = lines instanceof GroupLines ? ` in ${many(lines.groupCount, "group")}` : "";
  return (
    <div class="count" role="status">
      {runs}
      {groups}
      {lines.isLoading && loaded > 0 && <span class="faint"> · {whole(loaded)} loaded …</span>}
      {lines instanceof GroupLines && lines.isReduced && <span class="faint"> · the greatest groups</span>}
    </div>
  );
}
