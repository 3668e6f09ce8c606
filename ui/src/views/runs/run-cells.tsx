/** What the cells of the table show of a run, or of a group of runs. */
import { Link } from "../../components/basics";
import { exact, many, number, when, whole } from "../../components/format";
import { Icon } from "../../components/icons";
import { StatusBadge, statusMeaning } from "../../components/status";
import { colorOf } from "../../state/colors";
import { toNumber, type GroupMetric, type Run } from "../../api/types";
import { cellText, fieldOf, isNumeric } from "../../table/columns";
import type { CellView } from "../../table/grid-row";
import type { Line } from "./lines";

export type RunLine = Line & { kind: "run" };
export type GroupLine = Line & { kind: "group" };

const NOTHING: CellView = { content: "–", className: "faint" };
const NO_NUMBER: CellView = { content: "–", className: "faint numeric" };
const WAITING: CellView = { content: <span class="skeleton" /> };
const TEXT_SHOWN = 300;
const HINT_SHOWN = 500;
const INDENT_PX = 18;

export interface CellContext {
  names: ReadonlyMap<string, string>;
  groups: readonly string[];
  isTree: boolean;
  isSelected: (runId: string) => boolean;
  onToggle: (index: number, isRange: boolean) => void;
  onOpen: (key: string) => void;
}

export function cellOf(line: Line, index: number, columnId: string, context: CellContext): CellView {
  if (line.kind === "waiting") return WAITING;
  if (line.kind === "group") return groupCell(line, columnId, context);
  if (columnId === "name") return { content: nameContent(line, index, context) };
  return valueCell(line.run, columnId, context.names);
}

/** What a cell says when pointed at, where that is more than it shows. */
export function hintOf(line: Line, columnId: string): string | undefined {
  if (line.kind === "waiting") return undefined;
  if (line.kind === "group") {
    const metric = metricOf(line, columnId);
    return metric && groupHint(metric);
  }
  const { run } = line;
  switch (columnId) {
    case "name":
      return run.name;
    case "status":
      return statusMeaning(run);
    case "start_time":
      return exact(run.start_time_us);
    case "end_time":
      return run.end_time_us === null ? undefined : exact(run.end_time_us);
    case "parent":
      return run.parent_run_id ?? undefined;
    default:
      return exactMetric(run, columnId) ?? cellText(run, columnId)?.slice(0, HINT_SHOWN);
  }
}

/** All digits of the number that a cell shows five of. */
function exactMetric(run: Run, columnId: string): string | undefined {
  const field = fieldOf(columnId);
  if (field.kind !== "metrics" || field.summary !== "last") return undefined;
  const metric = run.metrics[field.key];
  return metric && `${toNumber(metric.last.value)} at step ${metric.last.step}`;
}

function valueCell(run: Run, columnId: string, names: ReadonlyMap<string, string>): CellView {
  switch (columnId) {
    case "status":
      return { content: <StatusBadge run={run} isTitled={false} /> };
    case "start_time":
      return { content: when(run.start_time_us) };
    case "end_time":
      return run.end_time_us === null ? NOTHING : { content: when(run.end_time_us) };
    case "experiment":
      return { content: names.get(run.experiment_id) ?? run.experiment_id };
    case "parent":
      if (!run.parent_run_id) return NOTHING;
      return {
        content: (
          <Link to={`/runs/${encodeURIComponent(run.parent_run_id)}`} class="mono">
            {run.parent_run_id.slice(0, 12)}
          </Link>
        ),
      };
    default: {
      const text = cellText(run, columnId);
      const isNumber = isNumeric(columnId);
      if (text === undefined) return isNumber ? NO_NUMBER : NOTHING;
      return isNumber ? { content: text, className: "numeric" } : { content: text.slice(0, TEXT_SHOWN) };
    }
  }
}

function nameContent(line: RunLine, index: number, { isSelected, isTree, onToggle, onOpen }: CellContext) {
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
          onToggle(index, event.shiftKey);
        }}
      />
      {line.depth > 0 && <span class="indent" style={`width:${line.depth * INDENT_PX}px`} />}
      {isTree && <Opener line={line} onOpen={onOpen} />}
      <span class={`dot${isOn ? "" : " hollow"}`} style={`--run:${colorOf(run.run_id)}`} />
      <Link to={`/runs/${encodeURIComponent(run.run_id)}`} class="ellipsis">
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

function Opener({ line, onOpen }: { line: RunLine; onOpen: (key: string) => void }) {
  if (line.children === 0) return <span class="indent" />;
  return (
    <button
      type="button"
      class="icon-button small"
      aria-expanded={line.isOpen}
      aria-label={`${many(line.children, "nested run")} of ${line.run.name}`}
      onClick={() => onOpen(line.run.run_id)}
    >
      <Icon name={line.isOpen ? "down" : "right"} size={13} />
    </button>
  );
}

function groupCell(line: GroupLine, columnId: string, context: CellContext): CellView {
  const { group } = line;
  if (columnId === "name") return { content: <GroupName line={line} {...context} /> };
  const place = context.groups.indexOf(columnId);
  if (place >= 0) return { content: group.values[place] ?? "–" };
  const metric = metricOf(line, columnId);
  if (!metric) return { content: "" };
  const { summary } = fieldOf(columnId);
  const value = summary === "min" ? metric.min : summary === "max" ? metric.max : metric.mean;
  return { content: number(toNumber(value), 4), className: "numeric" };
}

function metricOf(line: GroupLine, columnId: string): GroupMetric | undefined {
  const field = fieldOf(columnId);
  const metric = field.kind === "metrics" ? line.group.metrics[field.key] : undefined;
  return metric && metric.count > 0 ? metric : undefined;
}

function groupHint(metric: GroupMetric): string {
  const [mean, min, max] = [metric.mean, metric.min, metric.max].map((one) => number(toNumber(one)));
  return `mean ${mean}, ${min} to ${max}, of ${metric.count} runs`;
}

function GroupName({ line, names, groups, onOpen }: CellContext & { line: GroupLine }) {
  const label = line.group.values.map((value, index) =>
    value === null ? "(none)" : groups[index] === "experiment" ? (names.get(value) ?? value) : value,
  );
  return (
    <button type="button" class="group-toggle" aria-expanded={line.isOpen} onClick={() => onOpen(line.key)}>
      <Icon name={line.isOpen ? "down" : "right"} size={13} />
      <span class="ellipsis">{label.join(" · ")}</span>
      <span class="badge">{whole(line.group.count)}</span>
    </button>
  );
}
