#include "phalanx/plan/stash_bytes.h"

#include <algorithm>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kScanChunk = 128;  // tokens between kept states

struct Sizes {
  int64_t tokens = 0;  // of a micro-batch on a context rank
  int64_t stream = 0;  // elements of the residual stream on a rank
  int64_t shared = 0;  // of an input of a column-parallel product
  int64_t rows = 0;    // rows whose norm statistics a rank keeps
};

Sizes sizes_of(const PlanModel& model, const PlanLayout& layout) {
  const int64_t tokens = layout.micro_batch * model.sequence / layout.cp;
  const int64_t split = layout.sequence_parallel ? layout.tp : 1;
  const int64_t stream = tokens * model.hidden / split;
  // Under sequence parallelism the shard is kept and gathered again in backward.
  return {.tokens = tokens, .stream = stream, .shared = stream, .rows = tokens / split};
}

int64_t share(int64_t groups, int64_t tp) {
  return std::max<int64_t>(groups / tp, 1);
}

class Layer {
 public:
  Layer(const PlanModel& model, const PlanLayout& layout, PlanRecompute policy, StashAccount account,
        const ByteSizes& bytes)
      : model_(model),
        layout_(layout),
        bytes_(bytes),
        sizes_(sizes_of(model, layout)),
        whole_(policy == PlanRecompute::kNone),
        paper_(account == StashAccount::kPaper) {
    items_.reserve(12);
  }

  std::vector<ByteItem> take(LayerKind kind) {
    elements("norm input", sizes_.stream);
    if (!paper_) norm_statistics(sizes_.rows);
    if (kind == LayerKind::kAttention) {
      attention();
    } else if (kind == LayerKind::kMlp) {
      mlp();
    } else if (kind == LayerKind::kMamba2) {
      mamba();
    } else {
      mamba1();
    }
    if (paper_ && model_.dropout) items_.push_back({"dropout mask", sizes_.stream});
    return std::move(items_);
  }

 private:
  void elements(std::string_view label, int64_t count) {
    items_.push_back({label, bytes_.activation * count});
  }
  void statistics(std::string_view label, int64_t count) {
    items_.push_back({label, bytes_.statistic * count});
  }

  void norm_statistics(int64_t rows) {
    if (model_.norm_bias) statistics("norm mean", rows);
    statistics("norm rstd", rows);
  }

  void attention() {
    const int64_t query = sizes_.tokens * (model_.heads / layout_.tp) * model_.head_dim;
    const int64_t groups = share(model_.kv_groups, layout_.tp);
    const int64_t key = sizes_.tokens * groups * model_.head_dim;
    const int64_t heads = sizes_.tokens * (model_.heads / layout_.tp);
    if (!paper_) {
      // Norms of q and k push their parts of qkv first, and a storage has one label.
      elements(model_.qk_norm ? "norm input" : "attention qkv", query + 2 * key);
      if (model_.qk_norm) norm_statistics(heads + sizes_.tokens * groups);
      elements("attention output", query);
      statistics("attention lse", heads);
      return;
    }
    elements("qkv input", sizes_.shared);
    elements("query and key", query + key);
    if (whole_) {
      const int64_t scores = heads * model_.sequence;
      elements("softmax output", scores);
      if (model_.dropout) {
        items_.push_back({"softmax mask", scores});
        elements("softmax dropout output", scores);
      }
    }
    elements("value", key);
    elements("projection input", query);
  }

  void mlp() {
    const int64_t inner = sizes_.tokens * (model_.ffn / layout_.tp);
    const int64_t up = model_.gated_mlp ? 2 * inner : inner;
    if (paper_) elements("up input", sizes_.shared);
    elements(paper_ ? "activation input" : "mlp pre-activation", up);
    if (paper_) elements("down input", inner);
  }

  void mamba() {
    const MambaSizes& m = model_.mamba;
    const int64_t inner = m.inner / layout_.tp;
    const int64_t heads = m.heads() / layout_.tp;
    const int64_t groups = share(m.groups, layout_.tp);
    const int64_t conv_width = inner + 2 * groups * m.state;
    if (paper_) elements("in-projection input", sizes_.shared);
    elements("mamba z x B C dt", sizes_.tokens * (inner + conv_width + heads));
    if (paper_ && whole_) {
      elements("mamba convolution output", sizes_.tokens * conv_width);
      statistics("mamba steps and decays", sizes_.tokens * 2 * heads);
      const int64_t chunks = layout_.micro_batch * ((model_.sequence + kScanChunk - 1) / kScanChunk);
      // Context ranks hold whole sequences of a share of the heads here.
      statistics("mamba chunk states", chunks * (inner / layout_.cp) * m.state);
    }
    elements("mamba scan output", sizes_.tokens * inner);
    if (!paper_) {
      const int64_t norm_group = m.norm_group > 0 ? m.norm_group : m.inner / m.groups;
      statistics("mamba norm rstd", sizes_.tokens * std::max<int64_t>(1, inner / norm_group));
    } else if (whole_) {
      elements("out-projection input", sizes_.tokens * inner);
    }
  }

