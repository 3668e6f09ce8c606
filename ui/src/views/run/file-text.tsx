import { useMemo } from "preact/hooks";

import { whole } from "../../components/format";

export function Text({ text }: { text: string }) {
  const lines = useMemo(() => text.split("\n").length, [text]);
  return (
    <>
      <p class="faint">{whole(lines)} lines</p>
      <pre class="file-text" tabIndex={0}>
        {text}
      </pre>
    </>
  );
}
