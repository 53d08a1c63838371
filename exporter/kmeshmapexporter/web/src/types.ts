// SPDX-License-Identifier: Apache-2.0

// What the exporter sends. Names come from pods and processes: they are text, and go into the page by textContent only.

export type Kind = "workload" | "service" | "address" | "unknown" | "namespace";
export type LinkKind = "direct" | "call" | "backend" | "pair";

export interface WireNode {
	id: number;
	kind: Kind;
	cluster?: string;
	ns?: string;
	name?: string;
	host?: string;
}

export interface LinkID {
	from: number;
	to: number;
	kind: LinkKind;
}

export interface WireLink extends LinkID {
	sent: number;
	received: number;
	opened: number;
	failed: number;
	share: number;
	retrans: number;
	active: number;
	idle: boolean;
	reporter: "source" | "destination";
	reason?: string;
}

export interface Fold {
	id: number;
	cluster?: string;
	ns?: string;
	nodes: number;
}

export interface Message {
	at: number;
	nodes?: WireNode[];
	links?: WireLink[];
	goneNodes?: number[];
	goneLinks?: LinkID[];
	folds: Fold[];
	refused: number;
	senders: number;
	window: number;
}

export interface AccessRecord {
	at: string;
	event: string;
	direction: string;
	source: string;
	sourcePod?: string;
	destination: string;
	destinationPod?: string;
	sent: number;
	received: number;
	duration: string;
	retransmitted?: number;
	rtt?: string;
	closeReason?: string;
	error?: string;
	traceId?: string;
}

export interface Detail {
	start: number;
	step: number;
	series: {
		sent: number[];
		received: number[];
		opened: number[];
		failed: number[];
		retrans: number[];
		connect: (number | null)[];
		rtt: (number | null)[];
	};
	reasons: Record<string, number>;
	records: AccessRecord[];
}
