/// <reference lib="dom" />
/** Elements, made of plain values: text is always text, never markup. */

/** What an element may hold; null is nothing. */
export type Child = Node | string | null;

/** Attributes by name: false leaves one out, functions listen to events named `on…`. */
export type Attributes = Readonly<
  Record<string, string | number | boolean | ((event: Event) => void)>
>;

/** A new element `tag` with `attributes` that holds `children`. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Puts `text` into `element`, if it is another than there is: what is selected stays so. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** An element that follows what it shows. */
export interface Part<T> {
  readonly node: HTMLElement;
  update(item: T): void;
  /** Called when it is no longer shown. */
  remove?(): void;
}

/** Children of an element, one for each item of a list that changes. */
export class KeyedList<T> {
  readonly #parent: HTMLElement;
  readonly #key: (item: T) => string;
  readonly #create: (item: T) => Part<T>;
  readonly #parts = new Map<string, Part<T>>();

  /** Children of `parent`, made by `create` when an item of a new key comes. */
  constructor(parent: HTMLElement, key: (item: T) => string, create: (item: T) => Part<T>) {
    this.#parent = parent;
    this.#key = key;
    this.#create = create;
  }

  /** Shows `items` in their order; what stays is not moved, so that videos go on. */
  update(items: readonly T[]): void {
    const keys = new Set(items.map(this.#key));
    for (const [key, part] of this.#parts) {
      if (keys.has(key)) continue;
      part.remove?.();
      part.node.remove();
      this.#parts.delete(key);
    }
    let next = this.#parent.firstElementChild;
    for (const item of items) {
      const key = this.#key(item);
      const part = this.#parts.get(key) ?? this.#create(item);
      this.#parts.set(key, part);
      part.update(item);
      if (part.node === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(part.node, next);
    }
  }

  /** Removes all. */
  clear(): void {
    this.update([]);
  }
}

/** A section with a heading of level 2 that names it. */
export function panel(title: string, ...children: readonly Child[]): HTMLElement {
  const heading = h("h2", {}, title);
  heading.id = `heading-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h("section", { class: "panel", "aria-labelledby": heading.id }, heading, ...children);
}
