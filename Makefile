# The few words a user types. Everything installs what it needs first; a second call is quick and needs no network.
BUILD ?= build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
# Two makes in one build folder wait for each other: ninja itself has no lock.
locked = mkdir -p $(1) && flock $(1)/.lock
NINJA = $(call locked,$(BUILD)) ninja -C $(BUILD) -j $(JOBS)
CTEST = ctest --output-on-failure -j 1 --test-dir

# Paths relative to the sources, so that the compiler cache serves every build folder.
export CCACHE_BASEDIR = $(CURDIR)

.PHONY: all demo study test test-slow grid lint format gpu gpu-bundle asan tsan install clean configure

all: configure
	@$(NINJA) phalanx

configure:
	@tools/bootstrap
	@$(call locked,$(BUILD)) tools/configure $(BUILD)

demo: all
	@tools/demo

# At most 75 minutes on two cores; runs/study/report.md.
study: all
	@python3 bench/hybrid_study

test: configure
	@$(NINJA) all
	@$(CTEST) $(BUILD) -L 'fast|processes'

test-slow: configure
	@$(NINJA) all
	@$(CTEST) $(BUILD) -L slow

grid: configure
	@$(NINJA) grid_test layout_grid_test
	@$(CTEST) $(BUILD) -L grid

lint: configure
	@tools/bootstrap lint
	@tools/lint $(BUILD)

format:
	@tools/bootstrap lint
	@git ls-files -co --exclude-standard '*.h' '*.cc' '*.cu' | xargs clang-format -i

gpu:
	@tools/bootstrap cuda
	@tools/configure build-gpu --preset gpu
	@$(call locked,build-gpu) ninja -C build-gpu -j $(JOBS) phalanx

# The tests of what runs on a device travel along; the pure tier has nothing to prove there.
gpu-bundle: gpu
	@$(call locked,build-gpu) ninja -C build-gpu -j $(JOBS) tensor_test kernels_test nn_test
	@tools/gpu_bundle build-gpu

# Readers meet their fuzzers under the sanitizers. tsan is for code that keeps LibTorch, which is not instrumented, out.
PURE_TESTS = base_test config_test telemetry_test arch_test mesh_test shard_test tokenizer_test data_test \
  comm_pure_test
TENSOR_TESTS = tensor_test comm_test kernels_test nn_test model_test optim_test
run_tests = $(CTEST) $(1) -R '^($(subst $() ,|,$(2)))$$'

asan:
	@tools/bootstrap
	@tools/configure build-asan --preset asan
	@$(call locked,build-asan) ninja -C build-asan -j $(JOBS) $(PURE_TESTS) $(TENSOR_TESTS)
	@$(call run_tests,build-asan,$(PURE_TESTS) $(PURE_TESTS:=_slow) $(TENSOR_TESTS))

tsan:
	@tools/bootstrap
	@tools/configure build-tsan --preset tsan
	@$(call locked,build-tsan) ninja -C build-tsan -j $(JOBS) $(PURE_TESTS)
	@$(call run_tests,build-tsan,$(PURE_TESTS))

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	@rm -rf build build-gpu build-asan build-tsan build-debug bundle
