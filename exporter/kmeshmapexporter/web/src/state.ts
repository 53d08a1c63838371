// SPDX-License-Identifier: Apache-2.0

export type Theme = "auto" | "light" | "dark";

/** What the viewer chose. It is the part of the address behind #, so that a link leads to the same view. */
export interface State {
	view: "graph" | "table";
	theme: Theme;
	search: string;
	namespaces: string[];
	services: boolean;
	frozen: boolean;
	/** The key of a node or a link. */
	selected: string;
	sort: string;
}

export function read(hash: string): State {
	const from = new URLSearchParams(hash.replace(/^#/, ""));
	const theme = from.get("theme");
	return {
		view: from.get("view") === "table" ? "table" : "graph",
		theme: theme === "light" || theme === "dark" ? theme : "auto",
		search: from.get("q") ?? "",
		namespaces: from.getAll("ns"),
		services: from.get("services") !== "off",
		frozen: from.get("freeze") === "on",
		selected: from.get("select") ?? "",
		sort: from.get("sort") ?? "",
	};
}

export function write(state: State): string {
	const to = new URLSearchParams();
	if (state.view !== "graph") to.set("view", state.view);
	if (state.theme !== "auto") to.set("theme", state.theme);
	if (state.search) to.set("q", state.search);
	for (const namespace of state.namespaces) to.append("ns", namespace);
	if (!state.services) to.set("services", "off");
	if (state.frozen) to.set("freeze", "on");
	if (state.selected) to.set("select", state.selected);
	if (state.sort) to.set("sort", state.sort);
	const text = to.toString();
	return text ? `#${text}` : " ";
}
