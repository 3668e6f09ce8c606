import { dismiss, toasts } from "../state/toasts";
import { IconButton } from "./basics";

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <div key={one.id} class={`toast ${one.kind}`}>
          <span>{one.text}</span>
          {one.undo && (
            <button
              type="button"
              onClick={() => {
                one.undo?.();
                dismiss(one.id);
              }}
            >
              Undo
            </button>
          )}
          <IconButton icon="close" label="Dismiss" size={14} onClick={() => dismiss(one.id)} />
        </div>
      ))}
    </div>
  );
}
