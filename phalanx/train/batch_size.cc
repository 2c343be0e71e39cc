#include "phalanx/train/batch_size.h"

#include <algorithm>
#include <string>

#include "phalanx/base/error.h"

namespace phalanx {

BatchSize::BatchSize(int64_t final_size, const std::vector<int64_t>& rampup, int64_t unit)
    : final_size_(final_size) {
  const auto require = [](bool holds, const std::string& got, const std::string& needed,
                          const std::string& fix) {
    if (!holds)
      throw Error(ErrorKind::kBadInput,
                  {.where = "train.rampup_batch_size", .got = got, .needed = needed, .fix = fix});
  };
  if (final_size <= 0 || final_size % unit != 0) {
    throw Error(ErrorKind::kBadInput,
                {.where = "train.global_batch_size",
                 .got = std::to_string(final_size),
                 .needed = "a positive multiple of micro_batch_size x data ranks = " + std::to_string(unit),
                 .fix = "change train.global_batch_size or train.micro_batch_size"});
  }
  if (rampup.empty()) return;
  require(rampup.size() == 3, std::to_string(rampup.size()) + " numbers", "start,increment,samples",
          "give three numbers");
  start_ = rampup[0];
  increment_ = rampup[1];
  require(
      start_ > 0 && start_ <= final_size && start_ % unit == 0, "start " + std::to_string(start_),
      "a multiple of " + std::to_string(unit) + " up to the global batch size " + std::to_string(final_size),
      "change the first number");
  require(increment_ > 0 && increment_ % unit == 0 && (final_size - start_) % increment_ == 0,
          "increment " + std::to_string(increment_),
          "a multiple of " + std::to_string(unit) + " that divides " + std::to_string(final_size - start_),
          "change the second number");
  require(rampup[2] >= 0, "samples " + std::to_string(rampup[2]), "at least 0", "change the third number");
  const int64_t increments = (final_size - start_) / increment_;
  if (increments > 0)
    samples_per_increment_ = static_cast<double>(rampup[2]) / static_cast<double>(increments);
}

int64_t BatchSize::at(int64_t consumed_samples) const {
  if (samples_per_increment_ <= 0) return final_size_;
  const auto steps = static_cast<int64_t>(static_cast<double>(consumed_samples) / samples_per_increment_);
  return std::min(final_size_, start_ + steps * increment_);
}

}  // namespace phalanx
