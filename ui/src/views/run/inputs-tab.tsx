import type { Run } from "../../api/types";
import { Empty } from "../../components/basics";

/** The datasets a run read: what they were and where they came from, never their bytes. */
export function InputsTab({ run }: { run: Run }) {
  const inputs = run.inputs ?? [];
  if (inputs.length === 0) {
    return (
      <Empty title="No inputs">
        <p class="faint">Datasets given to log_input appear here, with digest and source.</p>
      </Empty>
    );
  }
  return (
    <div class="overview">
      {inputs.map((input) => (
        <section key={input.name + input.digest} class="card span">
          <h2>
            {input.name} <span class="badge">{input.tags?.["mlflow.data.context"] ?? "input"}</span>
          </h2>
          <table class="pairs">
            <tbody>
              <Pair name="Digest" text={input.digest} />
              <Pair name="Source type" text={input.source_type} />
              <Pair name="Source" text={input.source} />
              <Pair name="Profile" text={input.profile} />
              <Pair name="Schema" text={input.schema} />
            </tbody>
          </table>
        </section>
      ))}
    </div>
  );
}

function Pair({ name, text }: { name: string; text: string | null | undefined }) {
  if (!text) return null;
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>
        <pre class="inline">{pretty(text).slice(0, 20_000)}</pre>
      </td>
    </tr>
  );
}

function pretty(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
