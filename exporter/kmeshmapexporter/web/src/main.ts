// SPDX-License-Identifier: Apache-2.0

import "uplot/dist/uPlot.min.css";
import "./map.css";

import { element, find, setText } from "./element";
import { follow } from "./feed";
import { rate } from "./format";
import { GraphView } from "./graph";
import { listen } from "./keyboard";
import { Panel } from "./panel";
import { read, type State, type Theme, write } from "./state";
import { type Node, place, Store } from "./store";
import { TableView } from "./table";
import { clusters, spaces, spaceTitle, type View, visible } from "./view";

const store = new Store();
let state: State = read(location.hash);
let view: View = { nodes: new Map(), links: new Map(), found: undefined };
let connection: "connecting" | "live" | "lost" = "connecting";

applyTheme();
const graph = new GraphView(find("graph"), { select: choose, focus: announce });
const panel = new Panel(choose);
const table = new TableView(choose, (sort) => change({ sort }));

/** Changes what the viewer chose, and the address with it. */
function change(part: Partial<State>): void {
	state = { ...state, ...part };
	const address = write(state);
	history.replaceState(null, "", address === " " ? location.pathname + location.search : address);
	render();
}

function choose(key: string): void {
	change({ selected: key });
	graph.select(key);
	if (key) graph.reveal(key);
}

/** Shows the store as the state wants it. */
function render(): void {
	view = visible(store, state);
	const isEmpty = store.links.size === 0;
	const isTable = state.view === "table";
	find("graph-view").hidden = isTable;
	find("table-view").hidden = !isTable;
	find("empty").hidden = !isEmpty || connection === "connecting";
	find("nothing").hidden = isEmpty || view.nodes.size > 0;
	if (isTable) table.show(view, state.sort, state.selected);
	else graph.show(view);
	panel.show(state.selected, view);
	press("services", state.services);
	press("freeze", state.frozen);
	press("view-graph", !isTable);
	press("view-table", isTable);
	setText(find("theme-text"), state.theme === "auto" ? "Auto" : state.theme === "light" ? "Light" : "Dark");
	const search = find<HTMLInputElement>("search");
	if (search.value !== state.search) search.value = state.search;
	showStatus();
	showNotice();
	showSpaces();
}

function press(id: string, isPressed: boolean): void {
	find(id).setAttribute("aria-pressed", String(isPressed));
}

function showStatus(): void {
	const of = find("state");
	const now = connection === "live" && state.frozen ? "frozen" : connection;
	of.dataset.state = now;
	const nodes = `${view.nodes.size} nodes, ${view.links.size} links`;
	const from = store.senders > 1 ? ` from ${store.senders} agents` : "";
	const texts = { live: `live · ${nodes}${from}`, frozen: `frozen · ${nodes}`, lost: "connection lost, trying again", connecting: "connecting" };
	setText(find("state-text"), texts[now]);
	setText(find("empty-hint"), store.senders === 0
		? "No agent has sent anything yet. The receiver kmesh must be in a metrics pipeline with the exporter kmesh_map."
		: "Agents report. There was no traffic that they count: loopback needs include_loopback: true.");
}

function showNotice(): void {
	const parts: string[] = [];
	for (const fold of store.folds) {
		const name = store.nodes.get(fold.id)?.title ?? fold.ns ?? "";
		parts.push(`${name}: ${fold.nodes} nodes drawn as one`);
	}
	let text = parts.length > 0 ? `More nodes than max_nodes. ${parts.slice(0, 4).join("; ")}${parts.length > 4 ? ` and ${parts.length - 4} more` : ""}.` : "";
	if (store.refused > 0) text += " Some series are left out: raise max_nodes.";
	const notice = find("notice");
	notice.hidden = text === "";
	setText(notice, text.trim());
}

let spacesShown = "";

function showSpaces(): void {
	const all = spaces(store);
	const count = clusters(store.nodes.values());
	for (const chosen of state.namespaces) if (!all.has(chosen)) all.set(chosen, 0);
	const chosen = new Set(state.namespaces);
	const title = (space: string): string => {
		try {
			return spaceTitle(space, count);
		} catch {
			return space; // from an address that somebody wrote by hand
		}
	};
	const first = state.namespaces[0];
	setText(find("namespaces-title"), first === undefined ? "All namespaces" : chosen.size === 1 ? title(first) : `${chosen.size} namespaces`);
	const shown = JSON.stringify([[...all], state.namespaces, count]);
	if (shown === spacesShown || find("namespace-list").contains(document.activeElement)) return;
	spacesShown = shown;
	find("namespace-list").replaceChildren(...[...all].map(([space, nodes]) => {
		const box = element("input", {
			type: "checkbox", checked: chosen.has(space),
			change: (event) => {
				const isChosen = (event.target as HTMLInputElement).checked;
				change({ namespaces: isChosen ? [...state.namespaces, space] : state.namespaces.filter((other) => other !== space) });
			},
		});
		return element("label", {}, box, element("span", {}, title(space)), element("small", {}, String(nodes)));
	}));
}

