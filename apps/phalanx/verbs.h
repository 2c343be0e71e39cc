// File: apps/phalanx/verbs.h
//
// Purpose: the words of the command line, one file each. A verb takes the arguments after its name, prints results to
//   stdout, and returns the exit code; errors are thrown and printed by main.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace phalanx::apps {

using Arguments = std::vector<std::string>;

int run_train(const Arguments& args);
int run_verify_layout(const Arguments& args);
int run_score(const Arguments& args);
int run_generate(const Arguments& args);
int run_eval(const Arguments& args);
int run_plot(const Arguments& args);
int run_checkpoint(const Arguments& args);
int run_data(const Arguments& args);
int run_schedule(const Arguments& args);
int run_plan(const Arguments& args);
int run_bench(const Arguments& args);

// The sub-word of a verb that has several ("inspect" of `phalanx data inspect`); Error(kUsage) listing `known` when it is
// missing or unknown. "--help" comes through.
std::string sub_verb(const std::string& verb, const Arguments& args, const std::vector<std::string>& known);

// Text on stdout, at once; Error(kIo) when it cannot be written. print_line ends it with a new line.
void print_text(std::string_view text);
void print_line(const std::string& text);

}  // namespace phalanx::apps
