import { useEffect, useRef, useState } from "preact/hooks";

import { Segmented } from "../../components/basics";
import { Text } from "./file-text";

/** The frame's page has a policy of its own: scripts may run there, and reach nothing. */
export function HtmlFrame({ text }: { text: string }) {
  const [form, setForm] = useState<"page" | "text">("page");
  const frame = useRef<HTMLIFrameElement>(null);
  useEffect(() => {
    if (form !== "page") return;
    const onReady = (event: MessageEvent) => {
      if (event.source === frame.current?.contentWindow && event.data === "ready") {
        frame.current?.contentWindow?.postMessage(text, "*");
      }
    };
    addEventListener("message", onReady);
    return () => removeEventListener("message", onReady);
  }, [text, form]);
  return (
    <>
      <Segmented label="Form" value={form} options={[["page", "Page"], ["text", "Source"]]} onChange={setForm} />
      {form === "page" ? (
        <iframe
          ref={frame}
          class="frame"
          title="HTML artifact, in a sandbox"
          sandbox="allow-scripts"
          referrerpolicy="no-referrer"
          src={new URL(/* @vite-ignore */ "./frame.html", import.meta.url).href}
        />
      ) : (
        <Text text={text} />
      )}
    </>
  );
}
