// SPDX-License-Identifier: Apache-2.0

type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/** Makes an element. Texts become text nodes, never markup. */
export function element<K extends keyof HTMLElementTagNameMap>(
	name: K, attributes: Attributes = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
	const made = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (typeof value === "function") made.addEventListener(key, value);
		else if (value === true) made.setAttribute(key, "");
		else if (value !== false) made.setAttribute(key, value);
	}
	made.append(...children);
	return made;
}

/** Finds an element that the page has. */
export function find<T extends HTMLElement = HTMLElement>(id: string): T {
	const found = document.getElementById(id);
	if (!found) throw new Error(`the page has no element ${id}`);
	return found as T;
}

/** Sets a text only where it differs, which keeps selections. */
export function setText(of: Element, text: string): void {
	if (of.textContent !== text) of.textContent = text;
}
