import { expect, test } from "vitest";

import { toSeries } from "../src/api/series-columns";
import { csvText, ema, isSorted, marksOf, nearest, stepsWithin, xOf, yRange, type Line } from "../src/charts/lines";

function line(values: number[], extremes: [number, number][] = values.map((v) => [v, v])): Line {
  const steps = values.map((_, i) => i * 10);
  const series = toSeries({
    run_id: "r", key: "loss", is_reduced: false, points: values.length, position: 1,
    first_step: steps, last_step: steps.map((step) => step + 9),
    first_time_us: steps, last_time_us: steps.map((step) => step * 1e6),
    count: values.map(() => 1), nan_count: values.map(() => 0),
    min: extremes.map(([low]) => low), max: extremes.map(([, high]) => high),
    first: values, last: values,
  });
  const x = xOf(series, "step", 0);
  return { runId: "r", name: "r", color: "#000", series, x, isSorted: isSorted(x), smooth: null };
}

test("smoothing starts at the first value and does not spread what is not finite", () => {
  const smooth = ema(Float64Array.of(4, NaN, 4, 4), 0.9);

  expect(smooth[0]).toBeCloseTo(4);
  expect(smooth[1]).toBeNaN();
  expect(smooth[3]).toBeCloseTo(4);
});

test("the range of y holds every extreme of every bucket", () => {
  const range = yRange([line([1, 1, 1], [[1, 1], [-5, 90], [1, 1]])], null, false, false);

  expect(range).toEqual({ min: -5, max: 90, hidden: 0 });
});

test("outliers beyond the range are counted, not forgotten", () => {
  const values = Array.from({ length: 200 }, (_, i) => i / 200);
  values[100] = 1000;

  const range = yRange([line(values)], null, false, true)!;

  expect(range.max).toBeLessThan(3);
  expect(range.hidden).toBe(2); // as least and as greatest value of its bucket
});

test("a log axis leaves out what is not above zero", () => {
  expect(yRange([line([-1, 0, 2, 8])], null, true, false)).toMatchObject({ min: 2, max: 8 });
  expect(yRange([line([-1, 0])], null, true, false)).toBeNull();
});

test("the nearest bucket is found on both sides", () => {
  const one = line([1, 2, 3]);

  expect(nearest(one, 0)).toBe(0);
  expect(nearest(one, 18)).toBe(1);
  expect(nearest(one, 1e9)).toBe(2);
});

test("a zoom asks for the buckets that its edges cut", () => {
  expect(stepsWithin([line([1, 2, 3, 4, 5])], { min: 22, max: 25 })).toEqual({ min: 10, max: 29 });
});

test("text that a spreadsheet would run is made plain", () => {
  expect(csvText("=1+1")).toBe("'=1+1");
  expect(csvText('a "b", c')).toBe('"a ""b"", c"');
});

test("what is no finite number is counted, in points and in buckets", () => {
  const one = line([1, NaN, -Infinity, 4], [[1, 1], [NaN, NaN], [-Infinity, -Infinity], [4, Infinity]]);
  one.series.nanCount[1] = 3;

  expect(marksOf([one])).toEqual({ nan: 3, isUp: true, isDown: true });
  expect(marksOf([line([1, 2])])).toEqual({ nan: 0, isUp: false, isDown: false });
});
