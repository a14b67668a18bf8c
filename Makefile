# `make` lists the targets. Everything a target needs beyond Go, Node and apt it builds or
# installs itself, once, under .cache/ (git-ignored).

SHELL       := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules

tools := .cache/tools
npm   := npm ci --no-audit --no-fund --ignore-scripts --loglevel=error

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: generate
generate: tools-proto ## Generate Go, OpenAPI and TypeScript from the protos
	deploy/tools/generate.sh

# --- Tools, built once from the versions pinned in deploy/tools ---

.PHONY: tools-proto
tools-proto: $(tools)/buf.stamp $(tools)/plugins.stamp deploy/tools/node_modules/.stamp

$(tools)/plugins.stamp: deploy/tools/go.sum
	GOWORK=off go build -C deploy/tools -trimpath -o $(CURDIR)/$(tools)/ tool
	touch $@

$(tools)/%.stamp: deploy/tools/%/go.sum
	GOWORK=off go build -C deploy/tools/$* -trimpath -o $(CURDIR)/$(tools)/ tool
	touch $@

deploy/tools/node_modules/.stamp: deploy/tools/package-lock.json
	cd deploy/tools && $(npm)
	touch $@
