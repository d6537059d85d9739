# Tapdoor. `make` lists what can be done; everything here is a thin layer over cargo and three scripts.

CARGO ?= cargo
CARGO_FLAGS ?=
TEST_FLAGS ?=
FUZZ_SECONDS ?= 10
# Readers through libnfc; `make LIBNFC= ...` builds without them.
LIBNFC ?= libnfc
FEATURES := $(if $(LIBNFC),--features tapdoor-cli/libnfc)
DEPS := scripts/install-deps
EXAMPLES := $(basename $(notdir $(wildcard examples/*.rs)))
SCRIPTS := scripts/install-deps .ci/run applets/build fuzz/run hce-card/android/make-apk tests/interop/run $(wildcard tests/interop/*.sh tests/support/*.sh)

# rustup's folder, for shells that have not read ~/.cargo/env yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help demo build test interop android applets fuzz bench lint fmt docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## the whole story in one process, without hardware
	@target/release/tapdoor demo

build: ## the release binary, target/release/tapdoor
	@$(DEPS) build $(LIBNFC)
	$(CARGO) build --release $(CARGO_FLAGS) $(FEATURES) --bin tapdoor

test: ## all of cargo's tests, a real PC/SC stack included
	@$(DEPS) build $(LIBNFC) stack
	$(CARGO) test --workspace $(CARGO_FLAGS) $(FEATURES) $(TEST_FLAGS)
	@for example in $(EXAMPLES); do echo "example $$example"; $(CARGO) run --quiet $(CARGO_FLAGS) --example $$example || exit 1; done

interop: ## other people's programs against ours
	@$(DEPS) build $(LIBNFC) stack interop
	@$(DEPS) android || echo 'interop: the Android bridge is left out'
	$(CARGO) build --release $(CARGO_FLAGS) $(FEATURES) -p tapdoor-cli -p tapdoor-ifd
	$(CARGO) build --release $(CARGO_FLAGS) --manifest-path tests/peers/acr122_pcsc/Cargo.toml --target-dir target/acr122_pcsc
	tests/interop/run

android: ## the bridge app for a real phone, target/android/tapdoor-bridge.apk
	@$(DEPS) android
	hce-card/android/make-apk

applets: ## build the downloadable applets anew, and hold the committed ones against them
	@$(DEPS) build
	@$(DEPS) applets || echo 'applets: the committed ones are used, and not built anew'
	applets/build --check

fuzz: ## random input at every parser for a short while
	@$(DEPS) build
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-fuzz
	fuzz/run $(FUZZ_SECONDS)

bench: ## measure: criterion, then tapdoor bench
	@$(DEPS) build $(LIBNFC)
	$(CARGO) bench --workspace $(CARGO_FLAGS) $(FEATURES)
	$(CARGO) build --release $(CARGO_FLAGS) $(FEATURES) --bin tapdoor
	target/release/tapdoor bench

lint: ## formatting, clippy, licences and advisories, shell scripts
	@$(DEPS) build $(LIBNFC)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(CARGO_FLAGS) $(FEATURES) -- -D warnings
	@if command -v cargo-deny >/dev/null; then echo '$(CARGO) deny check'; $(CARGO) deny check; \
	else echo 'lint: cargo-deny is not here, so deny.toml was not checked (cargo install --locked cargo-deny)'; fi
	@if command -v shellcheck >/dev/null; then echo 'shellcheck $(SCRIPTS)'; shellcheck -x $(SCRIPTS); \
	else echo 'lint: shellcheck is not here, so the scripts were not checked (apt-get install shellcheck)'; fi

fmt: ## put the source into its form
	$(CARGO) fmt --all

docs: ## the API documentation, without a warning
	@$(DEPS) build
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(CARGO_FLAGS)

clean: ## remove everything that was built
	$(CARGO) clean
