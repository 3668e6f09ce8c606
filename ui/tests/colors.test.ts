import { expect, test } from "vitest";

import { colorOf, colorsFor, PALETTE } from "../src/state/colors";

const runs = (count: number) => Array.from({ length: count }, (_, index) => `run-${index}`);

test("ten runs drawn together have ten hues, twenty have twenty colours", () => {
  expect(new Set(colorsFor(runs(10)).values())).toEqual(new Set(PALETTE.slice(0, 10)));
  expect(new Set(colorsFor(runs(20)).values()).size).toBe(20);
  expect(colorsFor(runs(45)).size).toBe(45);
});

test("a run alone has the same colour wherever it is drawn", () => {
  expect(colorsFor(["run-7"]).get("run-7")).toBe(colorOf("run-7"));
});
