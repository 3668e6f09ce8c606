import { useState } from "preact/hooks";

import { giveKey } from "../state/connection";

/** Asked for once; kept until the browser's session ends, and sent to this server only. */
export function KeyDialog() {
  const [key, setKey] = useState("");
  return (
    <form
      class="state-view"
      onSubmit={(event) => {
        event.preventDefault();
        if (key.trim()) giveKey(key.trim());
      }}
    >
      <h2>This server asks for its API key</h2>
      <p class="faint">
        It is kept until you close the browser. Whoever runs the server set it as TRACKER_API_KEY.
      </p>
      <label class="field">
        API key
        <input
          type="password"
          autocomplete="off"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary">
        Open
      </button>
    </form>
  );
}
