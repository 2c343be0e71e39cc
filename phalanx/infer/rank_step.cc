#include "phalanx/infer/rank_step.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/engine/stage_messages.h"

namespace phalanx {

int choosing_rank(const Mesh& mesh) {
  return mesh.rank_at(0, "pp", mesh.size("pp") - 1);
}

Tensor step_on_ranks(Model& model, const Batch& batch, Cache& cache, RankGroups& groups) {
  PHALANX_CHECK(model.part().chunks.size() == 1, "one chunk a stage in generation");
  comm::Group& pipeline = groups.pipeline();
  const int stage = pipeline.rank();
  PHALANX_CHECK(stage == 0 || model.side_into(stage, batch).empty(), "boundary tensors alone between stages");
  Tensor x;
  if (stage > 0) {
    ReceivedMessage message({model.boundary(batch)}, stage - 1, model.device(), pipeline, &groups.tensor());
    x = message.take()[0];
  }
  Side side;
  const Tensor y = model.step(0, x, batch, side, cache);
  if (stage + 1 == pipeline.size()) return y;
  SentMessage({y}, stage + 1, pipeline, &groups.tensor()).wait();
  return {};
}

void share_choices(std::span<Choice> choices, RankGroups& groups) {
  if (choices.empty()) return;
  Tensor words = at::empty({2 * static_cast<int64_t>(choices.size())}, at::TensorOptions(at::kLong));
  auto* const word = words.data_ptr<int64_t>();
  for (size_t i = 0; i < choices.size(); ++i) {
    word[2 * i] = choices[i].token;
    word[2 * i + 1] = choices[i].go_on ? 1 : 0;
  }
  groups.world().broadcast(words, choosing_rank(groups.mesh()));
  for (size_t i = 0; i < choices.size(); ++i) choices[i] = {word[2 * i], word[2 * i + 1] != 0};
}

}  // namespace phalanx
