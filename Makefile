# What a developer does here; `make help` lists it.
# A line `##@ NAME` puts the targets below it into a group, and `## TEXT` behind a target describes it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

comma := ,
BINARY := dist/otelcol-kmesh
TOOLS := .tools
WEB := exporter/kmeshmapexporter/web
# Tools of the pinned versions win over whatever the machine has.
export PATH := $(abspath $(TOOLS)):$(PATH)

# The sources of the binary.
SOURCES := $(shell find bpf exporter extension internal receiver \
	\( -path internal/tools -o -name node_modules \) -prune -o \
	\( -name '*.go' ! -name '*_test.go' -o -name '*.o' -o -path '*/web/dist/*' -type f \) -print 2>/dev/null)
SCRIPTS := .ci/run test/kernels/init $(shell find test deploy -name '*.sh' -not -path '*/.tools/*' 2>/dev/null)

# The race detector needs cgo, and cgo a C compiler.
RACE ?= $(if $(shell command -v gcc),-race)

.PHONY: help build run test test-kernels e2e e2e-traces e2e-kiali fuzz soak screenshot bench scale limits generate web manifests dashboards packages release lint

##@ Use

help: ## Lists the targets
	@awk -F ':.*## ' '/^##@ / {group = substr($$0, 5); if (!(group in targets)) {targets[group] = ""; order[++groups] = group}} \
		/^[a-z0-9-]+:.*## / {targets[group] = targets[group] sprintf("  make %-13s %s\n", $$1, $$2)} \
		END {for (i = 1; i <= groups; i++) printf "%s%s\n%s", (i > 1 ? "\n" : ""), order[i], targets[order[i]]}' $(MAKEFILE_LIST)

build: $(BINARY) ## Builds the distribution dist/otelcol-kmesh (needs Go only)

# OCB writes sources, go.mod and binary into dist/.
$(BINARY): builder-config.yaml go.mod go.sum $(SOURCES) | $(TOOLS)/builder
	$(TOOLS)/builder --config builder-config.yaml
	@touch $@

# Without root the programs cannot be loaded, so the check comes before the start. grep drops the headings of the
# debug exporter. It ignores Ctrl-C, because a collector that loses its reader dies during its shutdown.
run: build ## Builds, then shows every TCP connection of this machine, on a map and as lines (root or sudo)
	@if [ "$$(id -u)" = 0 ]; then as=; elif command -v sudo >/dev/null; then as=sudo; else \
		echo "make run: loading eBPF programs takes root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and there is no sudo here." >&2; \
		echo "make run: become root, or: setcap cap_bpf,cap_perfmon,cap_net_admin+ep $(BINARY) and start it yourself." >&2; \
		exit 1; \
	fi; \
	printf '\n  Map: http://127.0.0.1:9465\n\n' >&2; \
	echo "Metrics: http://127.0.0.1:9464/metrics   Health: http://127.0.0.1:13133   Stop: Ctrl-C" >&2; \
	$$as $(BINARY) --config deploy/examples/quickstart.yaml | { trap '' INT; grep --line-buffered '^src\.addr=' || true; }

PACKAGES ?= dist
packages: build $(TOOLS)/nfpm ## Builds a Debian and an RPM package in dist/
	deploy/package/build.sh $(PACKAGES)

##@ Check

test: $(TOOLS)/helm ## Runs the unit tests; as root, those against the kernel too
	@if [ "$$(id -u)" != 0 ]; then printf '\n*** NOT ROOT: the tests against the kernel are SKIPPED. Run `make test` as root.\n\n' >&2; fi
	KMESH_REQUIRE_KERNEL="$${KMESH_REQUIRE_KERNEL:-}" go test $(RACE) -timeout 20m ./...
	for module in internal/identity/istio/conformance internal/tools/grafana; do go -C $$module test ./...; done
	@if [ "$$(id -u)" != 0 ]; then printf '\n*** NOT ROOT: the tests against the kernel were SKIPPED.\n\n' >&2; fi

KERNELS ?= 5.10 6.1 6.12
test-kernels: ## Runs the kernel tests on KERNELS="5.10 6.1 6.12", emulated (qemu, no root)
	test/kernels/run.sh $(KERNELS)

