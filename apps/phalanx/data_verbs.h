// File: apps/phalanx/data_verbs.h
//
// Purpose: the words after `phalanx data`, one file each, and what they share.
// Contract: each takes the arguments after its word, answers --help itself, prints results to stdout and returns the
//   exit code; errors are thrown and printed by main.
#pragma once

#include <cstdint>
#include <string>

#include "apps/phalanx/verbs.h"
#include "phalanx/config/flags.h"
#include "phalanx/data/text_source.h"

namespace phalanx::apps {

int run_data_train_tokenizer(const Arguments& args);
int run_data_tokenize(const Arguments& args);
int run_data_inspect(const Arguments& args);
int run_data_verify(const Arguments& args);
int run_data_merge(const Arguments& args);
int run_data_samples(const Arguments& args);
int run_data_tasks(const Arguments& args);
int run_data_baselines(const Arguments& args);

// What --input and --files-from name, or Error(kUsage) when there is nothing.
std::vector<std::string> text_inputs(const ParsedFlags& flags, const std::string& verb);
// auto, jsonl or text.
TextFormat text_format(const std::string& name);
// --json-keys, each once; "text" when the flag is not there.
std::vector<std::string> json_keys(const ParsedFlags& flags);

// Whether the arguments ask for help; prints `help` if so.
bool answers_help(const Arguments& args, const char* help);

// The value of a flag that must be there, or Error(kUsage). `verb` is for the message: "data merge".
std::string required_option(const ParsedFlags& flags, const std::string& verb, const std::string& flag);

// The one positional argument, or Error(kUsage).
std::string one_positional(const ParsedFlags& flags, const std::string& verb, const std::string& what);

// A flag's whole number, not negative, below 10^17; Error(kUsage) naming the flag otherwise.
int64_t whole_number(const ParsedFlags& flags, const std::string& flag, const std::string& otherwise);

}  // namespace phalanx::apps
