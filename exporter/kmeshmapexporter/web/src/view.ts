// SPDX-License-Identifier: Apache-2.0

import type { State } from "./state";
import type { Link, Node, Store } from "./store";

/** What of the graph is shown. */
export interface View {
	nodes: Map<string, Node>;
	links: Map<string, Link>;
	/** Keys of the nodes that the search finds; undefined without a search. */
	found: Set<string> | undefined;
}

export function visible(store: Store, state: State): View {
	const view: View = { nodes: new Map(), links: new Map(), found: undefined };
	const spaces = new Set(state.namespaces);
	for (const link of store.links.values()) {
		const isOfView = state.services ? link.kind !== "pair" : link.kind === "direct" || link.kind === "pair";
		const isOfSpace = spaces.size === 0 || spaces.has(link.source.space) || spaces.has(link.target.space);
		if (isOfView && isOfSpace) {
			view.links.set(link.key, link);
			view.nodes.set(link.source.key, link.source);
			view.nodes.set(link.target.key, link.target);
		}
	}
	const search = state.search.trim().toLowerCase();
	if (search) {
		view.found = new Set();
		for (const node of view.nodes.values()) {
			if (text(node).includes(search)) view.found.add(node.key);
		}
	}
	return view;
}

function text(node: Node): string {
	return [node.title, node.ns, node.cluster, node.host].join(" ").toLowerCase();
}

/** What a box is called. */
export function spaceTitle(space: string, clusters: number): string {
	if (space === "outside") return "outside";
	const [cluster, namespace] = JSON.parse(space) as [string, string];
	if (namespace === "host") return cluster || "this host";
	return clusters > 1 && cluster ? `${namespace} · ${cluster}` : namespace;
}

/** The boxes of all nodes, with how many nodes each has. */
export function spaces(store: Store): Map<string, number> {
	const all = new Map<string, number>();
	for (const node of store.nodes.values()) all.set(node.space, (all.get(node.space) ?? 0) + 1);
	return new Map([...all].sort(([a], [b]) => (a === "outside" ? 1 : b === "outside" ? -1 : a < b ? -1 : 1)));
}

export function clusters(nodes: Iterable<Node>): number {
	const all = new Set<string>();
	for (const node of nodes) if (node.cluster && node.ns !== "host") all.add(node.cluster);
	return all.size;
}
