#include "phalanx/engine/schedule_source.h"

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/schedule_json.h"

namespace phalanx {
namespace {

Schedule forward_of_file(const std::string& path, int micro_batches) {
  const Schedule file = read_schedule_file(path);
  const std::vector<Holder> by_stage = holders(file.placement);
  std::vector<ActionList> compute(file.placement.size());
  for (int m = 0; m < micro_batches; ++m) {
    for (const Holder& holder : by_stage) {
      compute[static_cast<size_t>(holder.rank)].push_back(
          {.op = Op::kForward, .micro_batch = m, .chunk = holder.chunk});
    }
  }
  return forward_only(build_schedule(file.kind, micro_batches, file.placement, compute));
}

}  // namespace

const Schedule& ScheduleSource::of(int micro_batches, bool forward_only) {
  const std::pair key(micro_batches, forward_only);
  const auto found = made_.find(key);
  return found != made_.end() ? found->second
                              : made_.emplace(key, make(micro_batches, forward_only)).first->second;
}

Schedule ScheduleSource::make(int micro_batches, bool forward_only) const {
  if (forward_only && shape_.kind.ends_with(".json")) return forward_of_file(shape_.kind, micro_batches);
  return make_schedule({.kind = shape_.kind,
                        .pp = shape_.pp,
                        .chunks = shape_.chunks,
                        .micro_batches = micro_batches,
                        .forward_only = forward_only});
}

}  // namespace phalanx
