# `make` lists the targets. Beyond Go, Node and apt everything a target needs is built or
# installed by the target itself, once, under .cache/ (git-ignored).

SHELL         := /usr/bin/env bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

modules  := proto services gateway deploy
packages := $(modules:%=./%/...)
mains    := deploy/standalone/cmd/securly-sync gateway/cmd/gateway $(foreach s, \
            ingest roster-store readiness-engine auth,services/$s/cmd/$s)
version  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

tools    := .cache/tools
step     := deploy/tools/step.sh
require  := deploy/tools/require.sh
web      := gateway/web
browser  := deploy/e2e/browser
npm_ci   := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
npm_run  := npm run --silent --prefix

# Two packages at a time: with the race detector each test takes a core and much memory.
GO_TEST  := go test -p 2 -timeout 20m
FUZZTIME ?= 20s

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Build and run ---

.PHONY: run
run: ui bin/securly-sync ## Build, then show a made-up district on http://127.0.0.1:8080
	bin/securly-sync demo

.PHONY: build
build: ui $(addprefix bin/,$(notdir $(mains))) ## Build the UI and all programs into bin/

# Go knows what is up to date. Without cgo the programs run on any Linux, and building them
# takes no C compiler.
.PHONY: $(addprefix bin/,$(notdir $(mains)))
$(addprefix bin/,$(notdir $(mains))): bin/%:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X $(version_var)=$(version)' -o $@ ./$(filter %/cmd/$*,$(mains))
version_var := github.com/securly/sync/services/platform/version.Version

.PHONY: ui
ui: $(web)/dist/index.html ## Build the browser UI

$(web)/dist/index.html: $(web)/node_modules/.stamp $(shell find $(web) -type f \
    -not -path '*/node_modules/*' -not -path '*/dist/*' -not -name '*.tsbuildinfo')
	@$(step) "building the UI" $(npm_run) $(web) build
	touch $@

# --- Change ---

.PHONY: generate
generate: tools-proto ## Generate Go, OpenAPI and TypeScript from the protos
	deploy/tools/generate.sh

.PHONY: fix
fix: fix-format generate ## Format everything and generate

.PHONY: fix-format
fix-format: tools-proto $(tools)/golangci-lint $(web)/node_modules/.stamp $(browser)/node_modules/.stamp
	$(tools)/buf format --write --path proto/securly
	$(tools)/golangci-lint fmt $(modules)
	$(npm_run) $(web) format
	$(npm_run) $(browser) format

# Left to right: each reads the go.mod of those before it.
.PHONY: fix-modules
fix-modules:
	for m in $(modules) deploy/bench; do (cd $$m && GOWORK=off go mod tidy); done

# --- Check ---

.PHONY: check
check: check-generated check-format check-proto check-locks check-modules check-lint check-ui ## Format, lint, generated code, module boundaries: all but tests

.PHONY: check-generated
check-generated: tools-proto
	@$(step) "generated code is fresh" deploy/tools/generate.sh --check

.PHONY: check-format
check-format: tools-proto $(tools)/golangci-lint
	@$(step) "format of protos" $(tools)/buf format --diff --exit-code --path proto/securly
	@$(step) "format of Go" $(tools)/golangci-lint fmt --diff $(modules)

.PHONY: check-proto
check-proto: check-generated
	@$(step) "buf lint" $(tools)/buf lint
	@$(step) "buf breaking" deploy/tools/breaking.sh $(BREAKING_AGAINST)

# A registry's address in a lock file would tie every build to that registry.
.PHONY: check-locks
check-locks:
	@! git ls-files '*package-lock.json' | xargs grep -ln '"resolved"' || { \
	  echo 'addresses in the lock files above: npm config set omit-lockfile-registry-resolved true, then npm install' >&2; exit 1; }

# Each module on its own: what it uses is in its own go.mod and to its left.
.PHONY: check-modules
check-modules:
	@for m in $(modules); do \
	  GOWORK=off $(step) "build and vet of $$m alone" bash -c "cd $$m && go build ./... && go vet ./..."; \
	done