# One package at a time: each starts collectors that watch the whole machine.
e2e: build $(TOOLS)/builder $(TOOLS)/helm $(WEB)/node_modules ## Runs the distribution with real servers: Prometheus, Loki, Kubernetes, istiod, Chromium (root)
	@if [ "$$(id -u)" != 0 ]; then echo "make e2e: takes root: it loads eBPF programs and makes network namespaces." >&2; exit 1; fi
	test/e2e/servers/build.sh etcd istiod kube-apiserver loki prometheus
	go test -tags e2e -count=1 -p 1 -timeout 30m -v ./test/e2e/... ./test/distribution/... ./test/deploy/... ./test/map/...

# By itself, as Jaeger takes minutes to build.
e2e-traces: build ## Runs two gateways with a real Jaeger, a service graph in Prometheus, and exemplars to Loki (root)
	test/e2e/servers/build.sh jaeger loki prometheus
	go test -tags 'e2e traces' -run TestTraces -count=1 -timeout 10m -v ./test/e2e/

# By itself, as Kiali takes minutes to build.
e2e-kiali: build ## Shows the Istio set to a real Kiali, with Prometheus and a real API server (root)
	test/e2e/servers/build.sh etcd kiali kube-apiserver prometheus
	go test -tags 'e2e kiali' -run TestKiali -count=1 -timeout 10m -v ./test/e2e/

##@ Generate

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

##@ Check

FUZZ ?= 60s
fuzz: ## Runs each fuzz target for FUZZ=60s
	test/fuzz.sh $(FUZZ)

SOAK ?= 30m
soak: build ## Runs mixed traffic and an adversary for SOAK=30m; fails on any difference or growth (root)
	test/e2e/servers/build.sh
	KMESH_SOAK=$(SOAK) go test -tags 'e2e soak' -run TestSoak -count=1 -timeout 0 -v ./test/e2e/

LIMITS ?= 10m
limits: build $(TOOLS)/helm ## Runs the agent under load for LIMITS=10m, with the chart's memory limit (root, gcc)
	test/e2e/servers/build.sh etcd kube-apiserver
	KMESH_LIMITS=$(LIMITS) go test -tags e2e -run TestMemoryLimit -count=1 -timeout 0 -v ./test/deploy/

ROUNDS ?= 9
bench: build ## Measures the receiver's cost, and writes docs/benchmarks.md (root, gcc, tcplife; 25 minutes)
	go run ./test/bench -rounds $(ROUNDS)

PODS ?= 50000
scale: ## Measures a directory of PODS=50000 pods with simulated agents, and writes its table into docs/scaling.md
	test/e2e/servers/build.sh etcd kube-apiserver
	go run ./test/scale -pods $(PODS)

