import { expect, test } from "vitest";

import { duration, number } from "../src/components/format";
import { betterWhen } from "../src/views/compare/better";
import { slotAt } from "../src/views/runs/completion";

test("numbers are short, and say when they are none", () => {
  expect([0.1, 1e-7, 123456.789, 2e9, -0.5, NaN, Infinity].map((value) => number(value))).toEqual([
    "0.1", "1e-7", "123460", "2e9", "−0.5", "NaN", "∞",
  ]);
});

test("durations have two units at most", () => {
  expect([500, 1.5e6, 61e6, 7_320e6, 3e11].map(duration)).toEqual([
    "1 ms", "1.5 s", "1m 01s", "2h 02m", "3d 11h",
  ]);
});

test("a metric is better less or more only where its name tells", () => {
  expect(betterWhen("val/loss")).toBe("less");
  expect(betterWhen("test_accuracy")).toBe("more");
  expect(betterWhen("lr")).toBeNull();
});

test("a filter's word under the cursor is told apart by what stands before it", () => {
  const at = (text: string) => slotAt(text, text.length);
  expect(at("metrics.lo")).toMatchObject({ kind: "metrics", prefix: "lo", from: 0 });
  expect(at("status = ")).toMatchObject({ kind: "value", field: "status" });
  expect(at("params.a = '1' AND params.`b c")).toMatchObject({ kind: "params", prefix: "b c" });
  expect(at("run_name = 'metrics.").kind).toBe("none");
  expect(at("sta")).toMatchObject({ kind: "field", prefix: "sta" });
});
