/**
 * The lines of the table, whatever makes them: the runs of a search, groups that open into
 * their runs, or roots that open into their children. The grid asks for line n.
 */
import { signal, type ReadonlySignal } from "@preact/signals";

import { isAbort } from "../../api/client";
import { groupRuns } from "../../api/runs";
import type { Group, Run, RunQuery } from "../../api/types";
import { fieldOf, quoted } from "../../table/columns";
import { RunSource } from "../../table/source";

export type Line =
  | { kind: "run"; run: Run; depth: number; children: number; isOpen: boolean }
  | { kind: "group"; group: Group; key: string; isOpen: boolean }
  | { kind: "waiting"; key: string; depth: number };

export interface Lines {
  readonly version: ReadonlySignal<number>;
  readonly length: number;
  readonly total: number | undefined;
  readonly isLoading: boolean;
  readonly isReady: boolean;
  readonly error: Error | undefined;
  line(index: number): Line;
  /** The runs among the lines, in order, as far as they are loaded. */
  runs(): Run[];
  see(from: number, to: number): void;
  refresh(from: number, to: number, isNewestFirst: boolean): Promise<number>;
  toggle(key: string): void;
  write(runs: readonly Run[]): void;
  remove(ids: ReadonlySet<string>): void;
  retry(): void;
  close(): void;
}

/** The search as it is: line n is run n. */
export class FlatLines implements Lines {
  private readonly source: RunSource;
  constructor(query: RunQuery) {
    this.source = new RunSource(query);
  }
  get version() {
    return this.source.version;
  }
  get length() {
    return this.source.length;
  }
  get total() {
    return this.source.isComplete ? this.source.rows.length : this.source.total;
  }
  get isLoading() {
    return this.source.isLoading;
  }
  get isReady() {
    return this.source.rows.length > 0 || this.source.isComplete || this.source.error !== undefined;
  }
  get error() {
    return this.source.error;
  }
  line(index: number): Line {
    const run = this.source.rows[index];
    if (!run) return { kind: "waiting", key: `waiting-${index}`, depth: 0 };
    return { kind: "run", run, depth: 0, children: 0, isOpen: false };
  }
  runs() {
    return this.source.rows;
  }
  see(_from: number, to: number) {
    this.source.want(to + 100);
  }
  refresh(from: number, to: number, isNewestFirst: boolean) {
    return this.source.refresh(from, to, { isNewestFirst });
  }
  toggle() {}
  write(runs: readonly Run[]) {
    this.source.write(runs);
  }
  remove(ids: ReadonlySet<string>) {
    this.source.remove(ids);
  }
  retry() {
    this.source.retry();
  }
  close() {
    this.source.close();
  }
}

function plainLine(run: Run, depth: number): Line[] {
  return [{ kind: "run", run, depth, children: 0, isOpen: false }];
}

/** Lines that open: a list of sources, flattened anew when one of them changes. */
abstract class OpeningLines implements Lines {
  readonly version = signal(0);
  error: Error | undefined;
  isLoading = true;
  protected lines: Line[] = [];
  protected readonly open = new Map<string, RunSource>();
  protected readonly abort = new AbortController();
  private readonly watched: (() => void)[] = [];

  get length() {
    return this.lines.length;
  }
  get isReady() {
    return !this.isLoading || this.lines.length > 0 || this.error !== undefined;
  }
  abstract get total(): number | undefined;
  abstract retry(): void;
  protected abstract flatten(): Line[];
  protected abstract query(key: string): RunQuery;

  line(index: number): Line {
    return this.lines[index] ?? { kind: "waiting", key: `waiting-${index}`, depth: 0 };
  }
  runs() {
    return this.lines.flatMap((line) => (line.kind === "run" ? [line.run] : []));
  }
  toggle(key: string) {
    const source = this.open.get(key);
    if (source) {
      source.close();
      this.open.delete(key);
    } else {
      this.open.set(key, this.watch(new RunSource(this.query(key), { isCounted: false })));
    }
    this.changed();
  }
  see(from: number, to: number) {
    for (const [key, source] of this.open) {
      const last = this.lines.findLastIndex((line) => line.kind === "waiting" && line.key === `more-${key}`);
      if (last >= from && last <= to) source.want(source.rows.length + 1);
    }
  }
  async refresh(from: number, to: number, _isNewestFirst: boolean) {
    for (const source of this.open.values()) {
      await source.refresh(0, to - from + 100, { isNewestFirst: false });
    }
    return 0;
  }
  write(runs: readonly Run[]) {
    for (const source of this.open.values()) source.write(runs);
  }
  remove(ids: ReadonlySet<string>) {
    for (const source of this.open.values()) source.remove(ids);
  }
  close() {
    this.abort.abort();
    for (const source of this.open.values()) source.close();
    for (const stop of this.watched) stop();
  }

  protected watch(source: RunSource): RunSource {
    this.watched.push(source.version.subscribe(() => this.changed()));
    return source;
  }
  protected changed() {
    this.lines = this.flatten();
    this.version.value = this.version.peek() + 1;
  }
  /** The lines of an opened one's runs; `linesOf` may put others below each. */
  protected below(key: string, depth: number, linesOf = plainLine): Line[] {
    const source = this.open.get(key);
    if (!source) return [];
    const lines = source.rows.flatMap((run) => linesOf(run, depth));
    if (!source.isComplete) lines.push({ kind: "waiting", key: `more-${key}`, depth });
    return lines;
  }
}

/** One line per group of equal values; opened, its runs below it. */
export class GroupLines extends OpeningLines {
  private groups: Group[] = [];
  private runCount: number | undefined;
  isReduced = false;

