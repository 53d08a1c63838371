# What a developer does here; `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BINARY := dist/otelcol-kmesh
TOOLS := .tools
WEB := exporter/kmeshmapexporter/web
# Tools of the pinned versions win over whatever the machine has.
export PATH := $(CURDIR)/$(TOOLS):$(PATH)

# What ends up in the binary. A tree without a folder yet must not stop make.
SOURCES := $(shell find bpf exporter internal receiver \
	\( -path internal/tools -o -name node_modules \) -prune -o \
	\( -name '*.go' ! -name '*_test.go' -o -name '*.o' -o -path '*/web/dist/*' -type f \) -print 2>/dev/null)
SCRIPTS := .ci/run test/kernels/init $(shell find test deploy -name '*.sh' -not -path '*/.tools/*' 2>/dev/null)

# The race detector needs cgo, and cgo a C compiler.
RACE ?= $(if $(shell command -v gcc),-race)

.PHONY: help build run test test-kernels e2e soak screenshot bench generate web manifests packages lint

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BINARY) ## Builds the distribution into dist/otelcol-kmesh (needs Go only)

# OCB writes sources, go.mod and binary into dist/.
$(BINARY): builder-config.yaml go.mod go.sum $(SOURCES) | $(TOOLS)/builder
	$(TOOLS)/builder --config builder-config.yaml
	@touch $@

# Without root the programs cannot be loaded: say so before the collector does. grep drops the debug exporter's
# headings; it ignores Ctrl-C, because a collector that loses its reader dies in the middle of its shutdown.
run: build ## Builds, then shows every TCP connection of this machine, on a map and as lines
	@if [ "$$(id -u)" = 0 ]; then as=; elif command -v sudo >/dev/null; then as=sudo; else \
		echo "make run: loading eBPF programs takes root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and there is no sudo here." >&2; \
		echo "make run: become root, or: setcap cap_bpf,cap_perfmon,cap_net_admin+ep $(BINARY) and start it yourself." >&2; \
		exit 1; \
	fi; \
	printf '\n  Map: http://127.0.0.1:9465\n\n' >&2; \
	echo "Metrics: http://127.0.0.1:9464/metrics   Health: http://127.0.0.1:13133   Stop: Ctrl-C" >&2; \
	$$as $(BINARY) --config deploy/examples/quickstart.yaml | { trap '' INT; grep --line-buffered '^src\.addr=' || true; }

test: $(TOOLS)/helm ## Runs the unit tests; as root those against the kernel too
	@if [ "$$(id -u)" != 0 ]; then printf '\n*** NOT ROOT: the tests against the kernel are SKIPPED. Run `make test` as root.\n\n' >&2; fi
	KMESH_REQUIRE_KERNEL="$${KMESH_REQUIRE_KERNEL:-}" go test $(RACE) -timeout 20m ./...
	go -C internal/identity/istio/conformance test ./...
	@if [ "$$(id -u)" != 0 ]; then printf '\n*** NOT ROOT: the tests against the kernel were SKIPPED.\n\n' >&2; fi

KERNELS ?= 5.10 6.1 6.12
test-kernels: ## Runs the tests that need a kernel on KERNELS="5.10 6.1 6.12", emulated (qemu, no root)
	test/kernels/run.sh $(KERNELS)

# One package at a time: each starts collectors that watch the whole machine.
e2e: build $(TOOLS)/builder $(TOOLS)/helm $(WEB)/node_modules ## Runs the distribution with a real Prometheus and a real Loki (root)
	@if [ "$$(id -u)" != 0 ]; then echo "make e2e: takes root: it loads eBPF programs and makes network namespaces." >&2; exit 1; fi
	test/e2e/servers/build.sh
	go test -tags e2e -count=1 -p 1 -timeout 30m -v ./test/e2e/... ./test/distribution/... ./test/deploy/... ./test/map/...

# The map's page. Its bundle is committed: building the collector needs no Node.js.
web: $(WEB)/node_modules ## Bundles the map's page into exporter/kmeshmapexporter/web/dist (needs npm)
	npm --prefix $(WEB) run --silent check
	npm --prefix $(WEB) run --silent build

# esbuild and playwright-core come as they are: no script of a package runs.
$(WEB)/node_modules: $(WEB)/package.json $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "make: npm is missing: apt-get install nodejs npm" >&2; exit 1; }
	npm --prefix $(WEB) ci --ignore-scripts --no-audit --no-fund
	@touch $@

