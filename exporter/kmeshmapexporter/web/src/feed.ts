// SPDX-License-Identifier: Apache-2.0

import type { Message } from "./types";

const slowest = 10_000;

export interface Listener {
	snapshot(message: Message): void;
	update(message: Message): void;
	lost(): void;
}

/** Reads the exporter's events, and connects again whenever they end. */
export function follow(listener: Listener): void {
	let wait = 500;
	const connect = (): void => {
		const events = new EventSource("api/events");
		const receive = (name: "snapshot" | "update") => (event: MessageEvent<string>): void => {
			wait = 500;
			listener[name](JSON.parse(event.data) as Message);
		};
		events.addEventListener("snapshot", receive("snapshot"));
		events.addEventListener("update", receive("update"));
		events.addEventListener("error", () => {
			events.close();
			listener.lost();
			setTimeout(connect, wait);
			wait = Math.min(wait * 2, slowest);
		});
	};
	connect();
}
