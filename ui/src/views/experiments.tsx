/** Experiments: how many runs, when the last began; made, named, described, put in the trash. */
import { useEffect, useState } from "preact/hooks";

import {
  changeExperiment,
  createExperiment,
  listExperiments,
  type ExperimentChange,
} from "../api/runs";
import type { Experiment } from "../api/types";
import { Empty, Failed, IconButton, Link, Loading, Time } from "../components/basics";
import { Dialog } from "../components/dialog";
import { ago, whole } from "../components/format";
import { Icon } from "../components/icons";
import { Markdown } from "../components/markdown";
import { go, query, setQuery } from "../state/location";
import { useResource } from "../state/resource";
import { attempt, toast } from "../state/toasts";

const NOTE = "mlflow.note.content";
type Order = "recent" | "name" | "runs";

const ORDERS: Record<Order, (a: Experiment, b: Experiment) => number> = {
  recent: (a, b) => (b.last_run_time_us ?? b.created_time_us) - (a.last_run_time_us ?? a.created_time_us),
  name: (a, b) => a.name.localeCompare(b.name),
  runs: (a, b) => b.run_count - a.run_count,
};

export function ExperimentsView({ experimentId }: { experimentId: string | null }) {
  const resource = useResource((signal) => listExperiments("active_only", {}, signal), ["list"], { isLive: true });
  const [isMaking, setMaking] = useState(false);
  const text = query.value.get("q") ?? "";
  const order = (query.value.get("order") ?? "recent") as Order;
  useEffect(() => {
    document.title = "Experiments · tracker";
  }, []);
  if (resource.error && !resource.data) return <Failed error={resource.error} retry={resource.reload} />;
  if (!resource.data) return <Loading what="Looking for experiments" />;
  const found = resource.data
    .filter((one) => one.name.toLowerCase().includes(text.toLowerCase()))
    .sort(ORDERS[order] ?? ORDERS.recent);
  const opened = experimentId ? resource.data.find((one) => one.experiment_id === experimentId) : undefined;
  const replace = (changed: Experiment) => {
    const rest = resource.data!.filter((one) => one.experiment_id !== changed.experiment_id);
    resource.set(changed.lifecycle_stage === "active" ? [...rest, changed] : rest);
  };
  return (
    <div class="page">
      <div class="page-head">
        <h1>Experiments</h1>
        <input
          type="search"
          placeholder="Search"
          aria-label="Search experiments"
          value={text}
          onInput={(event) => setQuery({ q: event.currentTarget.value })}
        />
        <select aria-label="Order" value={order} onChange={(event) => setQuery({ order: event.currentTarget.value === "recent" ? null : event.currentTarget.value })}>
          <option value="recent">last active first</option>
          <option value="name">by name</option>
          <option value="runs">most runs first</option>
        </select>
        <span class="spacer" />
        <button type="button" class="primary" onClick={() => setMaking(true)}>
          <Icon name="plus" /> New experiment
        </button>
      </div>
      {experimentId && !opened && (
        <div class="note" role="alert">
          This experiment does not exist, or is in the <Link to="/trash">trash</Link>.
        </div>
      )}
      {resource.data.length === 0 ? (
        <Empty title="No experiments yet">
          <p class="faint">The first run that names one creates it.</p>
        </Empty>
      ) : found.length === 0 ? (
        <Empty title="No experiment matches" />
      ) : (
        <ul class="experiment-list">
          {found.map((one) => (
            <ExperimentCard
              key={one.experiment_id}
              experiment={one}
              isOpen={one.experiment_id === experimentId}
              onChange={replace}
            />
          ))}
        </ul>
      )}
      {isMaking && <NewExperiment onClose={() => setMaking(false)} onMade={replace} />}
    </div>
  );
}

function NewExperiment({ onClose, onMade }: { onClose: () => void; onMade: (made: Experiment) => void }) {
  const [name, setName] = useState("");
  return (
    <Dialog title="New experiment" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void attempt(createExperiment(name.trim())).then((made) => {
            if (!made) return;
            onMade(made);
            onClose();
          });
        }}
      >
        <label class="field">
          Name
          <input value={name} maxLength={500} required onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <div class="row end">
          <button type="submit" class="primary" disabled={!name.trim()}>
            Create
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function ExperimentCard({
  experiment,
  isOpen,
  onChange,
}: {
  experiment: Experiment;
  isOpen: boolean;
  onChange: (changed: Experiment) => void;
}) {
  const [isEditing, setEditing] = useState(false);
  const note = experiment.tags[NOTE] ?? "";
  const id = experiment.experiment_id;
  const change = async (body: ExperimentChange, done?: string) => {
    const changed = await attempt(changeExperiment(id, body), done);
    if (changed) onChange(changed);
    return changed;
  };
  const remove = async () => {
    const changed = await change({ lifecycle_stage: "deleted" });
    if (!changed) return;
    toast(`${experiment.name} is in the trash, with its runs.`, "done", () => {
      void change({ lifecycle_stage: "active" });
    });
  };
  return (
    <li class={`card experiment${isOpen ? " open" : ""}`}>
      <div class="row">
        <Link to={`/?exp=${encodeURIComponent(id)}`} class="experiment-name">
          {experiment.name}
        </Link>
        <span class="badge">{whole(experiment.run_count)} {experiment.run_count === 1 ? "run" : "runs"}</span>
        <span class="faint">
          {experiment.last_run_time_us ? (
            <>last run {ago(experiment.last_run_time_us)}</>
          ) : (
            experiment.created_time_us > 0 && (
              <>
                made <Time us={experiment.created_time_us} />
              </>
            )
          )}
        </span>
        <span class="spacer" />
        <Link class="button" to={`/?exp=${encodeURIComponent(id)}&view=charts`}>
          Charts
        </Link>
        <IconButton icon="edit" label={`Rename or describe ${experiment.name}`} onClick={() => setEditing(true)} />
        <IconButton icon="trash" label={`Delete ${experiment.name}`} onClick={() => void remove()} />
      </div>
      {note && (
        <details open={isOpen} onToggle={(event) => event.currentTarget.open && go(`/experiments/${encodeURIComponent(id)}`, { replace: true })}>
          <summary class="faint">{note.split("\n")[0]!.replaceAll(/[#*_`]/g, "").slice(0, 140)}</summary>
          <Markdown text={note} />
        </details>
      )}
      {isEditing && (
        <EditExperiment
          experiment={experiment}
          onClose={() => setEditing(false)}
          onSave={async (body) => {
            if (await change(body)) setEditing(false);
          }}
        />
      )}
    </li>
  );
}

function EditExperiment({
  experiment,
  onClose,
  onSave,
}: {
  experiment: Experiment;
  onClose: () => void;
  onSave: (body: ExperimentChange) => Promise<void>;
}) {
  const [name, setName] = useState(experiment.name);
  const [note, setNote] = useState(experiment.tags[NOTE] ?? "");
  return (
    <Dialog title="Experiment" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void onSave({
            ...(name !== experiment.name && { name: name.trim() }),
            ...(note !== (experiment.tags[NOTE] ?? "") && { tags: { [NOTE]: note || null } }),
          });
        }}
      >
        <label class="field">
          Name
          <input value={name} maxLength={500} required onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label class="field">
          Description, in Markdown
          <textarea rows={10} value={note} onInput={(event) => setNote(event.currentTarget.value)} />
        </label>
        {note && (
          <div class="preview-box">
            <Markdown text={note} />
          </div>
        )}
        <div class="row end">
          <button type="submit" class="primary">
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
