/** Where an axis of runs is marked: at round numbers, or at the few values that there are. */
import { shortNumber } from "../../components/format";
import { share, type Axis } from "./axes";

export interface Tick {
  part: number;
  text: string;
}

const CATEGORIES_SHOWN = 12;
const CATEGORY_LETTERS = 18;
const APART = 0.06;

export function ticksOf(axis: Axis): Tick[] {
  if (!axis.isNumeric) {
    const every = Math.ceil(axis.categories.length / CATEGORIES_SHOWN);
    return axis.categories.flatMap((text, index) =>
      index % every === 0 ? [{ part: index / axis.max, text: text.slice(0, CATEGORY_LETTERS) }] : [],
    );
  }
  const values = axis.few.length > 0 ? axis.few : axis.isLog ? decades(axis) : steps(axis.min, axis.max);
  let last = -1;
  return values.flatMap((value) => {
    const part = share(axis, value);
    if (!(part >= 0 && part <= 1) || part - last < APART) return [];
    last = part;
    return [{ part, text: shortNumber(value) }];
  });
}

/** About five round numbers from the least to the greatest. */
export function steps(min: number, max: number): number[] {
  const rough = (max - min) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((one) => one * power >= rough) ?? 10);
  const first = Math.ceil(min / step - 1e-9);
  const last = Math.floor(max / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function decades(axis: Axis): number[] {
  const first = Math.floor(Math.log10(axis.min));
  const last = Math.ceil(Math.log10(axis.max));
  const inside = last - first <= 2 ? [1, 2, 5] : [1];
  return Array.from({ length: last - first + 1 }, (_, index) => first + index).flatMap((power) =>
    inside.map((one) => one * 10 ** power),
  );
}