  void mamba1() {
    const Mamba1Sizes& m = model_.mamba1;
    const int64_t inner = m.inner / layout_.tp;
    elements("mamba1 x z", sizes_.tokens * 2 * inner);
    elements("mamba1 dt B C", sizes_.tokens * m.low_width());
    const int64_t chunks =
        layout_.micro_batch * ((model_.sequence + kMamba1StateTokens - 1) / kMamba1StateTokens);
    statistics("mamba1 chunk states", chunks * (inner / layout_.cp) * m.state);
    elements("mamba1 scan output", sizes_.tokens * inner);
  }

  const PlanModel& model_;
  const PlanLayout& layout_;
  const ByteSizes& bytes_;
  Sizes sizes_;
  bool whole_;
  bool paper_;
  std::vector<ByteItem> items_;
};

}  // namespace

ByteSizes bf16_bytes() {
  return {};
}

ByteSizes fp16_bytes() {
  return {.gradient = 2, .optimizer = 16};
}

ByteSizes fp32_bytes() {
  return {.weight = 4, .gradient = 4, .optimizer = 8, .activation = 4};
}

int64_t total_bytes(const std::vector<ByteItem>& items) {
  int64_t total = 0;
  for (const ByteItem& item : items) total += item.bytes;
  return total;
}

std::vector<ByteItem> layer_stash(const PlanModel& model, const PlanLayout& layout, LayerKind kind,
                                  PlanRecompute policy, StashAccount account, const ByteSizes& bytes) {
  PHALANX_CHECK(is_plannable(kind), "a kind of layer that cannot be planned");
  if (policy == PlanRecompute::kFull) return {};
  if (policy == PlanRecompute::kSelective && layout.recompute_mlp && kind == LayerKind::kMlp)
    return {{"recompute input", bytes.activation * sizes_of(model, layout).stream}};
  return Layer(model, layout, policy, account, bytes).take(kind);
}

std::vector<ByteItem> head_stash(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                                 const ByteSizes& bytes) {
  const Sizes sizes = sizes_of(model, layout);
  const int64_t stream = bytes.activation * sizes.stream;
  if (account == StashAccount::kPhalanx) {
    const int64_t statistic = bytes.statistic * sizes.rows;
    return {{"norm input", stream},
            {"norm mean", model.norm_bias ? statistic : 0},
            {"norm rstd", statistic},
            {"head input gradient", stream}};
  }
  return {{"final norm input", stream},
          {"head input", bytes.activation * sizes.shared},
          {"logits", bytes.statistic * sizes.tokens * (model.vocab / layout.tp)}};
}

int64_t deferred_bytes(const PlanModel& model, const PlanLayout& layout, LayerKind kind,
                       const ByteSizes& bytes) {
  const Sizes sizes = sizes_of(model, layout);
  const int64_t ends = 2 * sizes.stream;  // gradient of the last product, input of the first
  switch (kind) {
    case LayerKind::kAttention: {
      const int64_t query = sizes.tokens * (model.heads / layout.tp) * model.head_dim;
      const int64_t key = sizes.tokens * share(model.kv_groups, layout.tp) * model.head_dim;
      return bytes.activation * (ends + 2 * query + 2 * key);
    }
    case LayerKind::kMlp: {
      const int64_t inner = sizes.tokens * (model.ffn / layout.tp);
      return bytes.activation * (ends + inner + (model.gated_mlp ? 2 : 1) * inner);
    }
    case LayerKind::kMamba2: {
      const MambaSizes& m = model.mamba;
      const int64_t inner = m.inner / layout.tp;
      const int64_t in_width = 2 * inner + 2 * share(m.groups, layout.tp) * m.state + m.heads() / layout.tp;
      return bytes.activation * (ends + sizes.tokens * (inner + in_width));
    }
    case LayerKind::kMamba1: {
      const Mamba1Sizes& m = model.mamba1;
      const int64_t inner = m.inner / layout.tp;
      // dy and o, d(x, z) and u, d(delta, B, C) and the convolution, d(dt) and delta.
      return bytes.activation *
             (ends + sizes.tokens * (inner + 2 * inner + m.low_width() + inner + inner + m.dt_rank));
    }
    case LayerKind::kExperts:
    case LayerKind::kCrossAttention:
      break;
  }
  PHALANX_CHECK(false, "a kind of layer that cannot be planned");
}

int64_t deferred_embedding_bytes(const PlanModel& model, const PlanLayout& layout, const ByteSizes& bytes) {
  return bytes.activation * sizes_of(model, layout).stream;
}

int64_t embedding_stash(const PlanModel& model, const PlanLayout& layout, StashAccount account) {
  if (account == StashAccount::kPhalanx || !model.dropout) return 0;
  return sizes_of(model, layout).stream;
}

int64_t checkpoint_bytes(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                         const ByteSizes& bytes) {
  const bool split =
      layout.shard_checkpoints || (account == StashAccount::kPhalanx && layout.sequence_parallel);
  const int64_t elements = sizes_of(model, layout).tokens * model.hidden;
  return bytes.activation * (split ? (elements + layout.tp - 1) / layout.tp : elements);
}

int64_t output_bytes(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                     const ByteSizes& bytes) {
  const Sizes sizes = sizes_of(model, layout);
  return bytes.activation * (account == StashAccount::kPaper ? sizes.tokens * model.hidden : sizes.stream);
}

int64_t count_units(const Pattern& pattern, const StageSlice& slice) {
  int64_t units = 0;
  for (size_t i = slice.begin; i < slice.end; i = unit_end(pattern, i, slice.end)) ++units;
  return units;
}

}  // namespace phalanx
