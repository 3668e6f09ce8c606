/** Text to the clipboard, and the word on it. */
import { toast } from "./toasts";

/** Says `done`; or shows the text to be copied by hand where the browser lets no page do it. */
export async function copy(text: string, done: string) {
  if ((await written(text)) || selectedAndCopied(text)) toast(done);
  else toast(`This browser lets no page copy. Here it is: ${text}`, "error");
}

async function written(text: string): Promise<boolean> {
  try {
    // Over plain HTTP, as in most offices, there is no `clipboard`, whatever its type says.
    await (navigator.clipboard as Clipboard | undefined)?.writeText(text);
    return navigator.clipboard !== undefined;
  } catch {
    return false; // not allowed; the older way may be
  }
}

function selectedAndCopied(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
  }
}
