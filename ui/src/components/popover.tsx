/** A panel below a button; a click outside or Escape closes it. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { Icon, type IconName } from "./icons";

export function Popover({
  label,
  icon,
  badge,
  children,
  align = "left",
}: {
  label: string;
  icon?: IconName;
  badge?: string | number | undefined;
  children: (close: () => void) => ComponentChildren;
  align?: "left" | "right";
}) {
  const [isOpen, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) return;
    const outside = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      box.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [isOpen]);
  return (
    <div class="popover" ref={box}>
      <button
        type="button"
        aria-expanded={isOpen}
        class={isOpen ? "on" : ""}
        onClick={() => setOpen(!isOpen)}
      >
        {icon && <Icon name={icon} />}
        <span class="button-text">{label}</span>
        {badge !== undefined && <span class="badge">{badge}</span>}
      </button>
      {isOpen && (
        <div class={`popover-panel ${align}`} role="dialog" aria-label={label}>
          {children(() => setOpen(false))}
        </div>
      )}
    </div>
  );
}
