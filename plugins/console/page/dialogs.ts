/// <reference lib="dom" />
/** Dialogs: a question before something ends, and the password. */

import { h } from "./dom.ts";
import { type Answer, login } from "./api.ts";

/** What is asked before something is done. */
export interface Question {
  readonly title: string;
  readonly text: string;
  /** What the button says that does it. */
  readonly action: string;
}

/** Asks `question`, then calls `act`; what went wrong is shown, and can be tried again. */
export function confirmThen(question: Question, act: () => Promise<Answer>): void {
  const error = h("p", { class: "error", role: "alert" });
  const button = h("button", { class: "danger" }, question.action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const submit = async (event: Event) => {
    event.preventDefault();
    button.disabled = true;
    const answer = await act();
    button.disabled = false;
    if (answer.ok) dialog.close();
    else error.textContent = answer.error;
  };
  const dialog = open(
    question.title,
    h(
      "form",
      { onsubmit: submit },
      h("p", {}, question.text),
      error,
      h("p", { class: "actions" }, cancel, button),
    ),
  );
  cancel.focus();
}

/** Asks for the password, unless that is being done; `onDone` is called when it was right. */
export function askPassword(onDone: () => void): void {
  if (document.querySelector("dialog[open]") !== null) return;
  const error = h("p", { class: "error", role: "alert" });
  const input = h("input", {
    id: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  // Password managers want to know whose it is.
  const user = h("input", {
    type: "text",
    autocomplete: "username",
    value: "operator",
    hidden: true,
  });
  const button = h("button", { class: "primary" }, "Sign in");
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Not now");
  const submit = async (event: Event) => {
    event.preventDefault();
    button.disabled = true;
    const answer = await login(input.value);
    button.disabled = false;
    if (answer.ok) {
      dialog.close();
      onDone();
    } else {
      error.textContent = answer.error;
      input.select();
    }
  };
  const dialog = open(
    "Sign in",
    h(
      "form",
      { onsubmit: submit },
      h("p", {}, "The console of this server needs a password: its ApiToken."),
      h("label", { for: "password" }, "Password"),
      user,
      input,
      error,
      h("p", { class: "actions" }, cancel, button),
    ),
  );
  input.focus();
}

function open(title: string, content: HTMLElement): HTMLDialogElement {
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
