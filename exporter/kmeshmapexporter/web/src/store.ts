// SPDX-License-Identifier: Apache-2.0

import type { Fold, LinkID, Message, WireLink, WireNode } from "./types";

/** A node with a key that is the same after the exporter's restart. */
export interface Node extends WireNode {
	key: string;
	title: string;
	/** The box that the node is drawn in. */
	space: string;
	/** How many nodes it stands for; 0 for one of its own. */
	stands: number;
}

export interface Link extends WireLink {
	key: string;
	source: Node;
	target: Node;
}

/** The graph as the exporter last sent it. */
export class Store {
	readonly nodes = new Map<number, Node>();
	readonly links = new Map<string, Link>();
	folds: Fold[] = [];
	at = 0;
	refused = 0;
	senders = 0;
	window = 300;

	snapshot(message: Message): void {
		this.nodes.clear();
		this.links.clear();
		this.update(message);
	}

	update(message: Message): void {
		this.at = message.at;
		this.refused = message.refused;
		this.senders = message.senders;
		this.window = message.window;
		this.folds = message.folds;
		for (const link of message.goneLinks ?? []) this.links.delete(number(link));
		for (const node of message.nodes ?? []) this.nodes.set(node.id, this.named(node));
		for (const fold of message.folds) {
			const node = this.nodes.get(fold.id);
			if (node && node.stands !== fold.nodes) this.nodes.set(fold.id, { ...node, stands: fold.nodes });
		}
		for (const link of message.links ?? []) {
			const source = this.nodes.get(link.from);
			const target = this.nodes.get(link.to);
			if (source && target) {
				this.links.set(number(link), { ...link, source, target, key: JSON.stringify([source.key, target.key, link.kind]) });
			}
		}
		for (const id of message.goneNodes ?? []) this.nodes.delete(id);
	}

	private named(node: WireNode): Node {
		return {
			...node,
			key: JSON.stringify([node.kind, node.cluster ?? "", node.ns ?? "", node.name ?? ""]),
			title: title(node),
			space: node.ns ? JSON.stringify([node.cluster ?? "", node.ns]) : "outside",
			stands: 0,
		};
	}
}

function number(link: LinkID): string {
	return `${link.from}-${link.to}-${link.kind}`;
}

function title(node: WireNode): string {
	switch (node.kind) {
		case "unknown":
			return "unknown";
		case "namespace":
			if (node.name === "all") return "all namespaces";
			return node.ns ? `all of ${node.ns}` : "all outside";
		default:
			return node.name || (node.ns === "host" ? "unknown process" : "unknown");
	}
}

/** Where a node is, in words. */
export function place(node: Node): string {
	const words: Record<string, string> = {
		workload: node.ns === "host" ? "process" : "workload",
		service: "service",
		address: "address outside",
		unknown: "clients whose names nobody knows",
		namespace: `${node.stands} nodes drawn as one`,
	};
	let text = words[node.kind] ?? node.kind;
	if (node.ns === "host") return node.cluster ? `${text} on ${node.cluster}` : text;
	if (node.ns) text += ` in ${node.ns}`;
	if (node.cluster) text += `, cluster ${node.cluster}`;
	return text;
}