# Vet runs for every platform that the module must build on.
lint: $(TOOLS)/golangci-lint $(TOOLS)/actionlint ## Checks style, imports, scripts and workflows
	golangci-lint run ./...
	for module in . internal/identity/istio/conformance internal/tools/grafana; do go -C $$module mod tidy -diff; done
	for os in linux darwin windows; do GOOS=$$os CGO_ENABLED=0 go vet ./...; done
	go vet -tags 'e2e soak traces kiali kernels release' ./...
	@missing=$$(git ls-files '*.go' '*.c' '*.h' '*.sh' | xargs grep -L -e 'SPDX-License-Identifier' -e '^// Code generated .* DO NOT EDIT' || true); \
	if [ -n "$$missing" ]; then printf 'lint: no SPDX header: %s\n' $$missing >&2; exit 1; fi
	@if command -v clang-format-19 >/dev/null; then clang-format-19 --dry-run -Werror bpf/*.[ch]; else echo "lint: clang-format-19 is not installed: C is not checked" >&2; fi
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "lint: shellcheck is not installed: scripts are not checked" >&2; fi
	actionlint

##@ Generate

# Clang is pinned, because CI compares the committed objects byte for byte.
generate: $(TOOLS)/bpf2go $(TOOLS)/mdatagen ## Generates the eBPF objects (clang-19) and the metadata packages
	@for tool in clang-19:clang-19 llvm-strip-19:llvm-19; do \
		command -v "$${tool%:*}" >/dev/null || { \
			echo "make generate: $${tool%:*} is missing: apt-get install $${tool#*:}" >&2; exit 1; }; \
	done
	go generate ./...

manifests: $(TOOLS)/helm ## Renders deploy/kubernetes/*.yaml from the Helm chart
	deploy/kubernetes/render.sh

dashboards: ## Writes deploy/grafana/*.json
	go -C internal/tools/grafana run . $(CURDIR)/deploy/grafana

##@ Release

# Without a tag at HEAD it is a snapshot. Nothing is published: that is `goreleaser release` with a token, from a tag.
# A test looks at what was written, as who downloads it would.
RELEASE_VERSION ?= $(shell git describe --tags --exact-match 2>/dev/null || sed -n 's/^  version: //p' builder-config.yaml)
release: $(TOOLS)/builder $(TOOLS)/helm $(TOOLS)/nfpm $(TOOLS)/goreleaser $(TOOLS)/syft $(if $(COSIGN_PRIVATE_KEY),$(TOOLS)/cosign) ## Builds archives, packages, the chart, checksums and SBOMs into release/; signs with COSIGN_PRIVATE_KEY
	deploy/release/prepare.sh $(RELEASE_VERSION)
	RELEASE_VERSION=$(RELEASE_VERSION:v%=%) goreleaser release --config deploy/release/goreleaser.yaml --clean --release-notes .release/notes.md \
		$(if $(shell git describe --tags --exact-match 2>/dev/null),,--snapshot) --skip=publish$(if $(COSIGN_PRIVATE_KEY),,$(comma)sign)
	cp .release/*.tgz .release/notes.md release/
	RELEASE_VERSION=$(RELEASE_VERSION:v%=%) go test -tags release -run TestRelease -count=1 -v ./test/deploy/

$(TOOLS)/builder: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ go.opentelemetry.io/collector/cmd/builder

$(TOOLS)/mdatagen: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ go.opentelemetry.io/collector/cmd/mdatagen

$(TOOLS)/bpf2go: internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $(CURDIR)/$@ github.com/cilium/ebpf/cmd/bpf2go

$(TOOLS)/golangci-lint: internal/tools/lint/go.mod internal/tools/lint/go.sum
	go -C internal/tools/lint build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/actionlint: internal/tools/actionlint/go.mod internal/tools/actionlint/go.sum
	go -C internal/tools/actionlint build -o $(CURDIR)/$@ github.com/rhysd/actionlint/cmd/actionlint

# helm gets its version, and that of the API it renders for, from the linker.
HELM := helm.sh/helm/v3
$(TOOLS)/helm: internal/tools/helm/go.mod internal/tools/helm/go.sum
	go -C internal/tools/helm build -o $(CURDIR)/$@ -ldflags "-s -w -X $(HELM)/internal/version.version=v3.22.0 \
		-X $(HELM)/pkg/chartutil.k8sVersionMajor=1 -X $(HELM)/pkg/chartutil.k8sVersionMinor=36 \
		-X $(HELM)/pkg/lint/rules.k8sVersionMajor=1 -X $(HELM)/pkg/lint/rules.k8sVersionMinor=36" $(HELM)/cmd/helm

$(TOOLS)/nfpm: internal/tools/nfpm/go.mod internal/tools/nfpm/go.sum
	go -C internal/tools/nfpm build -ldflags "-s -w" -o $(CURDIR)/$@ github.com/goreleaser/nfpm/v2/cmd/nfpm

$(TOOLS)/goreleaser: internal/tools/goreleaser/go.mod internal/tools/goreleaser/go.sum
	go -C internal/tools/goreleaser build -ldflags "-s -w" -o $(CURDIR)/$@ github.com/goreleaser/goreleaser/v2

$(TOOLS)/syft: internal/tools/syft/go.mod internal/tools/syft/go.sum
	go -C internal/tools/syft build -ldflags "-s -w" -o $(CURDIR)/$@ github.com/anchore/syft/cmd/syft

# cosign gets its version from the linker.
$(TOOLS)/cosign: internal/tools/cosign/go.mod internal/tools/cosign/go.sum
	go -C internal/tools/cosign build -o $(CURDIR)/$@ -ldflags "-s -w -X sigs.k8s.io/release-utils/version.gitVersion=$$( \
		go -C internal/tools/cosign list -m -f '{{.Version}}' github.com/sigstore/cosign/v2)" github.com/sigstore/cosign/v2/cmd/cosign
