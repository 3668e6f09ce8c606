/** How charts are drawn: part of the address, so that a link shows the same picture. */
import { query, setQuery } from "../state/location";
import type { Range, XKind } from "./lines";

export interface ChartSettings {
  xKind: XKind;
  xMetric: string;
  smoothing: number;
  isLogX: boolean;
  isLogY: boolean;
  hidesOutliers: boolean;
  zoom: Range | null;
  find: string;
  perRow: number; // 0: as many as fit
}

export function chartSettings(): ChartSettings {
  const given = query.value;
  const x = given.get("x") ?? "step";
  const xKind: XKind = x === "relative" || x === "wall" ? x : x.startsWith("metric:") ? "metric" : "step";
  const smoothing = Number(given.get("smooth") ?? 0);
  const [from, to] = (given.get("zoom") ?? "").split("..").map(Number);
  const isZoomed = from !== undefined && to !== undefined && Number.isFinite(from) && Number.isFinite(to) && from < to;
  return {
    xKind,
    xMetric: xKind === "metric" ? x.slice("metric:".length) : "",
    smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : 0,
    isLogX: given.has("logx"),
    isLogY: given.has("logy"),
    hidesOutliers: given.has("outliers"),
    zoom: isZoomed ? { min: from, max: to } : null,
    find: given.get("metric") ?? "",
    perRow: Math.min(4, Math.max(0, Math.floor(Number(given.get("perrow")) || 0))),
  };
}

export function setZoom(zoom: Range | null) {
  setQuery({ zoom: zoom ? `${Number(zoom.min.toPrecision(10))}..${Number(zoom.max.toPrecision(10))}` : null });
}
