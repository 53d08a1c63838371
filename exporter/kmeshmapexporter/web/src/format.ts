// SPDX-License-Identifier: Apache-2.0

function scaled(value: number, base: number, units: string[]): string {
	let unit = 0;
	while (value >= base && unit < units.length - 1) {
		value /= base;
		unit++;
	}
	const digits = value >= 100 || value === 0 ? 0 : value >= 10 ? 1 : value >= 1 ? 1 : 2;
	return `${trim(value.toFixed(digits))} ${units[unit]}`.trim();
}

function trim(text: string): string {
	return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

export const bytes = (value: number): string => scaled(value, 1000, ["B", "kB", "MB", "GB", "TB"]);
export const rate = (value: number): string => `${bytes(value)}/s`;
export const perSecond = (value: number): string => (value === 0 ? "0" : `${trim(value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2))}/s`);
export const percent = (share: number): string => `${trim((share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0))} %`;

export function seconds(value: number): string {
	if (value < 1e-3) return `${trim((value * 1e6).toFixed(0))} µs`;
	if (value < 1) return `${trim((value * 1e3).toFixed(value < 0.01 ? 2 : 1))} ms`;
	return `${trim(value.toFixed(2))} s`;
}

export function clock(at: string): string {
	const time = new Date(at);
	return Number.isNaN(time.getTime()) ? "" : time.toLocaleTimeString(undefined, { hour12: false });
}

/** A Go duration with few digits: 2.733902ms becomes 2.73 ms. */
export function duration(text: string): string {
	return text.replace(/(\d+)\.(\d{1,2})\d*([a-zµ]+)$/, "$1.$2$3").replace(/(\d)(ns|µs|ms|s|m|h)$/, "$1 $2");
}

/** An error type in words. */
export function words(reason: string): string {
	return reason.replaceAll("_", " ");
}
