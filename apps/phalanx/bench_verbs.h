// File: apps/phalanx/bench_verbs.h
//
// Purpose: the words after `phalanx bench` that have a file of their own.
// Contract: as the verbs: arguments after the word, results on stdout, the exit code; errors are thrown.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "apps/phalanx/verbs.h"
#include "phalanx/arch/model_config.h"
#include "phalanx/config/flags.h"

namespace phalanx::apps {

// Flags of a section of fields: --micro-batch for bench.micro_batch, and --json. Fills the section.
template <typename Section>
ParsedFlags parse_bench_flags(const Arguments& args, Section& section) {
  ConfigTree tree;
  tree.add_section("bench", section);
  FlagRules rules{.aliases = {{"--json", "", FlagKind::kSwitch}}, .megatron = false};
  for (const ConfigField& field : tree.sections()[0].fields) {
    std::string flag = "--" + field.ref.name();
    std::replace(flag.begin(), flag.end(), '_', '-');
    rules.aliases.push_back({flag, "bench." + field.ref.name(), FlagKind::kValue, field.ref.help()});
  }
  ParsedFlags flags = parse_flags(args, tree, rules);
  apply_flags(tree, flags, true);
  return flags;
}

double median(std::vector<double> values);
// Of a preset, a config file or a run folder. Error(kUsage) when there is none of that name.
ModelConfig bench_model(const std::string& name);

int run_bench_tokenizer(const Arguments& args);
int run_bench_order(const Arguments& args);
int run_bench_decode(const Arguments& args);
int run_bench_machine(const Arguments& args);

}  // namespace phalanx::apps
