#!/usr/bin/env bash
# The set-up: a second call needs no network, every failure gives one message and exit code 3, the program finds its CUDA
# libraries in the wheels and nowhere else, and a second `make` does nothing.   tests/setup_test.sh BUILD_FOLDER
# The failures are made with a PATH of stand-ins, over a copy of tools/bootstrap; nothing is installed or fetched.
# shellcheck disable=SC2016  # stand-ins expand their own words
set -uo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$source/build}" && pwd) || exit 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0 skipped=0
unset PHALANX_TORCH_ROOT MAKEFLAGS MAKELEVEL MFLAGS
torch=$(sed -n 's/^PHALANX_TORCH_ROOT:PATH=//p' "$build/CMakeCache.txt")
torch=${torch:-$source/.deps/python/torch}

pass() { passed=$((passed + 1)); echo "ok    $1"; }
fail() { failed=$((failed + 1)); echo "FAIL  $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP  $1: $2"; }
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got '$2'; needed '$3'"; fi; }

# A tree with the script alone, and a PATH with plain tools alone.
fresh_box() {
  box=$scratch/box-$RANDOM$RANDOM
  mkdir -p "$box/tools" "$box/bin"
  cp "$source/tools/bootstrap" "$box/tools/"
  local tool
  for tool in awk bash cat cp cut df dirname env grep head id mkdir paste rm sed sh tail touch; do
    ln -s "$(command -v $tool)" "$box/bin/$tool"
  done
}

stand_in() {  # name, the body of a shell script
  rm -f "$box/bin/$1"
  printf '#!/bin/sh\n%s\n' "$2" > "$box/bin/$1"
  chmod +x "$box/bin/$1"
}

packages_installed() { stand_in dpkg-query 'echo "install ok installed"'; }
packages_missing() { stand_in dpkg-query 'exit 1'; }

# A Python whose pip makes the files that the real one would fetch, and writes down that it was called.
pretend_python() {
  stand_in python3 'case "$*" in *"pip install"*) echo pip >> "'"$box"'/calls"; while [ "$1" != --target ]; do shift; done
mkdir -p "$2/torch/lib" "$2/nvidia/cudnn/lib"; touch "$2/torch/lib/libtorch_cpu.so" "$2/nvidia/cudnn/lib/libcudnn.so.9" ;; esac'
}

bootstrap() {  # arguments; the environment of the caller goes in
  PATH=$box/bin "$box/tools/bootstrap" "$@" > "$box/out" 2> "$box/err" < /dev/null
  code=$?
}

# One message with its four parts, after at most one line of progress, and nothing half done left behind.
expect_message() {  # name, what it got, what to do
  local messages
  messages=$(grep -cE '^bootstrap: .+: got .+; needed .+\. Fix: .+' "$box/err")
  if [ $code -ne 3 ]; then
    fail "$1" "exit code $code: $(cat "$box/err")"
  elif [ "$messages" -ne 1 ] || [ "$(wc -l < "$box/err")" -gt 2 ] || [ -s "$box/out" ]; then
    fail "$1" "not one message: $(cat "$box/out" "$box/err")"
  elif ! grep -qF "got $2" "$box/err" || ! grep -qF "$3" "$box/err"; then
    fail "$1" "needed '$2' and '$3' in: $(cat "$box/err")"
  elif [ -e "$box/.deps/fetch" ] || compgen -G "$box/.deps/*.ready" > /dev/null; then
    fail "$1" "left something behind: $(ls "$box/.deps")"
  else
    pass "$1"
  fi
}

test_packages() {
  fresh_box
  bootstrap
  expect_message "no dpkg" "no dpkg" "README"

  fresh_box
  packages_missing
  stand_in id 'echo 1000'
  bootstrap
  expect_message "no root and no sudo" "no root and no sudo" "apt-get install g++"

  fresh_box
  packages_missing
  stand_in id 'echo 0'
  stand_in apt-get 'echo "W: Failed to fetch http://deb.debian.org/x  Temporary failure resolving deb.debian.org"; [ "$1" = update ]'
  bootstrap
  expect_message "apt without a network" "no answer from the package servers" "network"

  stand_in apt-get 'echo "E: Unable to locate package ccache"; [ "$1" = update ]'
  bootstrap
  expect_message "apt with an error" "E: Unable to locate package ccache" "apt.log"
}

test_wheels() {
  fresh_box
  packages_installed
  pretend_python
  stand_in df 'echo head; echo "disk 9000000 8000000 1000000 90% /"'
  bootstrap
  expect_message "too little disk" "0 GiB free" "make room"

  fresh_box
  packages_installed
  ln -s "$(command -v python3)" "$box/bin/python3"
  unset PIP_FIND_LINKS
  PIP_RETRIES=1 PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL=http://127.0.0.1:9/simple bootstrap
  expect_message "pip without a network" "no answer from the package index" "network"

  fresh_box
  packages_installed
  bootstrap wheels
  expect_message "unknown argument" "'wheels'" "tools/bootstrap"
}

test_fetching() {
  fresh_box
  packages_installed
  pretend_python
  bootstrap
  same "fetches once" "$code $(cat "$box/calls") $(ls "$box/.deps")" "0 pip $(printf 'pip.log\npython\ntorch-2.11.0.ready')"
  bootstrap
  same "second call fetches nothing and says nothing" "$code$(cat "$box/calls" "$box/out" "$box/err" | tail -n +2)" 0
  bootstrap cuda
  bootstrap cuda
  same "the CUDA wheels come once" "$code $(wc -l < "$box/calls")" "0 2"
  rm -r "$box/.deps/python/torch"
  bootstrap
  same "a wheel that was deleted comes again" "$code $(wc -l < "$box/calls")" "0 3"
}

