# The one entry: `make help` says what there is.
.DEFAULT_GOAL := help
.PHONY: help run test conform check fix bench tools

BUF := .tools/node_modules/.bin/buf

help: ## Says what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/'

run: ## Runs the server on its embedded store
	cargo run --release -- serve

test: tools ## Runs all tests; installs what they need first
	HOLDFAST_SERVER=$(CURDIR)/target/debug/holdfast cargo test --workspace --all-features --no-fail-fast
	clients/python/test
	clients/go/test
	clients/web/test
	clients/scenarios/test

conform: tools ## Holds the HTTP surface against its OpenAPI document
	cargo build
	scripts/schemathesis

check: tools ## Checks everything and changes nothing
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	$(BUF) lint
	$(BUF) format --diff --exit-code
	scripts/check-words
	scripts/check-generated
	scripts/check-generated-python
	scripts/check-generated-go
	scripts/check-generated-web

fix: tools ## Mends what can be mended
	cargo fmt --all
	cargo clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged
	$(BUF) format --write

bench: ## Measures the figures, beside bare echoes in the same run
	cargo bench --bench figures

tools: ## Installs what tests and checks need: curl, jq, openssl, python3, buf, schemathesis
	scripts/install-tools
