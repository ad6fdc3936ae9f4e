# The whole house keeping of bryo. Tools are pinned and live in .bin beside the
# executables; `make` alone lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build test test-vm lint fuzz bench soak install

GO        ?= go
PREFIX    ?= /usr/local
FUZZTIME  ?= 10s
TESTFLAGS ?=
ARGS      ?=
BIN       ?= .bin

GOLANGCI := v2.15.0
LINT     := .bin/golangci-lint-$(GOLANGCI)

# Static and at a fixed address: no libc to find, nothing to relocate at start.
export CGO_ENABLED := 0
GOBUILD := $(GO) build -buildmode=exe -trimpath -ldflags "-s -w"

help: ## list the targets
	@awk -F ' *:.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

build: ## build the executables into BIN (.bin)
	@for main in cmd/*/main.go; do \
	    [[ -e $$main ]] || continue; \
	    name=$$(basename "$${main%/main.go}"); \
	    echo "build $(BIN)/$$name"; \
	    $(GOBUILD) -o "$(BIN)/$$name" "./cmd/$$name"; \
	done

test: ## vet, then run the tests (TESTFLAGS: flags for go test)
	$(GO) vet ./...
	$(GO) test -timeout 25m $(TESTFLAGS) ./...

test-vm: ## run tests with systemd on several kernels, and the launch on arm64, in qemu
	@failed=0; \
	run() { local status=0; echo "=== $$*"; "$$@" || status=$$?; [[ $$status == 0 || $$status == 77 ]] || failed=1; }; \
	for mode in user login su plain service; do run tests/vm/amd64 -m $$mode; done; \
	for kernel in bullseye trixie backports; do run tests/vm/amd64 -k $$kernel; done; \
	run tests/vm/arm64; \
	exit $$failed

lint: $(LINT) ## check style, formatting, go.mod and the arm64 build
	$(LINT) run ./...
	$(LINT) fmt --diff
	$(GO) mod tidy -diff
	GOARCH=arm64 $(GO) vet ./...

# The standard input of go test reaches the test, which would eat the list.
fuzz: ## run every fuzz target for FUZZTIME (10s, or a count as 3000x) each
	@{ grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . || true; } | sort | \
	while IFS=: read -r file func; do \
	    echo "fuzz $${file%/*} $${func#func }"; \
	    $(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$${file%/*}" < /dev/null; \
	done

bench: build ## measure against peers (ARGS: arguments for tests/bench)
	$(GO) run ./tests/bench $(ARGS)

soak: ## fuzz for millions of executions, and run the tests with full counts
	$(MAKE) fuzz FUZZTIME=300000x
	BRYO_SOAK=1 $(GO) test -count 1 -timeout 4h $(TESTFLAGS) ./...

install: ## install all below PREFIX (/usr/local): executables, man page, completions; DESTDIR is honoured
	@[[ -x $(BIN)/bryo ]] || { echo "nothing is built: run make build first" >&2; exit 1; }
	install -D -m 0755 $(BIN)/bryo "$(DESTDIR)$(PREFIX)/bin/bryo"
	@for helper in $(BIN)/bryo-*; do \
	    [[ -x $$helper ]] || continue; \
	    install -D -m 0755 -v "$$helper" "$(DESTDIR)$(PREFIX)/libexec/bryo/$${helper##*/}"; \
	done
	@put() { install -D -m 0644 -v /dev/stdin "$(DESTDIR)$(PREFIX)/share/$$1"; }; \
	$(BIN)/bryo help --man | put man/man1/bryo.1; \
	$(BIN)/bryo completion bash | put bash-completion/completions/bryo; \
	$(BIN)/bryo completion zsh | put zsh/site-functions/_bryo; \
	$(BIN)/bryo completion fish | put fish/vendor_completions.d/bryo.fish

$(LINT):
	GOBIN=$(CURDIR)/.bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv .bin/golangci-lint $@