/** Says what the keyboard's focus is on. */
function announce(node: Node): void {
	let incoming = 0, outgoing = 0, traffic = 0, failing = 0;
	for (const link of view.links.values()) {
		if (link.source.key === node.key) outgoing++;
		else if (link.target.key === node.key) incoming++;
		else continue;
		traffic += link.sent + link.received;
		if (link.share > 0) failing++;
	}
	setText(find("focus"), `${node.title}, ${place(node)}. ${incoming} links in, ${outgoing} out, ${rate(traffic)}${failing > 0 ? `, ${failing} with failed connects` : ""}.`);
}

function applyTheme(): void {
	const isDark = state.theme === "dark" || (state.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
	document.documentElement.dataset.theme = isDark ? "dark" : "light";
}

function setTheme(theme: Theme): void {
	state.theme = theme;
	applyTheme();
	graph.retheme();
	change({ theme });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(state.theme));
find<HTMLInputElement>("search").addEventListener("input", (event) => change({ search: (event.target as HTMLInputElement).value }));
find("services").addEventListener("click", () => change({ services: !state.services }));
find("freeze").addEventListener("click", () => change({ frozen: !state.frozen }));
find("view-graph").addEventListener("click", () => change({ view: "graph" }));
find("view-table").addEventListener("click", () => change({ view: "table" }));
find("skip").addEventListener("click", (event) => {
	event.preventDefault();
	change({ view: "table" });
	find("columns").querySelector("button")?.focus();
});
find("theme").addEventListener("click", () => setTheme(state.theme === "auto" ? "light" : state.theme === "light" ? "dark" : "auto"));
find("namespaces-all").addEventListener("click", () => {
	find<HTMLDetailsElement>("namespaces").open = false;
	change({ namespaces: [] });
});
find("clear").addEventListener("click", () => change({ namespaces: [], search: "" }));
find("zoom-in").addEventListener("click", () => graph.zoom(1.3));
find("zoom-out").addEventListener("click", () => graph.zoom(1 / 1.3));
find("fit").addEventListener("click", () => graph.fitAll());
find("arrange").addEventListener("click", () => graph.arrange(true));
document.addEventListener("click", (event) => {
	const menu = find<HTMLDetailsElement>("namespaces");
	if (menu.open && !menu.contains(event.target as HTMLElement)) menu.open = false;
});
addEventListener("hashchange", () => {
	state = read(location.hash);
	setTheme(state.theme);
	graph.select(state.selected);
});

listen({
	search: () => find("search").focus(),
	escape: () => {
		const menu = find<HTMLDetailsElement>("namespaces");
		if (menu.open) {
			menu.open = false;
			menu.querySelector("summary")?.focus();
		} else if (state.selected) {
			choose("");
			if (state.view === "graph") find("graph").focus();
		} else if (state.search) {
			change({ search: "" });
		}
	},
	enter: () => {
		const found = view.found && [...view.found][0];
		if (found) choose(found);
	},
	freeze: () => change({ frozen: !state.frozen }),
	services: () => change({ services: !state.services }),
	graph: () => change({ view: "graph" }),
	table: () => change({ view: "table" }),
	open: () => choose(graph.focus),
	step: (x, y) => graph.step(x, y),
	zoom: (factor) => graph.zoom(factor),
	fit: () => graph.fitAll(),
	arrange: () => graph.arrange(true),
});

follow({
	snapshot: (message) => {
		connection = "live";
		store.snapshot(message);
		if (!state.frozen || view.nodes.size === 0) render();
		else showStatus();
		graph.select(state.selected);
	},
	update: (message) => {
		connection = "live";
		store.update(message);
		if (!state.frozen) render();
	},
	lost: () => {
		connection = "lost";
		showStatus();
	},
});

setText(find("try"), `curl --silent --output /dev/null ${location.origin}/`);

// For the browser's tests and for measurements.
Object.assign(window, { kmeshMap: { graph, store } });
render();
