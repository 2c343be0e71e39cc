// File: phalanx/arch/violations.h
//
// Purpose: collects what is wrong with a user's configuration, so that one report names every mistake.
// Contract: throw_if_any throws one Error(kBadInput). A single violation reads "WHERE<joiner>FIELD: got ..; needed ...
//   Fix: .."; several are listed one a line under "WHERE: got N problems:".
// Example:
//   Violations problems("model", ".");
//   problems.add("hidden_size", "0", "at least 1", "set hidden_size");
//   problems.throw_if_any();
#pragma once

#include <string>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {

class Violations {
 public:
  Violations(std::string where, std::string joiner) : where_(std::move(where)), joiner_(std::move(joiner)) {}
  void add(const std::string& field, std::string got, std::string needed, std::string fix);
  bool empty() const { return parts_.empty(); }
  void throw_if_any() const;

 private:
  std::string where_;
  std::string joiner_;
  std::vector<ErrorParts> parts_;
};

}  // namespace phalanx
