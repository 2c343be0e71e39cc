// File: phalanx/arch/hf_requirements.h
//
// Purpose: collects what a Hugging Face family cannot say of a model.
// Contract: one line for each setting, each with what it would have to be.
// Used by hf_config_write.cc and hf_mamba_write.cc only.
#pragma once

#include <string>

#include "phalanx/arch/hf_config.h"
#include "phalanx/arch/violations.h"

namespace phalanx {

class Requirements {
 public:
  explicit Requirements(HfFamily family)
      : type_(hf_model_type(family)), problems_("export as " + type_, ": model.") {}

  void need(bool holds, const char* field, const std::string& needed) {
    if (!holds) problems_.add(field, "a value that model_type " + type_ + " cannot express", needed, kFix);
  }
  Violations& problems() { return problems_; }

 private:
  static constexpr const char* kFix = "export only models of a public architecture, or change this setting";
  std::string type_;
  Violations problems_;
};

}  // namespace phalanx
