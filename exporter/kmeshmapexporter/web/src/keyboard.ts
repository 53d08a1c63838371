// SPDX-License-Identifier: Apache-2.0

import { find } from "./element";

export interface Keys {
	search(): void;
	escape(): void;
	/** Enter in the search. */
	enter(): void;
	freeze(): void;
	services(): void;
	graph(): void;
	table(): void;
	/** Enter on the graph. */
	open(): void;
	step(x: number, y: number): void;
	zoom(factor: number): void;
	fit(): void;
	arrange(): void;
}

export function listen(keys: Keys): void {
	document.addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const target = event.target as HTMLElement;
		if (event.key === "Escape") {
			keys.escape();
			return;
		}
		if (target instanceof HTMLInputElement && target.type !== "checkbox") {
			if (event.key === "Enter") keys.enter();
			return;
		}
		const anywhere: Record<string, () => void> = {
			"/": keys.search, f: keys.freeze, s: keys.services, g: keys.graph, t: keys.table,
		};
		const onGraph: Record<string, () => void> = {
			ArrowLeft: () => keys.step(-1, 0), ArrowRight: () => keys.step(1, 0), ArrowUp: () => keys.step(0, -1), ArrowDown: () => keys.step(0, 1),
			Enter: keys.open, "+": () => keys.zoom(1.3), "=": () => keys.zoom(1.3), "-": () => keys.zoom(1 / 1.3), "0": keys.fit, a: keys.arrange,
		};
		const action = (target === find("graph") ? onGraph[event.key] : undefined) ?? anywhere[event.key];
		if (action) {
			event.preventDefault();
			action();
		}
	});
}
