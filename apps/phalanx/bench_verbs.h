// File: apps/phalanx/bench_verbs.h
//
// Purpose: the words after `phalanx bench` that have a file of their own.
// Contract: as the verbs: arguments after the word, results on stdout, the exit code; errors are thrown.
#pragma once

#include "apps/phalanx/verbs.h"

namespace phalanx::apps {

int run_bench_tokenizer(const Arguments& args);
int run_bench_order(const Arguments& args);
int run_bench_machine(const Arguments& args);

}  // namespace phalanx::apps
