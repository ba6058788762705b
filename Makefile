# The entry points of the repository. `make help` lists them.

export CARGO_TARGET_DIR := $(shell tests/services/target.sh)

.PHONY: help build test test-hermetic test-live test-idp chaos outages guards lint demo bench bench-latency bench-stages counts clean-services
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 - \2/p' Makefile

build: ## build the binary, optimised
	cargo build --locked --release
	@echo "built $$CARGO_TARGET_DIR/release/authseal"

test: ## everything: hermetic tests, then live ones against a real Kafka, S3 and Ceph on loopback
	@tests/services/run.sh all

test-hermetic: ## fmt, clippy and the tests that need Rust alone
	@tests/services/run.sh hermetic

test-live: ## the tests against a real Kafka, S3 and Ceph
	@tests/services/run.sh live

test-idp: ## the tests against a real identity provider (Keycloak): tokens for Kafka, logons as events
	@tests/services/run.sh idp

chaos: ## 2,000,000 records while processes are killed, Kafka is restarted and the store is cut off
	@tests/services/run.sh chaos

outages: ## a minute of each outage, with a table of memory and readiness
	@tests/services/run.sh outages

guards: ## take each guard of ingest away in a copy of the tree: which schedule of the simulation notices
	@tests/simulation/guards.py

lint: ## fmt and clippy
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

demo: build ## seal and judge a made-up day, verify it, tamper with a copy: nothing to install
	"$$CARGO_TARGET_DIR/release/authseal" demo

bench: ## authseal, the limit and its peers on a real Kafka and S3: half an hour; the tables go to docs/performance.md
	@tests/services/run.sh bench

bench-latency: ## from an event to its alert, at several rates, on a real Kafka: four minutes
	@AUTHSEAL_BENCH="--parts latency $(AUTHSEAL_BENCH)" tests/services/run.sh bench

bench-stages: ## every stage by itself
	cargo bench --locked

counts: ## instructions and allocations an event, stage by stage, beside the committed ones (BLESS=1 commits to what it counts)
	@tests/services/run.sh counts

clean-services: ## stop services that a killed run left behind, remove their data
	@tests/services/clean.sh