fake_torch() {  # folder, major, minor, patch
  mkdir -p "$1/lib" "$1/include/torch/headeronly"
  touch "$1/lib/libtorch_cpu.so"
  printf '#define TORCH_VERSION_MAJOR %s\n#define TORCH_VERSION_MINOR %s\n#define TORCH_VERSION_PATCH %s\n' "${@:2}" \
    > "$1/include/torch/headeronly/version.h"
}

test_own_torch() {
  fresh_box
  packages_installed
  PHALANX_TORCH_ROOT=$box/nowhere bootstrap
  expect_message "PHALANX_TORCH_ROOT is no LibTorch" "$box/nowhere without" "unset it"
  fake_torch "$box/old" 2 9 1
  PHALANX_TORCH_ROOT=$box/old bootstrap
  expect_message "PHALANX_TORCH_ROOT is another version" "version 2.9.1" "unset it"
  fake_torch "$box/right" 2 11 0
  PHALANX_TORCH_ROOT=$box/right bootstrap
  same "PHALANX_TORCH_ROOT is right: nothing to do" "$code$(cat "$box/out" "$box/err")" 0

  local said
  said=$(cmake "-DPHALANX_TORCH_ROOT=$box/old" -P "$source/cmake/TorchWheel.cmake" 2>&1 | tr -s ' \n' ' ')
  case $said in
    *"got version 2.9.1 in"*"needed 2.11.0. Fix: unset PHALANX_TORCH_ROOT"*) pass "CMake refuses another version" ;;
    *) fail "CMake refuses another version" "$said" ;;
  esac
  said=$(PHALANX_TORCH_ROOT=$box/old make -s -C "$source" "BUILD=$box/build" configure 2>&1)
  case $said in
    "bootstrap: PHALANX_TORCH_ROOT: got version 2.9.1 in"*) pass "make passes the message on" ;;
    *) fail "make passes the message on" "$said" ;;
  esac
}

test_this_tree() {
  if ! unshare -n true 2> /dev/null; then
    skip "this tree needs no network" "no right to a network namespace"
  else
    same "this tree needs no network" "$(unshare -n "$source/tools/bootstrap" 2>&1)$?" 0
  fi
  # Somebody may be editing: a file that changes in between is one more make, a make that never comes to rest is not.
  local try last
  for try in 1 2 3; do
    make -s -C "$source" "BUILD=$build" > "$scratch/make" 2>&1 || fail "make" "$(tail -n 20 "$scratch/make")"
    last=$(make -C "$source" "BUILD=$build" 2>&1)
    [[ $last == *"ninja: no work to do"* ]] && break
  done
  if [[ $last == *"ninja: no work to do"* ]]; then
    pass "a second make does nothing"
  else
    fail "a second make does nothing, $try times" "$last"
  fi
}

test_two_makes() {
  flock "$build/.lock" sleep 1 &
  sleep 0.2
  local before=${EPOCHREALTIME/./}
  make -s -C "$source" "BUILD=$build" > "$scratch/make" 2>&1 || fail "make beside make" "$(tail -n 5 "$scratch/make")"
  same "a make waits for another one in its folder" "$((${EPOCHREALTIME/./} - before > 500000))" 1
  wait
}

test_install() {
  local prefix=$scratch/prefix
  make -s -C "$source" "BUILD=$build" "PREFIX=$prefix" install > "$scratch/make" 2>&1 || fail "install" "$(tail -n 5 "$scratch/make")"
  same "the installed program starts elsewhere" \
    "$(cd / && env -i "$source/tools/without_toolkit" "$prefix/bin/phalanx" --version 2> /dev/null | cut -d' ' -f1)" phalanx
  same "and finds the wheels" "$("$source/tools/without_toolkit" ldd "$prefix/bin/phalanx" 2> /dev/null | grep -c 'not found')" 0
}

test_loader() {
  local libs library
  libs=$("$source/tools/without_toolkit" ldd "$build/phalanx" 2> /dev/null)
  for library in libtorch_cpu.so libcupti.so.13 libcudart.so.13; do
    case $(realpath -m "$(awk -v l=$library '$1 == l {print $3}' <<< "$libs")") in
      "$(realpath "$torch/..")"/*) pass "$library comes from the wheels" ;;
      *) fail "$library comes from the wheels" "$libs" ;;
    esac
  done
  same "starts without a toolkit" "$("$source/tools/without_toolkit" "$build/phalanx" --version 2>&1 | grep -c '^phalanx ')" 1

  # The check of the check: a LibTorch whose nvidia wheels are missing must be missed.
  mkdir -p "$scratch/lone/torch/lib"
  ln -s "$torch"/lib/* "$scratch/lone/torch/lib/"
  if "$source/tools/without_toolkit" env "LD_LIBRARY_PATH=$scratch/lone/torch/lib" "$build/phalanx" --version \
    > "$scratch/lone/out" 2>&1; then
    if grep -q 'stay visible' "$scratch/lone/out"; then
      skip "a missing wheel is missed" "$(grep 'stay visible' "$scratch/lone/out")"
    else
      fail "a missing wheel is missed" "the program started without it"
    fi
  else
    same "a missing wheel is missed" "$(grep -cE '(libcupti|libcudart)\.so\.13: cannot open' "$scratch/lone/out")" 1
  fi
}

test_packages
test_wheels
test_fetching
test_own_torch
test_this_tree
test_two_makes
test_loader
test_install
echo "setup_test: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