PICTURES ?= docs/images
screenshot: build $(WEB)/node_modules ## Takes the pictures in docs/images from real traffic (root, chromium)
	@mkdir -p $(PICTURES)
	KMESH_MAP_PICTURES=$(abspath $(PICTURES)) go test -tags e2e -count=1 -run TestScreenshot -v ./test/map/

SOAK ?= 30m
soak: build ## Runs mixed traffic for SOAK=30m, and fails on any difference or growth (root)
	test/e2e/servers/build.sh
	KMESH_SOAK=$(SOAK) go test -tags 'e2e soak' -run TestSoak -count=1 -timeout 0 -v ./test/e2e/

ROUNDS ?= 5
bench: build ## Measures what the receiver costs its host, and writes docs/benchmarks.md (root, gcc; a quarter of an hour)
	go run ./test/bench -rounds $(ROUNDS)

# Clang is pinned: another one writes other bytes, and the committed objects are compared in CI.
generate: $(TOOLS)/bpf2go $(TOOLS)/mdatagen ## Generates the eBPF objects (clang-19) and the receiver's metadata
	@for tool in clang-19:clang-19 llvm-strip-19:llvm-19; do \
		command -v "$${tool%:*}" >/dev/null || { \
			echo "make generate: $${tool%:*} is missing: apt-get install $${tool#*:}" >&2; exit 1; }; \
	done
	@[ -e /usr/include/bpf/bpf_helpers.h ] || { echo "make generate: bpf/bpf_helpers.h is missing: apt-get install libbpf-dev" >&2; exit 1; }
	go generate ./...

manifests: $(TOOLS)/helm ## Renders deploy/kubernetes/*.yaml from the Helm chart
	deploy/kubernetes/render.sh

PACKAGES ?= dist
packages: build $(TOOLS)/nfpm ## Makes a Debian and an RPM package into dist/
	deploy/package/build.sh $(PACKAGES)

# Vet runs for every platform that the module must build on.
lint: $(TOOLS)/golangci-lint ## Checks style, imports and scripts
	golangci-lint run ./...
	for module in . internal/identity/istio/conformance; do go -C $$module mod tidy -diff; done
	for os in linux darwin windows; do GOOS=$$os CGO_ENABLED=0 go vet ./...; done
	go vet -tags 'e2e soak kernels' ./...
	@missing=$$(git ls-files '*.go' '*.c' '*.h' '*.sh' | xargs grep -L -e 'SPDX-License-Identifier' -e '^// Code generated .* DO NOT EDIT' || true); \
	if [ -n "$$missing" ]; then printf 'lint: no SPDX header: %s\n' $$missing >&2; exit 1; fi
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "lint: shellcheck is not installed: scripts are not checked" >&2; fi

$(TOOLS)/builder: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ go.opentelemetry.io/collector/cmd/builder

$(TOOLS)/mdatagen: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ go.opentelemetry.io/collector/cmd/mdatagen

$(TOOLS)/bpf2go: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ github.com/cilium/ebpf/cmd/bpf2go

$(TOOLS)/golangci-lint: internal/tools/lint/go.mod internal/tools/lint/go.sum
	go -C internal/tools/lint build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# helm takes its own version, and that of the API it renders for, from the linker.
HELM := helm.sh/helm/v3
$(TOOLS)/helm: internal/tools/helm/go.mod internal/tools/helm/go.sum
	go -C internal/tools/helm build -o $(CURDIR)/$@ -ldflags "-s -w -X $(HELM)/internal/version.version=v3.22.0 \
		-X $(HELM)/pkg/chartutil.k8sVersionMajor=1 -X $(HELM)/pkg/chartutil.k8sVersionMinor=36 \
		-X $(HELM)/pkg/lint/rules.k8sVersionMajor=1 -X $(HELM)/pkg/lint/rules.k8sVersionMinor=36" $(HELM)/cmd/helm

$(TOOLS)/nfpm: internal/tools/nfpm/go.mod internal/tools/nfpm/go.sum
	go -C internal/tools/nfpm build -ldflags "-s -w" -o $(CURDIR)/$@ github.com/goreleaser/nfpm/v2/cmd/nfpm
