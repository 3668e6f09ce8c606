import { expect, test } from "vitest";

import { columnOf, fieldOf, orderExpression, quoted, textOf } from "../src/table/columns";
import { moved } from "../src/table/grid-header";

test("a column survives the way into the address and back", () => {
  for (const text of ["name", "!status~200", "metrics.val/loss|min~90", "params.a~b", "tags.x|y"]) {
    expect(textOf(columnOf(text))).toBe(text);
  }
});

test("a bar is part of a key unless a summary follows it", () => {
  expect(fieldOf("metrics.a|b")).toEqual({ kind: "metrics", key: "a|b", summary: "last" });
  expect(fieldOf("metrics.a|max")).toEqual({ kind: "metrics", key: "a", summary: "max" });
});

test("keys are quoted so that the search language reads them as they are", () => {
  expect(quoted("params", "lr")).toBe("params.lr");
  expect(quoted("metrics", "loss.min")).toBe("metrics.`loss.min`");
  expect(quoted("tags", "a`b")).toBe("tags.`a``b`");
  expect(orderExpression("metrics.val/loss|min")).toBe("metrics.`val/loss`.min");
});

test("a dragged column takes the place of its target and its pin", () => {
  const columns = ["!a", "b", "c"].map(columnOf);

  expect(moved(columns, "c", "a").map(textOf)).toEqual(["!c", "!a", "b"]);
  expect(moved(columns, "b", "c").map(textOf)).toEqual(["!a", "c", "b"]);
  expect(moved(columns, "b", "b")).toEqual(columns);
});
