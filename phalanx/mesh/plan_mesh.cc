#include "phalanx/mesh/plan_mesh.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxWorldSize = int64_t{1} << 24;  // keeps every product of sizes inside an int

using Violations = std::vector<std::string>;

void throw_violations(const Violations& violations, const char* where, const char* fix) {
  if (violations.empty()) return;
  throw Error(ErrorKind::kBadInput,
              {.where = where, .got = fmt::format("{}", fmt::join(violations, "; ")), .fix = fix});
}

std::vector<std::string> split_order(const std::string& order) {
  std::vector<std::string> names = {""};
  for (const char c : order) {
    if (c == '-') {
      names.emplace_back();
    } else {
      names.back() += c;
    }
  }
  return names;
}

void check_order(const std::string& order, Violations& violations) {
  const std::vector<std::string> names = split_order(order);
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::find(kMeshAxes.begin(), kMeshAxes.end(), names[i]) == kMeshAxes.end()) {
      violations.push_back(fmt::format("order '{}' has the unknown axis '{}'", order, names[i]));
    } else if (std::find(names.begin(), names.begin() + static_cast<int64_t>(i), names[i]) !=
               names.begin() + static_cast<int64_t>(i)) {
      violations.push_back(fmt::format("order '{}' has the axis '{}' twice", order, names[i]));
    }
  }
  for (const std::string_view axis : kMeshAxes) {
    if (std::find(names.begin(), names.end(), axis) == names.end()) {
      violations.push_back(fmt::format("order '{}' lacks the axis '{}'", order, axis));
    }
  }
}

bool check_range(const char* name, int64_t value, int64_t low, int64_t high, Violations& violations) {
  if (value >= low && value <= high) return true;
  violations.push_back(fmt::format("{} = {} is not from {} to {}", name, value, low, high));
  return false;
}

// Fills data and world_size, or says why they do not fit.
void derive_sizes(ParallelConfig& c, Violations& violations) {
  const int64_t model_ranks = c.tensor * c.context * c.pipeline;  // at most kMaxWorldSize, checked before
  const std::string product =
      fmt::format("tensor {} x context {} x pipeline {}", c.tensor, c.context, c.pipeline);
  if (c.data == 0) {
    if (c.world_size == 0) c.world_size = model_ranks;
    if (c.world_size % model_ranks != 0) {
      violations.push_back(
          fmt::format("world_size = {} is no multiple of {} = {}", c.world_size, product, model_ranks));
      return;
    }
    c.data = c.world_size / model_ranks;
    return;
  }
  const int64_t all = model_ranks * c.data;
  if (c.world_size == 0) c.world_size = all;
  if (c.world_size != all) {
    violations.push_back(
        fmt::format("world_size = {} is not {} x data {} = {}", c.world_size, product, c.data, all));
  }
}

int64_t size_of(const ParallelConfig& config, std::string_view axis) {
  if (axis == "tp") return config.tensor;
  if (axis == "cp") return config.context;
  if (axis == "dp") return config.data;
  return config.pipeline;
}

}  // namespace

MeshPlan plan_mesh(const ParallelConfig& config) {
  MeshPlan plan{.config = config};
  ParallelConfig& c = plan.config;
  Violations violations;
  bool sizes_ok = true;
  const auto in_range = [&](const char* name, int64_t value, int64_t low) {
    sizes_ok &= check_range(name, value, low, kMaxWorldSize, violations);
  };
  in_range("tensor", c.tensor, 1);
  in_range("pipeline", c.pipeline, 1);
  in_range("context", c.context, 1);
  in_range("data", c.data, 0);
  in_range("world_size", c.world_size, 0);
  check_range("chunks", c.chunks, 1, kMaxWorldSize, violations);
  check_range("zero_stage", c.zero_stage, 0, 3, violations);
  if (sizes_ok) {
    const double ranks = static_cast<double>(c.tensor) * static_cast<double>(c.context) *
                         static_cast<double>(c.pipeline) * static_cast<double>(std::max<int64_t>(c.data, 1));
    if (ranks > static_cast<double>(kMaxWorldSize)) {
      violations.push_back(
          fmt::format("tensor x context x pipeline x data = {:.0f} is above {}", ranks, kMaxWorldSize));
    } else {
      derive_sizes(c, violations);
    }
  }
  if (c.chunks > 1 && c.pipeline == 1) {
    violations.push_back(fmt::format("chunks = {} needs pipeline above 1", c.chunks));
  }
  if (c.schedule.empty()) violations.emplace_back("schedule is empty");
  check_order(c.order, violations);
  throw_violations(violations, "parallel", "change these settings of the section [parallel]");

  if (c.sequence_parallel && c.tensor == 1) {
    c.sequence_parallel = false;
    plan.notes.emplace_back("parallel.sequence_parallel needs tensor above 1: switched off");
  }
  std::vector<MeshAxis> axes;
  for (const std::string& name : split_order(c.order))
    axes.push_back({name, static_cast<int>(size_of(c, name))});
  plan.mesh = Mesh(std::move(axes));
  return plan;
}

void validate_model_on_mesh(const ModelNumbers& model, const ParallelConfig& c) {
  PHALANX_CHECK(c.data > 0 && c.world_size > 0,
                "validate_model_on_mesh takes the config that plan_mesh returned");
  Violations violations;
  const auto divides = [&](const char* name, int64_t value, const char* axis, int64_t parts) {
    if (value % parts != 0)
      violations.push_back(fmt::format("{} = {} is no multiple of {} = {}", name, value, axis, parts));
  };
  divides("num_attention_heads", model.num_attention_heads, "tensor", c.tensor);
  divides("ffn_hidden_size", model.ffn_hidden_size, "tensor", c.tensor);
  divides("padded vocab_size", model.padded_vocab_size, "tensor", c.tensor);
  const auto shares = [&](const char* name, int64_t users, int64_t groups) {
    if (users == 0) return;  // no such layer
    if (groups < 1 || (groups % c.tensor != 0 && c.tensor % groups != 0)) {
      violations.push_back(
          fmt::format("{} = {} is neither a multiple nor a divisor of tensor = {}", name, groups, c.tensor));
    }
  };
  shares("num_query_groups", model.num_attention_heads, model.num_query_groups);
  divides("mamba_num_heads", model.mamba_num_heads, "tensor", c.tensor);
  shares("mamba_num_groups", model.mamba_num_heads, model.mamba_num_groups);
  divides("mamba1 inner width", model.mamba1_inner, "tensor", c.tensor);
  // A context rank holds an early and a late piece of the sequence, so that causal work is even.
  if (c.context > 1) divides("seq_length", model.seq_length, "2 x context", 2 * c.context);
  if (c.sequence_parallel) {
    divides("micro_batch_size x seq_length", model.micro_batch_size * model.seq_length, "tensor x context",
            c.tensor * c.context);
  }
  const int64_t stages = c.pipeline * c.chunks;
  if (model.stages_in_pattern > 0) {
    if (model.stages_in_pattern != stages) {
      violations.push_back(fmt::format("the pattern names {} stages, pipeline x chunks = {}",
                                       model.stages_in_pattern, stages));
    }
  } else {
    if (model.num_layers < stages) {
      violations.push_back(
          fmt::format("num_layers = {} is below pipeline x chunks = {}", model.num_layers, stages));
    } else {
      divides("num_layers", model.num_layers, "pipeline x chunks", stages);
    }
  }
  throw_violations(
      violations, "model on mesh",
      "change the model's sizes or the section [parallel]; | in model.pattern splits layers unevenly");
}

}  // namespace phalanx
