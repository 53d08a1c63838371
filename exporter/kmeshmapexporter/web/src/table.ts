// SPDX-License-Identifier: Apache-2.0

import { element, find, setText } from "./element";
import { percent, perSecond, rate, words } from "./format";
import type { Link, Node } from "./store";
import type { View } from "./view";

interface Column {
	id: string;
	title: string;
	isNumber: boolean;
	value(link: Link): number | string;
	text(link: Link): string;
}

const where = (node: Node): string => node.ns === "host" ? node.cluster ?? "host" : node.ns ?? "";

const called = (node: Node): string => node.kind === "service" ? `${node.title} (service)` : node.title;

const columns: Column[] = [
	{ id: "from", title: "From", isNumber: false, value: (l) => called(l.source), text: (l) => called(l.source) },
	{ id: "from-ns", title: "Namespace", isNumber: false, value: (l) => where(l.source), text: (l) => where(l.source) },
	{ id: "to", title: "To", isNumber: false, value: (l) => called(l.target), text: (l) => called(l.target) },
	{ id: "to-ns", title: "Namespace", isNumber: false, value: (l) => where(l.target), text: (l) => where(l.target) },
	{ id: "sent", title: "Sent", isNumber: true, value: (l) => l.sent, text: (l) => rate(l.sent) },
	{ id: "received", title: "Received", isNumber: true, value: (l) => l.received, text: (l) => rate(l.received) },
	{ id: "opened", title: "Opened", isNumber: true, value: (l) => l.opened, text: (l) => perSecond(l.opened) },
	{ id: "failed", title: "Fail", isNumber: true, value: (l) => l.share, text: (l) => (l.share > 0 ? percent(l.share) : "0") },
	{ id: "retrans", title: "Retransmitted", isNumber: true, value: (l) => l.retrans, text: (l) => perSecond(l.retrans) },
	{ id: "state", title: "State", isNumber: false, value: state, text: state },
];

function state(link: Link): string {
	if (link.share > 0) return link.reason ? words(link.reason) : "fails";
	return link.idle ? "idle" : "active";
}

/** The same links as a table. */
export class TableView {
	private readonly body = find("rows");
	private readonly count = find("table-count");
	private readonly heads = new Map<string, HTMLElement>();
	private readonly rows = new Map<string, HTMLTableRowElement>();
	private shown: Link[] = [];
	private sort = "-sent";

	constructor(private readonly select: (key: string) => void, sorted: (sort: string) => void) {
		for (const column of columns) {
			const head = element("th", { scope: "col", class: column.isNumber ? "number" : "" }, element("button", {
				type: "button",
				click: () => {
					const isUp = this.sort === column.id;
					const isDown = this.sort === `-${column.id}`;
					sorted(isDown || (!isUp && !column.isNumber) ? column.id : `-${column.id}`);
				},
			}, column.title));
			this.heads.set(column.id, head);
			find("columns").append(head);
		}
		find("copy").addEventListener("click", () => void this.copy());
	}

	show(view: View, sort: string, selected: string): void {
		this.sort = columns.some((column) => column.id === sort.replace("-", "")) ? sort : "-sent";
		const column = columns.find((one) => one.id === this.sort.replace("-", ""))!;
		const isDown = this.sort.startsWith("-");
		for (const [id, head] of this.heads) {
			if (id === column.id) head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
			else head.removeAttribute("aria-sort");
		}
		this.shown = [...view.links.values()]
			.filter((link) => !view.found || view.found.has(link.source.key) || view.found.has(link.target.key))
			.toSorted((a, b) => compare(column.value(a), column.value(b)) * (isDown ? -1 : 1) || (a.key < b.key ? -1 : 1));
		setText(this.count, `${this.shown.length} ${this.shown.length === 1 ? "connection" : "connections"} between ${view.nodes.size} nodes`);
		const keys = new Set(this.shown.map((link) => link.key));
		for (const [key, row] of this.rows) {
			if (!keys.has(key)) {
				row.remove();
				this.rows.delete(key);
			}
		}
		this.shown.forEach((link, place) => {
			const row = this.row(link.key);
			row.className = [link.idle ? "idle" : "", link.share > 0 ? "failing" : "", link.key === selected ? "selected" : ""].join(" ");
			columns.forEach((one, i) => {
				const cell = row.cells[i]!;
				setText(i === 0 ? cell.firstElementChild! : cell, one.text(link));
				if (!one.isNumber) cell.title = one.text(link);
			});
			// A row that is in its place stays: moving it would take the focus from its button.
			if (this.body.children[place] !== row) this.body.insertBefore(row, this.body.children[place] ?? null);
		});
	}

	private row(key: string): HTMLTableRowElement {
		let row = this.rows.get(key);
		if (!row) {
			row = element("tr", {}, ...columns.map((column, i) => {
				const cell = element("td", { class: [column.isNumber ? "number" : "", column.id === "failed" || column.id === "state" ? "fail" : ""].join(" ") });
				if (i === 0) cell.append(element("button", { type: "button", click: () => this.select(key) }));
				return cell;
			}));
			this.rows.set(key, row);
		}
		return row;
	}

	private async copy(): Promise<void> {
		const clean = (text: string): string => text.replace(/[\t\r\n]+/g, " ");
		const lines = [columns.map((column) => column.title), ...this.shown.map((link) => columns.map((column) => clean(String(column.value(link)))))];
		const text = lines.map((line) => line.join("\t")).join("\n");
		try {
			await navigator.clipboard.writeText(text);
		} catch { // a page that is not from a secure origin
			const area = element("textarea", { class: "hidden" }, text);
			document.body.append(area);
			area.select();
			document.execCommand("copy");
			area.remove();
		}
		const button = find("copy");
		setText(button, "Copied");
		setTimeout(() => setText(button, "Copy as text"), 1500);
	}
}

function compare(a: number | string, b: number | string): number {
	if (typeof a === "number" && typeof b === "number") return a - b;
	return String(a).localeCompare(String(b), undefined, { numeric: true });
}
