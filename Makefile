# Makefile - one for the whole tree.  `make help` lists the goals.
#
# Outside the toolchain (MAAS_TOOLCHAIN unset) every goal is handed to docker/toolchain.sh,
# which runs this same Makefile where Debian 13's packages are.  Inside, files are found by
# wildcard: a new .c file in common/ or services/X/ needs no line here.
SHELL := /bin/bash
.DEFAULT_GOAL := all

PORT       ?= 8080
DATA       ?= data
WORKERS    ?= 2
QUICKSTART ?= 1
ARGS       ?=
FUZZ_SECONDS ?= 30
SECONDS    ?= 600
SEED       ?=

ifeq ($(origin CC),default)
CC := gcc
endif
comma := ,

# One build folder per variant: build/gcc, build/clang, build/gcc-address-undefined ...
VARIANT := $(CC)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
B       := build/$(VARIANT)

RUN = python3 deploy/local/run.py --bin $(B)/bin --data $(DATA) --port $(PORT) \
          --workers $(WORKERS) $(if $(filter 0,$(QUICKSTART)),--no-quickstart)

ifneq ($(MAAS_TOOLCHAIN),1)
# ---- outside: hand every goal over -------------------------------------------------------

GOALS := $(or $(MAKECMDGOALS),all)
# A data directory elsewhere must be the same one inside.
ifneq ($(filter-out $(CURDIR)/% /tmp/%,$(abspath $(DATA))),)
export MAAS_BIND := $(abspath $(DATA))
endif
.PHONY: $(GOALS)
ifeq ($(GOALS),run)
# Without a second make in between, which would report a Ctrl-C as an error.
run:
	@docker/toolchain.sh $(MAKE) --no-print-directory all $(MAKEOVERRIDES)
	@exec docker/toolchain.sh $(RUN)
else ifneq ($(filter-out help clean distclean,$(GOALS)),)
$(firstword $(GOALS)):
	@exec docker/toolchain.sh $(MAKE) --no-print-directory $(GOALS) $(MAKEOVERRIDES)
$(wordlist 2,99,$(GOALS)): $(firstword $(GOALS)) ; @:
endif

else
# ---- inside ------------------------------------------------------------------------------

MAKEFLAGS += -j$(shell nproc) --no-print-directory
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
WARN  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
# The checks that a sanitizer adds make gcc see null pointers that cannot be.
SAN_FLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -Wno-format-truncation
# Instrumented code is large: with these it compiles in half the time, and stacks still name lines.
SPEED := $(if $(SAN),-O1 -g1,-O2 -g)
# gcc optimises each program as a whole; tests are linked from the same objects, one by one.
LTO := $(if $(SAN)$(findstring clang,$(CC)),,1)
FLAGS := $(SPEED) -pthread -D_GNU_SOURCE -I. -fstack-protector-strong \
         $(if $(LTO),-flto=auto -ffat-lto-objects) $(if $(WERROR),-Werror) $(if $(SAN),$(SAN_FLAGS),-D_FORTIFY_SOURCE=2)
ALL_CFLAGS   := -std=gnu11 $(WARN) $(FLAGS) $(CFLAGS)
ALL_CXXFLAGS := -std=c++17 -Wall -Wextra $(FLAGS) $(CXXFLAGS)
ALL_LDFLAGS  := -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
PLAIN_LDFLAGS := $(ALL_LDFLAGS) $(if $(LTO),-fno-lto)

# Of libcrypto only SHA-256 is used: linked statically it costs pages, not 4 MiB of relocations.
LIBS_common   := -luv -lzmq -lmsgpack-c -l:libcrypto.a -lm
LIBS_gateway  := -lllhttp -lyyjson -lz
LIBS_registry := -lhiredis -lyyjson
LIBS_worker   := -ldl -lyyjson
LIBS_trainer  := -lopenblas -ldnnl -lgomp -lprotobuf-c -lcsv -lzip -lz -lyyjson -lm
LIBS_health   :=

