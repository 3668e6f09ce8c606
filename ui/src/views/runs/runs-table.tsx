/** The table of runs: flat, grouped by values, or as a tree of nested runs. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { ApiError } from "../../api/client";
import { listKeys } from "../../api/runs";
import { toNumber, type Run } from "../../api/types";
import { Empty, Failed, Link, Loading, Time } from "../../components/basics";
import { number, whole } from "../../components/format";
import { Icon } from "../../components/icons";
import { Popover } from "../../components/popover";
import { StatusBadge } from "../../components/status";
import { assigned, colorOf } from "../../state/colors";
import { go, listText, setQuery } from "../../state/location";
import { pulse } from "../../state/live";
import { useResource } from "../../state/resource";
import {
  cellText,
  columnOf,
  fieldOf,
  isNumeric,
  labelOf,
  orderExpression,
  textOf,
  type Column,
} from "../../table/columns";
import { Grid, ROW_HEIGHT } from "../../table/grid";
import { BulkBar } from "./bulk-bar";
import { ColumnPicker } from "./column-picker";
import { FlatLines, GroupLines, TreeLines, type Line, type Lines } from "./rows";
import { orderText, runQuery, type RunsState } from "./state";

const DEFAULT_METRICS = 6;
const DEFAULT_PARAMS = 6;

export function RunsTable({ state, names }: { state: RunsState; names: Map<string, string> }) {
  const columns = useColumns(state);
  if (!columns) return <Loading what="Looking for runs" />;
  return <Table state={state} names={names} columns={columns} />;
}

/** The columns asked for, or a few of the experiment's own. */
export function useColumns(state: RunsState): Column[] | undefined {
  const experiment_ids = state.experiments.join(",");
  const isChosen = state.columns !== null;
  const [defaults, setDefaults] = useState<{ of: string; ids: string[] }>();
  const keys = useResource(
    async (signal) => {
      if (isChosen) return null;
      const [metrics, params] = await Promise.all([
        listKeys("metrics", { experiment_ids, max_results: 200 }, signal),
        listKeys("params", { experiment_ids, max_results: 200 }, signal),
      ]);
      return { of: experiment_ids, metrics: metrics.keys, params: params.keys };
    },
    [experiment_ids, isChosen],
    { isLive: !isChosen },
  );
  useEffect(() => {
    if (!keys.data) return;
    const own = keys.data.metrics.filter((key) => !key.startsWith("system/"));
    const ids = [
      "!name",
      "status",
      "start_time",
      "duration",
      ...own.slice(0, DEFAULT_METRICS).map((key) => `metrics.${key}`),
      ...keys.data.params.slice(0, DEFAULT_PARAMS).map((key) => `params.${key}`),
    ];
    const of = keys.data.of;
    setDefaults((old) => (old?.of === of && listText(old.ids) === listText(ids) ? old : { of, ids }));
  }, [keys.data]);
  const text = state.columns ? listText(state.columns.map(textOf)) : null;
  const failed = keys.error && !keys.data ? ["!name", "status", "start_time", "duration"] : null;
  return useMemo(() => {
    if (state.columns) return withName(state.columns);
    if (defaults?.of === experiment_ids) return defaults.ids.map(columnOf);
    return failed?.map(columnOf);
  }, [text, defaults, experiment_ids, failed !== null]);
}

function withName(columns: Column[]): Column[] {
  return columns.some((column) => column.id === "name") ? columns : [columnOf("!name"), ...columns];
}

function linesFor(state: RunsState, columns: readonly Column[]): Lines {
  const query = runQuery(state, columns);
  if (state.groups.length > 0) {
    const metrics = columns.flatMap((column) => {
      const field = fieldOf(column.id);
      return field.kind === "metrics" ? [field.key] : [];
    });
    return new GroupLines(query, state.groups, [...new Set(metrics)]);
  }
  if (state.isTree) {
    const roots = state.filter ? query : runQuery(state, columns, "parent_run_id IS NULL");
    return new TreeLines(roots, (runId) => ({
      ...query,
      experiment_ids: [],
      filter: `parent_run_id = '${runId}'`,
      order_by: query.order_by?.length ? query.order_by : ["start_time ASC"],
    }));
  }
  return new FlatLines(query);
}

