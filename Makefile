# The few words a user types. Everything installs what it needs first; a second call is quick and needs no network.
BUILD ?= build
JOBS ?= $(shell nproc)
NINJA = ninja -C $(BUILD) -j $(JOBS)

.PHONY: all demo test test-slow grid lint format gpu gpu-bundle asan tsan install clean configure

all: configure
	@$(NINJA) phalanx

configure:
	@tools/bootstrap
	@test -f $(BUILD)/build.ninja || cmake -S . -B $(BUILD) -G Ninja > $(BUILD).configure.log 2>&1 || \
	  { cat $(BUILD).configure.log >&2; exit 3; }
	@rm -f $(BUILD).configure.log

demo: all
	@tools/demo

test: configure
	@$(NINJA) all
	@ctest --test-dir $(BUILD) -L 'fast|processes' --output-on-failure -j 1

test-slow: configure
	@$(NINJA) all
	@ctest --test-dir $(BUILD) -L slow --output-on-failure -j 1

grid: configure
	@$(NINJA) grid_test
	@ctest --test-dir $(BUILD) -L grid --output-on-failure -j 1

lint: configure
	@tools/lint $(BUILD)

format:
	@git ls-files '*.h' '*.cc' | xargs clang-format -i

gpu:
	@tools/bootstrap cuda
	@cmake -S . -B build-gpu -G Ninja -DPHALANX_CUDA=ON > /dev/null
	@ninja -C build-gpu -j $(JOBS) phalanx

gpu-bundle: gpu
	@tools/gpu_bundle build-gpu

asan:
	@tools/bootstrap
	@cmake --preset asan > /dev/null
	@ninja -C build-asan -j $(JOBS)
	@ctest --test-dir build-asan -L fast --output-on-failure

tsan:
	@tools/bootstrap
	@cmake --preset tsan > /dev/null
	@ninja -C build-tsan -j $(JOBS) base_test config_test telemetry_test shard_test data_test
	@ctest --test-dir build-tsan -R '^(base|config|telemetry|shard|data)_test$$' --output-on-failure

install: all
	@cmake --install $(BUILD) --component Unspecified

clean:
	@rm -rf $(BUILD) build-gpu build-asan build-tsan
