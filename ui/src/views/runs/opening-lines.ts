import { signal } from "@preact/signals";

import type { Run, RunQuery } from "../../api/types";
import { RunSource } from "../../table/source";
import type { Line, Lines } from "./lines";

function plainLine(run: Run, depth: number): Line[] {
  return [{ kind: "run", run, depth, children: 0, isOpen: false }];
}

/** Lines that open: a list of sources, flattened anew when one of them changes. */
export abstract class OpeningLines implements Lines {
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
