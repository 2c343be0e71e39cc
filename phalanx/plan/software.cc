#include "phalanx/plan/software.h"

#include <array>
#include <string>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {

std::span<const Software> known_software() {
  static const std::array<Software, 5> list = {{
      {.name = "phalanx",
       .source = "ARCHITECTURE.md: what the executor is built to overlap",
       .fused_attention = true,
       .overlap_tensor = true,
       .overlap_pipeline = true,
       .overlap_gradients = true,
       .prefetch_weights = true,
       .gradient_bytes = 4,
       .optimizer_bytes = 38},
      {.name = "megatron-2021",
       .source =
           "Narayanan et al. 2021: blocking sends, gradients reduced after the last backward, scores in memory "
           "(fused softmax); fp16 gradients. Without a pipeline it ran torch's DistributedDataParallel, which can "
           "overlap; with that assumption 18.4B is 7 % too fast, so it is not made"},
      {.name = "megatron-2022",
       .source =
           "Korthikanti et al. 2022, section 6: the all-reduce of the backward pass beside the weight gradient; "
           "gradients not overlapped, fp32",
       .overlap_tensor = true,
       .gradient_bytes = 4},
      {.name = "deepspeed-2021",
       .source =
           "ZeRO-3 of Narayanan et al. 2021, table 2. Assumed: weights gathered ahead, gradients scattered after their "
           "layer, one NIC a ring; the two last together give the collapse of that table",
       .prefetch_weights = true,
       .single_rail = true},
      {.name = "megatron-deepspeed-2022",
       .source =
           "Smith et al. 2022 (MT-NLG): Megatron's layers in DeepSpeed's 1F1B. step_overhead is fitted on its run of 350 "
           "nodes; what it stands for is not known",
       .step_overhead = 8.58},
  }};
  return list;
}

const Software& find_software(std::string_view name) {
  std::vector<std::string> names;
  std::string listed;
  for (const Software& software : known_software()) {
    if (software.name == name) return software;
    names.push_back(software.name);
    listed += (listed.empty() ? "" : ", ") + software.name;
  }
  const std::string near = nearest_name(std::string(name), names);
  throw Error(ErrorKind::kBadInput, {.where = "software",
                                     .got = "'" + std::string(name) + "'",
                                     .needed = "one of " + listed,
                                     .fix = near.empty() ? "" : "did you mean " + near + "?"});
}

}  // namespace phalanx