/** The lines of a search; those of the last one stay until the new ones are there. */
function useLines(state: RunsState, columns: readonly Column[]): Lines | null {
  const identity = JSON.stringify([
    runQuery(state, columns),
    state.groups,
    state.isTree,
    columns.map((column) => column.id).sort(),
  ]);
  const [reloads, setReloads] = useState(0);
  const [shown, setShown] = useState<Lines | null>(null);
  useEffect(() => {
    const reload = () => setReloads((count) => count + 1);
    addEventListener("tracker-reload", reload);
    return () => removeEventListener("tracker-reload", reload);
  }, []);
  useEffect(() => {
    const lines = linesFor(state, columns);
    let isDone = false;
    const stop = lines.version.subscribe(() => {
      if (!isDone && lines.isReady) {
        isDone = true;
        setShown(lines);
      }
    });
    return () => {
      stop();
      lines.close();
    };
  }, [identity, reloads]);
  return shown;
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
  const isSortable = state.groups.length === 0;
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
          <Count lines={lines} state={state} />
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
          cell={(index, column) => (
            <CellContent
              line={lines.line(index)}
              column={column}
              names={names}
              colours={colours}
              isSelected={(id) => selected.has(id)}
              onToggle={(isRange) => actions.current.toggle(index, isRange)}
              onOpen={(key) => lines.toggle(key)}
              groups={state.groups}
              isTree={state.isTree}
            />
          )}
          header={(column) => <HeaderContent column={column} state={state} isSortable={isSortable} lines={lines} onSelect={select} selected={selected} />}
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

function Count({ lines, state }: { lines: Lines; state: RunsState }) {
  const loaded = lines.runs().length;
  const total = lines.total;
  if (lines.error && loaded === 0) return <div />;
  const word = state.groups.length > 0 ? `in ${whole(lines.length)} groups` : "";
  return (
    <div class="count" role="status">
      {total === undefined ? `${whole(loaded)} runs, more to come` : `${whole(total)} ${total === 1 ? "run" : "runs"} ${word}`}
      {lines.isLoading && loaded > 0 && <span class="faint"> · {whole(loaded)} loaded …</span>}
      {lines instanceof GroupLines && lines.isReduced && <span class="faint"> · the greatest groups</span>}
    </div>
  );
}

function GroupPicker({ state }: { state: RunsState }) {
  const [params, setParams] = useState<string[]>([]);
  const [tags, setTags] = useState<string[]>([]);
  const [text, setText] = useState("");
  const load = () => {
    const query = { experiment_ids: state.experiments.join(","), max_results: 1000 };
    listKeys("params", query).then((answer) => setParams(answer.keys), () => {});
    listKeys("tags", query).then((answer) => setTags(answer.keys), () => {});
  };
  const all = [
    "status",
    "user",
    "experiment",
    ...params.map((key) => `params.${key}`),
    ...tags.filter((key) => !key.startsWith("mlflow.")).map((key) => `tags.${key}`),
  ];
  const toggle = (id: string) => {
    const next = state.groups.includes(id)
      ? state.groups.filter((one) => one !== id)
      : [...state.groups, id].slice(-3);
    setQuery({ group: listText(next), tree: null });
  };
  return (
    <div onPointerDown={load} onFocusIn={params.length + tags.length === 0 ? load : undefined}>
      <Popover
        label={state.groups.length > 0 ? `By ${state.groups.map(labelOf).join(", ")}` : "Group"}
        icon="group"
        align="right"
      >
        {() => (
          <div class="picker">
            <input
              type="search"
              placeholder="Group by"
              aria-label="Group by"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
            <ul class="picker-list">
              {all
                .filter((id) => id.toLowerCase().includes(text.toLowerCase()))
                .slice(0, 200)
                .map((id) => (
                  <li key={id}>
                    <label>
                      <input
                        type="checkbox"
                        checked={state.groups.includes(id)}
                        onChange={() => toggle(id)}
                      />
                      <span class="ellipsis">{id}</span>
                    </label>
                  </li>
                ))}
            </ul>
          </div>
        )}
      </Popover>
    </div>
  );
}

function HeaderContent({
  column,
  state,
  isSortable,
  lines,
  selected,
  onSelect,
}: {
  column: Column;
  state: RunsState;
  isSortable: boolean;
  lines: Lines;
  selected: ReadonlySet<string>;
  onSelect: (ids: Iterable<string>) => void;
}) {
  const sorted = state.order.find((one) => one.id === column.id);
  const expression = isSortable ? orderExpression(column.id) : null;
  const sort = (event: MouseEvent) => {
    if (!expression) return;
    const isNumber = isNumeric(column.id) || column.id.endsWith("time");
    const next = !sorted
      ? { id: column.id, isDescending: isNumber }
      : sorted.isDescending === isNumber
        ? { id: column.id, isDescending: !isNumber }
        : null;
    const others = event.shiftKey ? state.order.filter((one) => one.id !== column.id) : [];
    setQuery({ order: listText(orderText(next ? [...others, next] : others)) });
  };
  const kind = fieldOf(column.id).kind;
  return (
    <>
      {column.id === "name" && (
        <input
          type="checkbox"
          aria-label="Select the loaded runs"
          checked={selected.size > 0}
          onChange={() => onSelect(selected.size > 0 ? [] : lines.runs().slice(0, 100).map((run) => run.run_id))}
        />
      )}
      <button
        type="button"
        class={`head-label${isNumeric(column.id) ? " numeric" : ""}`}
        disabled={!expression}
        title={`${labelOf(column.id)}${expression ? ": sort; with Shift also by it" : ""}`}
        aria-label={`${labelOf(column.id)}${sorted ? (sorted.isDescending ? ", sorted from the greatest" : ", sorted from the least") : ""}`}
        onClick={sort}
      >
        {kind !== "attribute" && <span class={`kind ${kind}`} aria-hidden="true" />}
        <span class="ellipsis">{labelOf(column.id)}</span>
        {sorted && <Icon name={sorted.isDescending ? "down" : "up"} size={13} />}
      </button>
    </>
  );
}

interface CellProps {
  line: Line;
  column: Column;
  names: Map<string, string>;
  colours: ReadonlyMap<string, string>;
  isSelected: (id: string) => boolean;
  onToggle: (isRange: boolean) => void;
  onOpen: (key: string) => void;
  groups: string[];
  isTree: boolean;
}

function CellContent(props: CellProps) {
  const { line, column } = props;
  if (line.kind === "waiting") return <span class="skeleton" />;
  if (line.kind === "group") return <GroupCell {...props} line={line} />;
  if (column.id === "name") return <NameCell {...props} line={line} />;
  return <ValueCell run={line.run} column={column} names={props.names} />;
}

function ValueCell({ run, column, names }: { run: Run; column: Column; names: Map<string, string> }) {
  switch (column.id) {
    case "status":
      return <StatusBadge run={run} />;
    case "start_time":
      return <Time us={run.start_time_us} />;
    case "end_time":
      return <Time us={run.end_time_us} />;
    case "experiment":
      return <span class="ellipsis">{names.get(run.experiment_id) ?? run.experiment_id}</span>;
    case "parent":
      return run.parent_run_id ? (
        <Link to={`/runs/${encodeURIComponent(run.parent_run_id)}`} class="ellipsis mono">
          {run.parent_run_id.slice(0, 12)}
        </Link>
      ) : null;
    default: {
      const text = cellText(run, column.id);
      if (text === undefined) {
        return <span class={`faint${isNumeric(column.id) ? " numeric" : ""}`}>–</span>;
      }
      return (
        <span class={isNumeric(column.id) ? "numeric" : "ellipsis"} title={text.slice(0, 500)}>
          {text.slice(0, 300)}
        </span>
      );
    }
  }
}

function NameCell({ line, isSelected, onToggle, onOpen, isTree }: CellProps & { line: Line & { kind: "run" } }) {
  const { run } = line;
  const isOn = isSelected(run.run_id);
  return (
    <>
      <input
        type="checkbox"
        checked={isOn}
        aria-label={`Select ${run.name}`}
        onClick={(event) => {
          event.stopPropagation();
          onToggle(event.shiftKey);
        }}
      />
      {line.depth > 0 && <span class="indent" />}
      {isTree &&
        line.depth === 0 &&
        (line.children > 0 ? (
          <button
            type="button"
            class="icon-button small"
            aria-expanded={line.isOpen}
            aria-label={`${line.children} nested runs of ${run.name}`}
            onClick={() => onOpen(run.run_id)}
          >
            <Icon name={line.isOpen ? "down" : "right"} size={13} />
          </button>
        ) : (
          <span class="indent" />
        ))}
      <span class={`dot${isOn ? "" : " hollow"}`} style={{ "--run": colorOf(run.run_id) }} />
      <Link to={`/runs/${encodeURIComponent(run.run_id)}`} class="ellipsis" title={run.name}>
        {run.name || run.run_id}
      </Link>
      {line.children > 0 && <span class="badge">{line.children}</span>}
      {run.dropped > 0 && (
        <span class="warning" title={`${run.dropped} records of this run were lost on its machine`}>
          !
        </span>
      )}
    </>
  );
}

function GroupCell({ line, column, names, onOpen, groups }: CellProps & { line: Line & { kind: "group" } }) {
  const { group } = line;
  if (column.id === "name") {
    const label = group.values.map((value, index) =>
      value === null ? "(none)" : groups[index] === "experiment" ? (names.get(value) ?? value) : value,
    );
    return (
      <button type="button" class="group-toggle" aria-expanded={line.isOpen} onClick={() => onOpen(line.key)}>
        <Icon name={line.isOpen ? "down" : "right"} size={13} />
        <span class="ellipsis">{label.join(" · ")}</span>
        <span class="badge">{whole(group.count)}</span>
      </button>
    );
  }
  const field = fieldOf(column.id);
  const place = groups.indexOf(column.id);
  if (place >= 0) return <span class="ellipsis">{group.values[place] ?? "–"}</span>;
  const metric = field.kind === "metrics" ? group.metrics[field.key] : undefined;
  if (!metric || metric.count === 0) return null;
  const value = field.summary === "min" ? metric.min : field.summary === "max" ? metric.max : metric.mean;
  const text = `mean ${number(toNumber(metric.mean))}, ${number(toNumber(metric.min))} to ${number(toNumber(metric.max))}, of ${metric.count} runs`;
  return (
    <span class="numeric" title={text}>
      {number(toNumber(value), 4)}
    </span>
  );
}
