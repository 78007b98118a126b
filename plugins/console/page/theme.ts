/// <reference lib="dom" />
/** Light or dark: as the system has it, or as the viewer has chosen. */

import { h, setText } from "./dom.ts";

const KEY = "console-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const changes = new EventTarget();

/** Takes the choice of before, and makes the button that changes it. */
export function themeButton(): HTMLButtonElement {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
  const button = h("button", {
    type: "button",
    class: "quiet",
    onclick: () => {
      const theme = isDark() ? "light" : "dark";
      document.documentElement.dataset["theme"] = theme;
      localStorage.setItem(KEY, theme);
      changed();
    },
  });
  const changed = () => {
    setText(button, isDark() ? "Light theme" : "Dark theme");
    changes.dispatchEvent(new Event("change"));
  };
  dark.addEventListener("change", changed);
  changed();
  return button;
}

/** Calls `listener` whenever the theme is another, until `signal` is aborted. */
export function onThemeChange(listener: () => void, signal: AbortSignal): void {
  changes.addEventListener("change", listener, { signal });
}

function isDark(): boolean {
  const { theme } = document.documentElement.dataset;
  return theme === undefined ? dark.matches : theme === "dark";
}
