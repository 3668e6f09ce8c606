/** Which of two values of a metric is the better one. */

const LESS = /loss|error|(^|[/_.-])err\b|mse|mae|rmse|perplexity|(^|[/_.-])(ppl|nll|wer|cer|fid)\b|latency|divergence/i;
const MORE = /acc|f1|auc|precision|recall|score|bleu|rouge|reward|return|iou|psnr|ssim|map\b|r2\b|throughput|per_sec/i;

/** Which way a metric is better, as its name tells; null when it does not. */
export function betterWhen(key: string): "less" | "more" | null {
  return LESS.test(key) ? "less" : MORE.test(key) ? "more" : null;
}
