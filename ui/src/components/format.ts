/** Numbers, durations and times as people read them. */

/** Up to `digits` significant digits; very large and very small ones as powers of ten. */
export function number(value: number, digits = 5): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return String(value).replace("-", "−");
  const text =
    size >= 1e6 || size < 1e-3
      ? value.toExponential(digits - 2).replace(/\.?0+e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e−", "e-");
}

/** As short as a mark on an axis can be. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return String(Number(value.toPrecision(3))).replace("e+", "e");
  for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (size >= unit * (letter === "k" ? 10 : 1)) return `${Number((value / unit).toPrecision(5))}${letter}`;
  }
  return String(Number(value.toPrecision(6)));
}

export function whole(value: number): string {
  return value.toLocaleString("en-US").replaceAll(",", " ");
}

/** A number of things: "1 run", "2 runs". */
export function many(count: number, one: string): string {
  return `${whole(count)} ${one}${count === 1 ? "" : "s"}`;
}

export function duration(us: number): string {
  const s = Math.max(0, us / 1e6);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.floor(s)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes}m ${two(Math.floor(s % 60))}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${two(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

export function bytes(size: number): string {
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = size;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const two = (value: number) => String(value).padStart(2, "0");

// The browser's own formatting of dates costs more than drawing a row.
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Local date and time; today's without the date. */
export function when(us: number, now = Date.now()): string {
  const date = new Date(us / 1000);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  const today = new Date(now);
  const isThisYear = date.getFullYear() === today.getFullYear();
  if (isThisYear && date.getMonth() === today.getMonth() && date.getDate() === today.getDate()) {
    return `today ${clock}`;
  }
  const day = `${date.getDate()} ${MONTHS[date.getMonth()]}`;
  return isThisYear ? `${day} ${clock}` : `${day} ${date.getFullYear()}`;
}

/** To the microsecond, local and with its offset: what stands in the tooltip. */
export function exact(us: number): string {
  const date = new Date(us / 1000);
  const micros = String(((us % 1e6) + 1e6) % 1e6).padStart(6, "0");
  const offset = -date.getTimezoneOffset();
  const sign = offset < 0 ? "−" : "+";
  const zone = `${sign}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock}.${micros} ${zone}`;
}

export function ago(us: number, now = Date.now()): string {
  const s = Math.max(0, now / 1000 - us / 1e6);
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} days ago`;
}
