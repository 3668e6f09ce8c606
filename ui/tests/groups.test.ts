import { expect, test } from "vitest";

import { columnsFor, finder, groupsOf } from "../src/charts/groups";
import { steps } from "../src/views/compare/ticks";

test("metrics are grouped by what stands before their last slash, the system's last", () => {
  const groups = groupsOf(["train/loss", "system/cpu", "epoch", "train/accuracy"]);

  expect(groups.map(([prefix]) => prefix)).toEqual(["", "train", "system"]);
  expect(groups[1]![1]).toEqual(["train/accuracy", "train/loss"]);
});

test("small groups stand in as many columns as leave little room empty", () => {
  expect(columnsFor([1, 1, 2], 3)).toBe(2);
  expect(columnsFor([1, 2, 3], 3)).toBe(3);
  expect(columnsFor([8], 3)).toBe(3);
  expect(columnsFor([1], 3)).toBe(1);
  expect(columnsFor([], 3)).toBe(1);
});

test("metrics are found by a regular expression, or by plain text where it is none", () => {
  expect(["loss", "my loss"].filter(finder("^loss"))).toEqual(["loss"]);
  expect(["a[b", "ab"].filter(finder("a["))).toEqual(["a[b"]);
});

test("an axis is marked at round numbers within its ends", () => {
  expect(steps(0.6644, 0.9578)).toEqual([0.7, 0.8, 0.9]);
  expect(steps(-0.04, 1.04)).toEqual([0, 0.25, 0.5, 0.75, 1]);
});
