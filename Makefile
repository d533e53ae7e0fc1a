# Finnest in one word each. `make` alone shows them.

.DEFAULT_GOAL := help
.PHONY: help install run test check models faults faults-jobs bench bench-otp bench-edge
.PHONY: bench-events bench-jobs assets clean fuzz mcp-conformance

CARGO ?= cargo

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Install what running needs and this machine lacks
	@scripts/install.sh run

run: install ## Start the platform with demo data, as a release build
	$(CARGO) run --release --locked -p server --bin finnest -- serve --demo

test: ## Run every test, on a database server of its own
	@scripts/install.sh test
	@scripts/test.sh

check: ## Format, lints, documentation and dependencies, as the gate sees them
	@scripts/check.sh

models: ## Try every order of events on what threads share without a lock
	@CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/models $(CARGO) run --release \
		--quiet --manifest-path runtime/otp/models/Cargo.toml

fuzz: ## Throw bytes at what reads bytes, SECONDS_EACH=60 per target
	@scripts/fuzz.sh

faults: ## Do harm under load and write docs/reliability.md; QUICK=1 does less and writes no page
	@scripts/install.sh test
	@QUICK=$(QUICK) scripts/faults.sh

faults-jobs: ## The same for the queue alone
	@scripts/install.sh test
	@QUICK=$(QUICK) scripts/faults.sh --jobs

bench: ## Measure the limits the platform holds
	@scripts/install.sh run
	$(CARGO) bench --locked -p benches

bench-otp: ## Measure supervision against Erlang; QUICK=1 takes under a minute and writes no page
	@QUICK=$(QUICK) scripts/bench-otp.sh

bench-edge: ## Measure sockets and HTTP against their limits; QUICK=1 takes a minute and writes no page
	@QUICK=$(QUICK) scripts/bench-edge.sh

bench-events: ## Measure the event log against its server; QUICK=1 takes a minute, FULL=1 half an hour
	@QUICK=$(QUICK) FULL=$(FULL) scripts/bench-events.sh

bench-jobs: ## Measure the queue against its server; QUICK=1 takes a minute, FULL=1 half an hour
	@QUICK=$(QUICK) FULL=$(FULL) scripts/bench-jobs.sh

mcp-conformance: ## Hold the MCP servers against the protocol's own suite
	@scripts/install.sh test
	@scripts/conformance.sh

assets: ## Rebuild the console's style sheet and script
	@scripts/assets.sh

clean: ## Stop the test server and remove everything built
	@scripts/test.sh stop
	$(CARGO) clean
