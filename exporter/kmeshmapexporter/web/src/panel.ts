// SPDX-License-Identifier: Apache-2.0

import { Chart } from "./charts";
import { element, find, setText } from "./element";
import { bytes, clock, duration, percent, perSecond, rate, seconds, words } from "./format";
import { type Link, type Node, place } from "./store";
import type { AccessRecord, Detail } from "./types";
import type { View } from "./view";

const refresh = 2000; // ms between two reads of what is open
const mostPeers = 12;

/** The details of what is selected. */
export class Panel {
	private readonly root = find("panel");
	private key = "";
	private shown: Body | undefined;
	private lastRead = 0;
	private reading: AbortController | undefined;

	constructor(private readonly choose: (key: string) => void) {}

	/** Shows a node or a link, by its key; empty closes the panel. */
	show(key: string, view: View): void {
		const node = view.nodes.get(key);
		const link = view.links.get(key);
		if (!node && !link) {
			this.close();
			return;
		}
		if (key !== this.key) {
			this.close();
			this.key = key;
			this.shown = new Body(this.choose);
			this.root.replaceChildren(this.shown.element);
			this.root.hidden = false;
			this.root.scrollTop = 0;
			this.lastRead = 0;
		}
		this.shown!.figures(node, link, view);
		void this.read(node, link);
	}

	private close(): void {
		this.reading?.abort();
		this.reading = undefined;
		this.key = "";
		this.shown = undefined;
		this.root.hidden = true;
		this.root.replaceChildren();
	}

	private async read(node: Node | undefined, link: Link | undefined): Promise<void> {
		if (this.reading || Date.now() - this.lastRead < refresh) return;
		const reading = new AbortController();
		this.reading = reading;
		const body = this.shown;
		const path = node ? `api/node?id=${node.id}` : `api/link?from=${link!.from}&to=${link!.to}&kind=${link!.kind}`;
		try {
			const response = await fetch(path, { signal: reading.signal });
			if (response.ok && body === this.shown) body?.detail((await response.json()) as Detail);
		} catch {
			// The events say that the exporter is gone; the next read is tried all the same.
		} finally {
			if (this.reading === reading) {
				this.reading = undefined;
				this.lastRead = Date.now();
			}
		}
	}
}

/** What the panel has for one node or link. */
class Body {
	readonly element: HTMLElement;
	private readonly title = element("h2");
	private readonly where = element("p", { class: "where" });
	private readonly list = element("dl", { class: "figures" });
	private readonly reason = element("p", { class: "reason", hidden: true });
	private readonly peerTitle = element("h3", {}, "Talks to");
	private readonly peers = element("ul", { class: "peers" });
	private readonly recordTitle = element("h3", {}, "Last connections");
	private readonly records = element("ul", { class: "records" });
	private readonly bytes = new Chart("Bytes per second", rate);
	private readonly connects = new Chart("Connections per second", perSecond);
	private readonly latency = new Chart("Latency", seconds);
	private readonly retransmits = new Chart("Retransmitted segments per second", perSecond);
	private order = "";

	constructor(private readonly choose: (key: string) => void) {
		const close = element("button", { type: "button", class: "close", "aria-label": "Close details", title: "Close (Esc)", click: () => choose("") }, "×");
		this.element = element("div", {},
			element("div", { class: "head" }, this.title, close), this.where, this.list, this.reason,
			this.bytes.element, this.connects.element, this.latency.element, this.retransmits.element,
			this.peerTitle, this.peers, this.recordTitle, this.records,
			element("p", { class: "quiet", hidden: true }, ""));
	}

	figures(node: Node | undefined, link: Link | undefined, view: View): void {
		const links = link ? [link] : [...view.links.values()].filter((one) => one.source.key === node!.key || one.target.key === node!.key);
		if (link) {
			this.title.replaceChildren(link.source.title, element("span", { class: "arrow", "aria-label": "to" }, "→"), link.target.title);
			setText(this.where, linkPlace(link));
		} else {
			setText(this.title, node!.title);
			setText(this.where, node!.host ? `${place(node!)} · ${node!.host}` : place(node!));
		}
		let sent = 0, received = 0, opened = 0, failed = 0, share = 0, retransmitted = 0, active = 0;
		let reason = "";
		for (const one of links) {
			const isClient = link !== undefined || one.source.key === node!.key;
			sent += isClient ? one.sent : one.received;
			received += isClient ? one.received : one.sent;
			opened += one.opened;
			failed += one.failed;
			retransmitted += one.retrans;
			active += one.active;
			if (one.share > share) {
				share = one.share;
				reason = one.reason ?? "";
			}
		}
		const figures: [string, string, boolean][] = [
			["Sent", rate(sent), false], ["Received", rate(received), false], ["Opened", perSecond(opened), false],
			[link ? "Fail" : "Fail at worst", percent(share), share > 0], ["Failed", perSecond(failed), failed > 0],
			active > 0 ? ["Open now", String(active), false] : ["Retransmitted", perSecond(retransmitted), false],
		];
		if (this.list.childElementCount !== figures.length) {
			this.list.replaceChildren(...figures.map(() => element("div", {}, element("dt"), element("dd"))));
		}
		figures.forEach(([name, value, isBad], i) => {
			const cell = this.list.children[i]!;
			setText(cell.children[0]!, name);
			setText(cell.children[1]!, value);
			cell.classList.toggle("bad", isBad);
		});
		this.reason.hidden = share === 0 || reason === "";
		setText(this.reason, `Connects fail: ${words(reason)}`);
		this.showPeers(node, link, links);
	}

