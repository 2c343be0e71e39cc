#include "phalanx/arch/mamba_config.h"

#include <fmt/format.h>

#include <cmath>

namespace phalanx {
namespace {

constexpr int64_t kMaxTaps = 64;  // of the convolution, which is written for a handful

class MambaValidator {
 public:
  MambaValidator(const ModelConfig& config, Violations& problems) : c_(config), problems_(problems) {}

  void mamba2() {
    in_range("mamba_chunk_size", c_.mamba_chunk_size, kMaxInner, "use 128");
    const bool state = in_range("mamba_state_dim", c_.mamba_state_dim, kMaxInner, "use 128");
    const bool groups = in_range("mamba_num_groups", c_.mamba_num_groups, kMaxWidth, "use 1 or 8");
    if (state && groups) at_most("mamba_num_groups", "groups", c_.mamba_num_groups, c_.mamba_state_dim);
    if (in_range("mamba_head_dim", c_.mamba_head_dim, kMaxInner, "use 64") && heads()) {
      if (groups && c_.mamba_num_heads % c_.mamba_num_groups != 0) {
        problems_.add("mamba_num_groups",
                      fmt::format("{} groups for {} heads", c_.mamba_num_groups, c_.mamba_num_heads),
                      "a divisor of mamba_num_heads", "change one of them");
      } else if (groups) {
        norm_group();
      }
    }
    step_limits();
  }

  void mamba1() {
    in_range("mamba1_state_dim", c_.mamba1_state_dim, kMaxInner, "use 16");
    const bool known = c_.hidden_size >= 1 && c_.hidden_size <= kMaxWidth;
    if (in_range("mamba1_expand", c_.mamba1_expand, kMaxInner, "use 2") && known)
      at_most("mamba1_expand", "times hidden_size", c_.mamba1_expand, c_.hidden_size);
    if (known)
      in_range("mamba1_dt_rank", c_.mamba1_dt_rank, kMaxInner, "use 0 for hidden_size / 16, rounded up");
  }

  void both() {
    in_range("mamba_conv_kernel", c_.mamba_conv_kernel, kMaxTaps, "use 4");
    const bool low = positive("mamba_dt_init_min", c_.mamba_dt_init_min, "use 1e-3");
    if (positive("mamba_dt_init_max", c_.mamba_dt_init_max, "use 0.1") && low &&
        c_.mamba_dt_init_max < c_.mamba_dt_init_min) {
      problems_.add("mamba_dt_init_max", fmt::format("{}", c_.mamba_dt_init_max),
                    fmt::format("at least mamba_dt_init_min ({})", c_.mamba_dt_init_min), "use 1e-3 and 0.1");
    }
    positive("mamba_dt_init_floor", c_.mamba_dt_init_floor, "use 1e-4");
  }

 private:
  bool in_range(const char* field, int64_t value, int64_t high, const char* fix) {
    if (value >= 1 && value <= high) return true;
    problems_.add(field, fmt::format("{}", value), fmt::format("1 to {}", high), fix);
    return false;
  }

  bool positive(const char* field, double value, const char* fix) {
    if (value > 0.0 && std::isfinite(value)) return true;
    problems_.add(field, fmt::format("{}", value), "a finite number above 0", fix);
    return false;
  }

  bool at_most(const char* field, const char* of, int64_t count, int64_t size) {
    if (count <= kMaxInner / size) return true;
    problems_.add(field, fmt::format("{} {} {}", count, of, size),
                  fmt::format("at most {} in all", kMaxInner), "use smaller sizes");
    return false;
  }

  bool heads() {
    const int64_t heads = c_.mamba_num_heads;
    if (heads == 0) {
      if (c_.hidden_size < 1 || c_.hidden_size > kMaxWidth) return false;  // reported with hidden_size
      problems_.add(
          "mamba_num_heads",
          fmt::format("heads of {} for an inner width of 2 x {}", c_.mamba_head_dim, c_.hidden_size),
          "mamba_head_dim to divide 2 hidden_size", "change one of them, or set mamba_num_heads");
      return false;
    }
    return in_range("mamba_num_heads", heads, kMaxWidth, "use 0 for 2 hidden_size / mamba_head_dim") &&
           at_most("mamba_num_heads", "heads of", heads, c_.mamba_head_dim);
  }

  void norm_group() {
    const int64_t size = c_.mamba_norm_group_size;
    if (size >= 1 && c_.mamba_inner() % size == 0) return;
    problems_.add("mamba_norm_group_size", fmt::format("{} of {} channels", size, c_.mamba_inner()),
                  "a divisor of mamba_num_heads x mamba_head_dim",
                  "use 0 for the channels of a group, or all of them for one norm");
  }

  void step_limits() {
    const double low = c_.mamba_dt_min;
    const double high = c_.mamba_dt_max;
    const bool low_is_usable = low >= 0.0 && std::isfinite(low);
    if (!low_is_usable)
      problems_.add("mamba_dt_min", fmt::format("{}", low), "a finite number of at least 0",
                    "use 0 for no limit");
    if (!(high >= 0.0) || !std::isfinite(high)) {
      problems_.add("mamba_dt_max", fmt::format("{}", high), "a finite number of at least 0",
                    "use 0 for no limit");
    } else if (low_is_usable && high != 0.0 && high <= low) {
      problems_.add("mamba_dt_max", fmt::format("{}", high), fmt::format("more than mamba_dt_min ({})", low),
                    "use 0 for no limit");
    }
  }

  const ModelConfig& c_;
  Violations& problems_;
};

}  // namespace

void finalize_mamba(ModelConfig& c, const Pattern& pattern) {
  const bool known = c.hidden_size > 0 && c.hidden_size <= kMaxWidth;
  if (count_of(pattern, LayerKind::kMamba2) > 0) {
    const int64_t inner = known ? 2 * c.hidden_size : 0;
    // Where the head does not divide the width, 0 stays, and `validate` says so.
    if (c.mamba_num_heads == 0 && c.mamba_head_dim > 0 && inner % c.mamba_head_dim == 0)
      c.mamba_num_heads = inner / c.mamba_head_dim;
    const bool sizes = c.mamba_num_heads > 0 && c.mamba_num_heads <= kMaxWidth && c.mamba_head_dim > 0 &&
                       c.mamba_head_dim <= kMaxInner && c.mamba_num_groups > 0;
    if (c.mamba_norm_group_size == 0 && sizes && c.mamba_num_heads % c.mamba_num_groups == 0)
      c.mamba_norm_group_size = c.mamba_inner() / c.mamba_num_groups;
  }
  if (count_of(pattern, LayerKind::kMamba1) > 0 && c.mamba1_dt_rank == 0 && known)
    c.mamba1_dt_rank = (c.hidden_size + 15) / 16;
}

void add_mamba_violations(const ModelConfig& config, const Pattern& pattern, Violations& problems) {
  if (!has_mamba(pattern)) return;
  MambaValidator validator(config, problems);
  if (count_of(pattern, LayerKind::kMamba2) > 0) validator.mamba2();
  if (count_of(pattern, LayerKind::kMamba1) > 0) validator.mamba1();
  validator.both();
}

}  // namespace phalanx
