// File: phalanx/base/log.h
//
// Purpose: the one logger. Everything a program says about itself goes here, to stderr; stdout carries results only.
// Contract: thread-safe; a message is one line. Level names are debug, info, warning, error, off.
// Example: log_info(fmt::format("resumed from step {}", step));
#pragma once

#include <string>

namespace phalanx {

void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

// Throws Error(kUsage) for a name that is not a level.
void set_log_level(const std::string& name);

}  // namespace phalanx
