# make help lists what there is.

GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME ?= 20s

# The version comes from git describe, so the Go tool need not ask git.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
export CGO_ENABLED := 0

LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

# The kernel is reached as root only.
ifneq ($(shell id -u),0)
SUDO = sudo
SUDO_EXEC = sudo -E
EXEC = -exec '$(SUDO_EXEC)'
endif

# What does not need Linux: rules are checked on any system.
PORTABLE = ./cmd/repacket ./internal/cli ./internal/foreign ./internal/field ./internal/operand ./internal/syntax ./internal/packetset ./internal/rule ./internal/guard ./internal/reference ./internal/plan ./internal/run ./internal/software ./internal/pcapng ./internal/capture ./internal/offline ./internal/dissect ./internal/metrics ./internal/top ./internal/follow

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Build bin/repacket, one static binary
	$(GO) build -trimpath -ldflags '-s -w -X repacket/internal/cli.version=$(VERSION)' -o bin/repacket ./cmd/repacket

.PHONY: demo
demo: build ## Watch a rule rewrite real packets, in throw-away network namespaces
	$(SUDO) ./bin/repacket demo

.PHONY: test
test: deps vet ## Run all tests, the kernel's as root; tells how far it is
	$(GO) run ./test/suite -go '$(GO)' -exec '$(SUDO_EXEC)'

.PHONY: check
check: ## Check what needs neither root nor network nor clang, in under a minute
	$(GO) vet ./...
	$(GO) test -short ./...

.PHONY: deps
deps: ## Install what the tests need besides Go
	@./tools/deps.sh

.PHONY: vet
vet: ## Vet, build for other systems, parse the queries of the dashboard, and decode the manifests
	@echo "vet, builds for linux/amd64, linux/arm64 and other systems, the queries of the dashboard, and the manifests"
	$(GO) vet ./...
	$(GO) run -C tools/promql . ../../deploy/grafana/repacket.json
	$(GO) test -C tools/manifests .
	$(GO) run -C tools/manifests . ../../deploy/kubernetes/base ../../deploy/kubernetes/overlays/edge
	GOOS=linux GOARCH=amd64 $(GO) build ./...
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet $(PORTABLE)

.PHONY: lint
lint: ## Check style and architecture with golangci-lint
	$(LINT) run ./...

.PHONY: fmt
fmt: ## Format the code
	$(LINT) fmt ./...

.PHONY: docs
docs: ## Write docs/fields.md and the manual pages from the tables of fields, flags and words
	$(GO) test ./internal/cli -run '^(TestFieldsPage|TestManPages)$$' -update

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (20s)
	@GO=$(GO) FUZZTIME=$(FUZZTIME) EXEC='$(SUDO_EXEC)' ./tools/fuzz.sh

.PHONY: prove
prove: ## Compare the implementations on RULES random rule sets (20000), from a new SEED
	RULES=$(or $(RULES),20000) SEED=$(or $(SEED),$(shell date +%s)) $(GO) test $(EXEC) -count=1 -timeout 24h -v -run TestFourAgree ./test/prove

.PHONY: faults
faults: ## Let every system call of the commands fail, in every way and one at a time
	REPACKET_FAULTS=all $(GO) test $(EXEC) -count=1 -timeout 1h -v -run TestSingleFaults ./test/faults

.PHONY: chaos
chaos: ## Kill, stop and race the commands at random moments, 2,000 kills, from a new SEED
	SEED=$(SEED) REPACKET_CHAOS=all $(GO) test $(EXEC) -count=1 -timeout 4h -v ./test/chaos
	$(GO) test $(EXEC) -count=1 -timeout 1h -v -run TestSingleFaults ./test/faults

.PHONY: mutants
mutants: ## Run mutation tests: put faults into the code, and check that tests detect them
	$(GO) run ./test/mutants $(EXEC)

.PHONY: kernels
kernels: ## Run the tests on Debian's kernels 6.1 and 6.12, under qemu
	$(GO) run ./test/kernels

.PHONY: bench
bench: build ## Measure what rules cost, next to C, nft and tcpdump; PART=throughput,ping for some
	@./tools/deps.sh bench
	$(GO) build -o bin/bench ./bench
	$(SUDO) ./bin/bench -part '$(PART)'

.PHONY: install
install: build ## Install bin/repacket, its manual pages and its unit to PREFIX (/usr/local)
	$(SUDO) install -D -m 755 bin/repacket $(DESTDIR)$(PREFIX)/bin/repacket
	$(SUDO) install -D -m 644 docs/man/man8/repacket.8 $(DESTDIR)$(PREFIX)/share/man/man8/repacket.8
	$(SUDO) install -D -m 644 docs/man/man5/repacket-rules.5 $(DESTDIR)$(PREFIX)/share/man/man5/repacket-rules.5
	sed 's#/usr/bin/repacket#$(PREFIX)/bin/repacket#' deploy/systemd/repacket@.service >bin/repacket@.service
	$(SUDO) install -D -m 644 bin/repacket@.service $(DESTDIR)$(PREFIX)/lib/systemd/system/repacket@.service

.PHONY: uninstall
uninstall: ## Remove what make install has put into PREFIX
	$(SUDO) rm -f $(DESTDIR)$(PREFIX)/bin/repacket $(DESTDIR)$(PREFIX)/share/man/man8/repacket.8 $(DESTDIR)$(PREFIX)/share/man/man5/repacket-rules.5 $(DESTDIR)$(PREFIX)/lib/systemd/system/repacket@.service

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