	private showPeers(node: Node | undefined, link: Link | undefined, links: Link[]): void {
		this.peerTitle.hidden = this.peers.hidden = links.length === 0;
		const rows: { key: string; name: string; rate: string; isBad: boolean }[] = link
			? [link.source, link.target].map((end, i) => ({ key: end.key, name: `${i === 0 ? "from" : "to"} ${end.title}`, rate: "", isBad: false }))
			: links.toSorted((a, b) => b.sent + b.received - a.sent - a.received).slice(0, mostPeers).map((one) => {
				const isClient = one.source.key === node!.key;
				return {
					key: one.key, name: isClient ? `→ ${one.target.title}` : `← ${one.source.title}`, isBad: one.share > 0,
					rate: one.share > 0 ? `${percent(one.share)} fail` : one.idle ? "idle" : rate(one.sent + one.received),
				};
			});
		setText(this.peerTitle, link ? "Ends" : links.length > mostPeers ? `Talks to ${links.length}, the first ${mostPeers}` : "Talks to");
		// Buttons are kept while the rows are the same, so that they can be pressed.
		const order = rows.map((row) => row.key).join();
		if (order !== this.order) {
			this.order = order;
			this.peers.replaceChildren(...rows.map((row) => element("li", {},
				element("button", { type: "button", click: () => this.choose(row.key) }, element("span", { class: "name" }), element("span", { class: "rate" })))));
		}
		rows.forEach((row, i) => {
			const item = this.peers.children[i]!;
			item.classList.toggle("failing", row.isBad);
			setText(item.querySelector(".name")!, row.name);
			setText(item.querySelector(".rate")!, row.rate);
		});
	}

	detail(detail: Detail): void {
		const times = detail.series.sent.map((_, i) => detail.start + i * detail.step);
		const s = detail.series;
		this.bytes.show(times, [{ name: "sent", key: "first", values: s.sent }, { name: "received", key: "second", values: s.received }]);
		this.connects.show(times, [{ name: "opened", key: "first", values: s.opened }, { name: "failed", key: "fails", values: s.failed }]);
		this.latency.show(times, [{ name: "connect", key: "first", values: s.connect }, { name: "round trip", key: "second", values: s.rtt }]);
		this.retransmits.show(times, [{ name: "retransmitted", key: "second", values: s.retrans }]);
		const reasons = Object.entries(detail.reasons).toSorted((a, b) => b[1] - a[1]);
		if (reasons.length > 0) {
			this.reason.hidden = false;
			setText(this.reason, `Connects fail: ${reasons.map(([reason, count]) => `${words(reason)} (${count})`).join(", ")}`);
		}
		this.recordTitle.hidden = false;
		this.records.replaceChildren(...(detail.records.length > 0 ? detail.records.map(line)
			: [element("li", { class: "quiet" }, "None yet. They come from the access log: put the exporter in a logs pipeline, too.")]));
	}
}

function linkPlace(link: Link): string {
	const what: Record<string, string> = {
		direct: "connections", call: "calls of the service", backend: "the service's calls of this workload", pair: "connections, by a service",
	};
	const by = link.reporter === "source" ? "client's" : "server's";
	return `${what[link.kind] ?? ""}, as the ${by} end counts them`;
}

function line(record: AccessRecord): HTMLElement {
	const isBad = record.event === "failed" || record.closeReason === "reset" || record.closeReason === "timeout";
	const event = record.error ? words(record.error) : record.closeReason && record.closeReason !== "fin" ? record.closeReason : record.event;
	const more = record.event === "failed" ? "" : `${bytes(record.sent)} ↑ ${bytes(record.received)} ↓ ${duration(record.duration)}`;
	const end = (pod: string | undefined, address: string): string => (pod ? `${pod} ${address}` : address);
	return element("li", {},
		element("div", { class: "line" },
			element("time", { datetime: record.at }, clock(record.at)),
			element("span", { class: isBad ? "event bad" : "event" }, event),
			element("span", { class: "more" }, more)),
		element("div", { class: "ends" }, `${end(record.sourcePod, record.source)} → ${end(record.destinationPod, record.destination)}`));
}