  constructor(
    private readonly base: RunQuery,
    private readonly fields: readonly string[],
    private readonly metrics: readonly string[],
  ) {
    super();
    void this.load();
  }
  get total() {
    return this.runCount;
  }
  get groupCount() {
    return this.groups.length;
  }
  retry() {
    void this.load();
  }
  override async refresh(from: number, to: number, isNewestFirst: boolean) {
    await this.load();
    return super.refresh(from, to, isNewestFirst);
  }
  private async load() {
    try {
      const page = await groupRuns(
        {
          experiment_ids: this.base.experiment_ids ?? [],
          filter: this.base.filter ?? "",
          view: this.base.view ?? "active_only",
          group_by: this.fields.map(groupField),
          metrics: [...this.metrics].slice(0, 100),
        },
        this.abort.signal,
      );
      this.groups = page.groups;
      this.runCount = page.runs;
      this.isReduced = page.is_reduced;
      this.error = undefined;
    } catch (error) {
      if (isAbort(error)) return;
      this.error = error as Error;
    }
    this.isLoading = false;
    this.changed();
  }
  protected query(key: string): RunQuery {
    const group = this.groups.find((one) => keyOf(one) === key);
    const tests = this.fields.map((field, index) => test(field, group?.values[index] ?? null));
    const filter = [this.base.filter ?? "", ...tests].filter((one) => one !== "");
    return { ...this.base, filter: filter.map((one) => `(${one})`).join(" AND ") };
  }
  protected flatten(): Line[] {
    return this.groups.flatMap((group): Line[] => {
      const key = keyOf(group);
      return [{ kind: "group", group, key, isOpen: this.open.has(key) }, ...this.below(key, 1)];
    });
  }
}

function keyOf(group: Group): string {
  return JSON.stringify(group.values);
}

/** A column's id as the server groups by it. */
export function groupField(id: string): string {
  return { user: "user_id", experiment: "experiment_id", parent: "parent_run_id", name: "run_name" }[id] ?? id;
}

function test(id: string, value: string | null): string {
  const field = fieldOf(id);
  const left = field.kind === "attribute" ? groupField(id) : quoted(field.kind, field.key);
  return value === null ? `${left} IS NULL` : `${left} = '${value.replaceAll("'", "''")}'`;
}

// A filter that names more would grow too long.
const ROOTS_AT_ONCE = 500;

/** Runs without a parent; opened, their children below them, and so on down. */
export class TreeLines extends OpeningLines {
  private readonly roots: RunSource;
  private readonly children = new Map<string, number>();
  private asked = new Set<string>();

  constructor(
    rootQuery: RunQuery,
    private readonly childQuery: (runId: string) => RunQuery,
  ) {
    super();
    this.roots = this.watch(new RunSource(rootQuery));
  }
  get total() {
    return this.roots.isComplete ? this.roots.rows.length : this.roots.total;
  }
  retry() {
    this.roots.retry();
  }
  override see(from: number, to: number) {
    const line = this.lines[Math.min(to, this.lines.length - 1)];
    const root = line?.kind === "run" ? this.roots.rows.indexOf(line.run) : -1;
    this.roots.want(Math.max(root, to >= this.lines.length - 1 ? this.roots.rows.length : 0) + 100);
    super.see(from, to);
  }
  override async refresh(from: number, to: number, isNewestFirst: boolean) {
    await this.roots.refresh(0, this.roots.rows.length, { isNewestFirst });
    this.asked = new Set();
    await this.countChildren();
    return super.refresh(from, to, isNewestFirst);
  }
  override write(runs: readonly Run[]) {
    this.roots.write(runs);
    super.write(runs);
  }
  override remove(ids: ReadonlySet<string>) {
    this.roots.remove(ids);
    super.remove(ids);
  }
  override get isReady() {
    return this.roots.rows.length > 0 || this.roots.isComplete || this.roots.error !== undefined;
  }
  override close() {
    this.roots.close();
    super.close();
  }
  protected override changed() {
    super.changed();
    if (this.roots) void this.countChildren();
  }
  private async countChildren() {
    const loaded = [this.roots, ...this.open.values()].flatMap((source) => source.rows);
    const unasked = loaded.map((run) => run.run_id).filter((id) => !this.asked.has(id));
    const ids = unasked.slice(0, ROOTS_AT_ONCE);
    if (ids.length === 0) return;
    for (const id of ids) this.asked.add(id);
    try {
      const page = await groupRuns(
        {
          filter: `parent_run_id IN (${ids.map((id) => `'${id}'`).join(", ")})`,
          group_by: ["parent_run_id"],
          max_results: ids.length + 1,
        },
        this.abort.signal,
      );
      for (const group of page.groups) {
        if (group.values[0]) this.children.set(group.values[0], group.count);
      }
      this.changed();
    } catch (error) {
      // Without the counts no row opens; the next beat asks again.
      if (!isAbort(error)) this.error ??= error as Error;
    }
  }
  protected query(key: string): RunQuery {
    return this.childQuery(key);
  }
  protected flatten(): Line[] {
    // The first look comes from the constructor, before the fields are there.
    if (!this.roots) return [];
    this.isLoading = this.roots.isLoading;
    this.error = this.roots.error;
    const lines = this.roots.rows.flatMap((run) => this.withChildren(run, 0));
    if (!this.roots.isComplete) lines.push({ kind: "waiting", key: "more", depth: 0 });
    return lines;
  }

  private withChildren(run: Run, depth: number): Line[] {
    const children = this.children.get(run.run_id) ?? 0;
    const isOpen = this.open.has(run.run_id);
    const line: Line = { kind: "run", run, depth, children, isOpen };
    return [line, ...this.below(run.run_id, depth + 1, (child, at) => this.withChildren(child, at))];
  }
}