SERVICES := $(patsubst services/%/main.c,%,$(wildcard services/*/main.c))
find_c    = $(sort $(shell find $(1) -name '*.c' -o -name '*.cc' 2>/dev/null))
objects   = $(patsubst %,$(B)/%.o,$(basename $(1)))

COMMON_OBJ := $(call objects,$(call find_c,common))
UNIT_SRC   := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN   := $(patsubst %.c,$(B)/%,$(UNIT_SRC))
TOOL_BIN   := $(patsubst tests/tools/%.c,$(B)/tools/%,$(wildcard tests/tools/*.c))
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN   := $(patsubst tests/fuzz/fuzz_%.c,build/fuzz/bin/%,$(FUZZ_SRC))
FUZZ_SAN   := fuzzer-no-link,address,undefined
BENCH_BIN  := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c))
BINARIES   := $(patsubst %,$(B)/bin/maas-%,$(SERVICES))
C_FILES    := $(filter %.c,$(call find_c,common services tests))
H_FILES    := $(sort $(shell find common services tests -name '*.h'))
CC_FILES   := $(filter %.cc,$(call find_c,common services))

# A line per step; V=1 shows the commands.
say = $(if $(V),,@printf '%-5s %s\n' '$(1)' '$@';)

.PHONY: help all build-tests run test test-unit test-system test-full test-clients valgrind check \
        layers format format-fix tidy fuzz build-fuzz shellcheck text bench bench-train bench-peers chaos compose-test clean distclean

help: ## prints this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

all: $(BINARIES) $(TOOL_BIN) ## builds every program (CC=gcc|clang, SAN=address,undefined|thread, V=1)

run: all ## the suite on this machine (PORT=8080 DATA=data WORKERS=2 QUICKSTART=1)
	@exec $(RUN)

build-tests: all $(UNIT_BIN) $(BENCH_BIN) ## builds every program, unit test and benchmark

test: all $(UNIT_BIN) ## all tests; ends with a line that counts them
	@python3 tests/tools/run_tests.py --build $(B) $(ARGS)

test-unit: $(UNIT_BIN) ## the unit tests alone
	@python3 tests/tools/run_tests.py --build $(B) --only unit $(ARGS)

valgrind: $(UNIT_BIN) ## the unit tests under valgrind
	@python3 tests/tools/run_tests.py --build $(B) --only unit --valgrind

test-system: all ## the system tests alone (ARGS="-k name")
	@python3 tests/tools/run_tests.py --build $(B) --only system $(ARGS)

test-full: all $(UNIT_BIN) ## all tests at full size
	@MAAS_FULL=1 python3 tests/tools/run_tests.py --build $(B) $(ARGS)

test-clients: all ## tritonclient, KServe's client and perf_analyzer, unmodified (from PyPI)
	@python3 tests/clients/install.py build/clients
	@python3 tests/tools/run_tests.py --build $(B) --only clients $(ARGS)

check: ## what CI adds: both compilers, layers, format, tidy, clients, sanitizers, fuzzing, shell, compose
	@python3 tests/tools/check.py

layers: ## includes go downward only
	@tests/tools/layers.sh

format: ## checks the formatting
	@clang-format --dry-run --Werror $(C_FILES) $(H_FILES) $(CC_FILES) && echo "format: ok"

format-fix: ## rewrites the formatting
	@clang-format -i $(C_FILES) $(H_FILES) $(CC_FILES)

tidy: $(B)/gen/onnx.pb-c.h ## clang-tidy over the C files
	@printf '%s\n' $(filter-out tests/%,$(C_FILES)) | xargs -P $$(nproc) -n 4 sh -c 'exec clang-tidy \
	    --quiet --warnings-as-errors="*" "$$@" -- -std=gnu11 -D_GNU_SOURCE -I. -I$(B)/gen 2>&1' tidy && \
	    echo "tidy: ok"

shellcheck: ## checks the shell scripts
	@shellcheck .ci/run $$(find docker deploy tests -name '*.sh') && echo "shellcheck: ok"

text: ## no machine paths, no unfinished words, no sleeping tests
	@tests/tools/text.sh

fuzz: ## runs each fuzzer for FUZZ_SECONDS=30, one per core at a time (ARGS="http framing": some)
	@$(MAKE) CC=clang SAN=$(FUZZ_SAN) CFLAGS=-fno-sanitize-recover=all build-fuzz
	@python3 tests/tools/run_fuzzers.py --bin build/fuzz/bin --work build/fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

build-fuzz: $(FUZZ_BIN)

bench: all $(BENCH_BIN) ## speed beside nginx and others, in build/bench.json (ARGS="--only predict,echo")
	@python3 tests/bench/bench.py --bin $(B)/bin --out build/bench.json $(ARGS)

bench-train: all $(BENCH_BIN) ## speed and quality of training, in build/bench-train.json (ARGS="--only epoch,steps")
	@python3 tests/bench/train.py --bin $(B)/bin --out build/bench-train.json $(ARGS)

bench-peers: ## installs the other side that is large: Flask, gunicorn, PyTorch, scikit-learn, XGBoost
	@apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-flask gunicorn \
	    python3-torch python3-sklearn python3-xgboost

chaos: all ## everything breaks under load (SECONDS=600 SEED=); numbers in build/chaos.json
	@exec python3 tests/chaos/chaos.py --bin $(B)/bin --out build/chaos.json --seconds $(SECONDS) --seed "$(SEED)"

compose-test: ## the containers, for real (needs a Docker engine, or says that it skips)
	@python3 -m pytest -q tests/compose $(ARGS)

clean: ## removes what was built (not the private root)
	@find build -mindepth 1 -maxdepth 1 ! -name toolchain -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## removes the private root too

# ---- rules -------------------------------------------------------------------------------

# Objects depend on the flags that made them.
$(B)/flags: force
	@mkdir -p $(@D); echo '$(CC) $(ALL_CFLAGS) $(ALL_CXXFLAGS)' | cmp -s - $@ || \
	    echo '$(CC) $(ALL_CFLAGS) $(ALL_CXXFLAGS)' > $@
.PHONY: force

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(ALL_CFLAGS) $(CPPFLAGS) -MMD -MP -c $< -o $@

$(B)/%.o: %.cc $(B)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(ALL_CXXFLAGS) -MMD -MP -c $< -o $@

# The library of Redis functions is carried inside the registry, by the assembler.
$(B)/services/registry/functions.o: CPPFLAGS += $(if $(LTO),-fno-lto)
$(B)/services/registry/functions.o: $(wildcard services/registry/*.lua)

# ONNX messages come from the published schema; the generated code stays out of the tree.
ONNX_GEN := $(B)/gen/onnx.pb-c.h $(B)/gen/onnx.pb-c.c
$(ONNX_GEN) &: /usr/include/onnx/onnx.proto
	@mkdir -p $(B)/gen
	@protoc-c --proto_path=$(<D) --c_out=$(B)/gen $(<F) && touch $(ONNX_GEN)
$(B)/gen/onnx.pb-c.o: $(B)/gen/onnx.pb-c.c $(B)/flags
	$(call say,CC)$(CC) $(filter-out $(WARN),$(ALL_CFLAGS)) -c $< -o $@

TRAINER_OBJ := $(call objects,$(call find_c,services/trainer tests/unit/trainer))
$(TRAINER_OBJ): CPPFLAGS += -I$(B)/gen
ifneq ($(findstring thread,$(SAN)),)
$(call objects,$(UNIT_SRC)): CPPFLAGS += -include tests/unit/tsan.h
endif
ifneq ($(findstring clang,$(CC)),)
# A hex escape is ended by closing its string: that is no forgotten comma.
$(call objects,$(UNIT_SRC)): CPPFLAGS += -Wno-string-concatenation
endif
$(TRAINER_OBJ): | $(B)/gen/onnx.pb-c.h
# Loops that are made for vectors.
$(B)/services/trainer/learners/kernels.o: CPPFLAGS += -O3

$(B)/libcommon.a: $(COMMON_OBJ)
	@mkdir -p $(@D); rm -f $@.new; ar rcs $@.new $^ && mv $@.new $@

define service
$(1)_OBJ := $$(filter-out $(B)/services/$(1)/main.o,$$(call objects,$$(call find_c,services/$(1)))) \
    $(if $(filter trainer,$(1)),$(B)/gen/onnx.pb-c.o)
$(B)/lib$(1).a: $$($(1)_OBJ)
	@mkdir -p $$(@D); rm -f $$@.new; ar rcs $$@.new $$^ && mv $$@.new $$@
$(B)/bin/maas-$(1): $(B)/services/$(1)/main.o $(B)/lib$(1).a $(B)/libcommon.a
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(if $$(filter %.cc,$$(call find_c,services/$(1))),$(CXX),$(CC)) $(ALL_LDFLAGS) $(if $(LTO),-flto=auto) \
	    -o $$@ $$^ $(LIBS_$(1)) $(LIBS_common)
endef
$(foreach s,$(SERVICES),$(eval $(call service,$(s))))

# tests/unit/GROUP/test_x.c is linked with the service of that name, if there is one.
define unit
$(B)/tests/unit/$(1)/%: $(B)/tests/unit/$(1)/%.o $(if $(filter $(1),$(SERVICES)),$(B)/lib$(1).a) $(B)/libcommon.a
	$$(call say,LINK)$(if $(filter gateway trainer,$(1)),$(CXX),$(CC)) $(PLAIN_LDFLAGS) -o $$@ $$^ -lcriterion $(LIBS_$(1)) $(LIBS_common)
endef
$(foreach g,$(sort $(notdir $(patsubst %/,%,$(dir $(UNIT_SRC))))),$(eval $(call unit,$(g))))

$(B)/tools/%: $(B)/tests/tools/%.o $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(PLAIN_LDFLAGS) -o $@ $^ $(LIBS_common)

$(B)/bench/%: $(B)/tests/bench/%.o $(B)/libgateway.a $(B)/libtrainer.a $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX) $(PLAIN_LDFLAGS) -o $@ $^ $(LIBS_gateway) $(LIBS_trainer) $(LIBS_common)

# What a fuzzer defines itself takes the place of a library's file that defines the same.
build/fuzz/bin/%: $(B)/tests/fuzz/fuzz_%.o $(B)/libgateway.a $(B)/libtrainer.a $(B)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_gateway) $(LIBS_trainer) $(LIBS_common)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
endif

ifneq ($(MAAS_TOOLCHAIN),1)
.PHONY: help clean distclean
ifneq ($(filter help,$(GOALS)),)
help:
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16
endif
ifneq ($(filter clean,$(GOALS)),)
clean:
	@find build -mindepth 1 -maxdepth 1 ! -name toolchain -exec rm -rf {} + 2>/dev/null || true
endif
ifneq ($(filter distclean,$(GOALS)),)
distclean:
	@rm -rf build
endif
endif
