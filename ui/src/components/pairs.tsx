/** Names with their values, one below the other; long values are cut until asked for. */
import { useState } from "preact/hooks";

const LONG = 240;

export function Pairs({ entries, none }: { entries: readonly (readonly [string, string])[]; none: string }) {
  if (entries.length === 0) return <p class="faint">{none}</p>;
  return (
    <div class="scroll-box small" tabIndex={0}>
      <table class="pairs">
        <tbody>
          {entries.map(([key, value]) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              <td>
                <Long text={value} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Long({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  if (text.length <= LONG) return <>{text}</>;
  return (
    <>
      {isWhole ? text : `${text.slice(0, LONG)}…`}{" "}
      <button type="button" class="link" onClick={() => setWhole(!isWhole)}>
        {isWhole ? "less" : "all"}
      </button>
    </>
  );
}