.PHONY: check-lint
check-lint: $(tools)/golangci-lint
	@$(step) "lint of Go" $(tools)/golangci-lint run $(packages)

.PHONY: check-ui
check-ui: $(web)/node_modules/.stamp $(browser)/node_modules/.stamp
	@$(step) "types of UI" $(npm_run) $(web) typecheck
	@$(step) "lint of UI" $(npm_run) $(web) lint
	@$(step) "types and format of browser tests" $(npm_run) $(browser) check

# --- Test ---

unit_packages = go list $(packages) | grep -v /deploy/e2e

.PHONY: test
test: ui tools-ferretdb $(browser)/node_modules/.stamp ## Run all tests: Go with the race detector, UI, end to end with a browser
	@$(require) gcc zip unzip sqlite3 chromium sshd sftp
	@p=$$($(unit_packages)); $(step) "Go tests" $(GO_TEST) -race $$p
	@$(step) "UI tests" $(npm_run) $(web) test
	@$(step) "building the programs" $(MAKE) build
	@$(step) "end-to-end tests" $(GO_TEST) -count=1 ./deploy/e2e/...
	@$(step) "browser tests" $(npm_run) $(browser) test

.PHONY: test-short
test-short: tools-ferretdb ## Run the Go tests without race detector, end-to-end tests and browser
	@$(require) sshd sftp
	@p=$$($(unit_packages)); $(step) "Go tests" $(GO_TEST) -short $$p

.PHONY: test-crash
test-crash: tools-ferretdb build ## Kill a working roster store 200 times on each engine, and a syncing hub 50 times, and look at what they leave
	@for e in pebblestore mongostore; do $(step) "killing $$e" $(GO_TEST) -count=1 -timeout 30m -v -run '^TestKilled$$' \
		./services/roster-store/internal/store/$$e -kills 200 || exit 1; done
	@$(step) "killing securly-sync" $(GO_TEST) -count=1 -timeout 30m -v -run '^TestKilledAtRandom$$' ./deploy/e2e -kills 50

.PHONY: bench
bench: ui bin/securly-sync ## Measure the yardstick against its anchors; takes BENCH_FLAGS
	@$(require) gcc g++ sqlite3
	GOWORK=off go build -C deploy/bench -o $(CURDIR)/bin/bench .
	bin/bench $(BENCH_FLAGS)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (20s)
	@deploy/tools/fuzz.sh $(FUZZTIME) $(modules)

.PHONY: vuln
vuln: $(tools)/govulncheck ## Look for known vulnerabilities (asks vuln.go.dev)
	@for m in $(modules); do $(step) "govulncheck of $$m" $(tools)/govulncheck -C $$m ./...; done

.PHONY: clean
clean: ## Remove what was built (not data/)
	rm -rf bin .cache $(web)/dist/* $(web)/node_modules deploy/tools/node_modules $(browser)/node_modules

# --- Tools, built once from the versions pinned in deploy/tools ---

.PHONY: tools-proto
tools-proto: $(tools)/buf deploy/tools/node_modules/.stamp \
             $(addprefix $(tools)/protoc-gen-,go go-grpc grpc-gateway openapiv2)
	@:

# What tests of MongoDB run on unless MONGODB_URI names a server.
.PHONY: tools-ferretdb
tools-ferretdb: $(tools)/ferretdb

# Three of them have a go.mod of their own: they want other versions of what all of them use.
$(tools)/buf $(tools)/golangci-lint $(tools)/ferretdb: $(tools)/%: deploy/tools/%/go.sum
	$(call build_tool,deploy/tools/$*)
$(tools)/ferretdb: deploy/tools/ferretdb/main.go
$(tools)/%: deploy/tools/go.sum
	$(call build_tool,deploy/tools)

define build_tool
@$(step) "building $* once" env GOWORK=off go build -C $(1) -trimpath -o $(CURDIR)/$@ $$(GOWORK=off go -C $(1) list tool | grep '/$*$$')
@touch $@
endef

%/node_modules/.stamp: %/package-lock.json
	@$(step) "npm packages of $*" $(npm_ci) --prefix $*
	@touch $@
