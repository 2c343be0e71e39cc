#include "phalanx/kernels/attention/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/attention/attention_mask.h"
#include "phalanx/kernels/attention/attention_vendor.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Case {
  int64_t B, S, A, G, D;
  int64_t window = 0;
  bool documents = false;
  double dropout = 0.0;
};

std::string name_of(const Case& c) {
  return fmt::format("B{} S{} A{} G{} D{} window {} documents {} dropout {}", c.B, c.S, c.A, c.G, c.D,
                     c.window, c.documents, c.dropout);
}

// Heads x lengths x masks x dropout; 130 is longer than the vendor's blocks.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& [A, G] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {4, 4}, {4, 2}, {4, 1}}) {
    for (const int64_t S : {1, 7, 33}) {
      for (const int64_t window : {0, 1, 3, 40}) {
        for (const bool documents : {false, true}) {
          for (const double dropout : {0.0, 0.3}) {
            all.push_back({2, S, A, G, S == 7 ? 64 : 8, window, documents, dropout});
          }
        }
      }
    }
  }
  all.push_back({1, 130, 4, 2, 64});
  all.push_back({1, 130, 4, 2, 64, 50, true});
  all.push_back({1, 130, 2, 1, 8, 50, true, 0.1});
  return all;
}

AttentionSpec spec_of(const Case& c) {
  AttentionSpec spec{
      .scale = 1.05 / std::sqrt(static_cast<double>(c.D)), .window = c.window, .dropout = c.dropout};
  spec.key = {.seed = 11, .purpose = RandomPurpose::kAttentionDropout, .step = 3, .layer = 2};
  spec.num_heads_global = 9;
  spec.first_head = 5;
  return spec;
}

AttentionInputs inputs_of(const Case& c, at::ScalarType dtype) {
  AttentionInputs in{random_tensor({c.B, c.S, c.A, c.D}, 1, dtype),
                     random_tensor({c.B, c.S, c.G, c.D}, 2, dtype),
                     random_tensor({c.B, c.S, c.G, c.D}, 3, dtype),
                     {},
                     {}};
  if (c.documents) {
    const Tensor i = at::arange(c.S, at::kLong);
    in.document = at::stack(std::vector<Tensor>(static_cast<size_t>(c.B), i)).floor_divide(5);
    in.document[0].copy_(i.floor_divide(3));  // other boundaries in sample 0
  }
  if (c.dropout > 0.0) in.sample = at::arange(c.B, at::kLong) * 7 + 4;
  return in;
}

AttentionInputs with(const AttentionInputs& in, const std::vector<Tensor>& qkv) {
  return {qkv[0], qkv[1], qkv[2], in.document, in.sample};
}

AttentionInputs to_double(const AttentionInputs& in) {
  return with(in, {in.q.to(at::kDouble), in.k.to(at::kDouble), in.v.to(at::kDouble)});
}

struct Grads {
  Tensor q, k, v;
};

using Backward = void (*)(const Tensor&, const AttentionInputs&, const AttentionForward&,
                          const AttentionSpec&, Tensor, Tensor, Tensor);

Grads grads_of(Backward backward, const Tensor& dout, const AttentionInputs& in,
               const AttentionForward& saved, const AttentionSpec& spec) {
  Grads g{at::full_like(in.q, std::nan("")), at::full_like(in.k, std::nan("")),
          at::full_like(in.v, std::nan(""))};
  backward(dout, in, saved, spec, g.q, g.k, g.v);
  return g;
}

// The header's definition, one query at a time: the oracle's oracle.
AttentionForward by_definition(const AttentionInputs& in, const AttentionSpec& spec) {
  const int64_t B = in.q.size(0), S = in.q.size(1), A = in.q.size(2), D = in.q.size(3), R = A / in.k.size(2);
  AttentionForward result{at::zeros({B, S, A, D}, at::kDouble), at::zeros({B, A, S}, at::kDouble)};
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t a = 0; a < A; ++a) {
      for (int64_t i = 0; i < S; ++i) {
        double sum = 0.0;
        Tensor out = at::zeros({D}, at::kDouble);
        for (int64_t j = 0; j <= i; ++j) {
          if (spec.window > 0 && i - j >= spec.window) continue;
          if (in.document.defined() && in.document[b][i].item<int64_t>() != in.document[b][j].item<int64_t>())
            continue;
          const double e = std::exp(spec.scale * (in.q[b][i][a] * in.k[b][j][a / R]).sum().item<double>());
          sum += e;
          double factor = 1.0;
          if (spec.dropout > 0.0) {
            const int64_t sample = in.sample[b].item<int64_t>();
            const int64_t element = ((sample * spec.num_heads_global + spec.first_head + a) * S + i) * S + j;
            const bool keep =
                philox_u32(spec.key, static_cast<uint64_t>(element)) >= dropout_threshold(spec.dropout);
            factor = keep ? 1.0 / (1.0 - spec.dropout) : 0.0;
          }
          out.add_(in.v[b][j][a / R], e * factor);
        }
        result.out[b][i][a] = out / sum;
        result.lse[b][a][i] = std::log(sum);
      }
    }
  }
  return result;
}

TEST(Attention, ReferenceAndVendorEqualTheDefinition) {
  for (const Case& c : cases()) {
    if (c.S > 7) continue;
    const AttentionSpec spec = spec_of(c);
    const AttentionInputs in = inputs_of(c, at::kDouble);
    const AttentionForward expected = by_definition(in, spec);
    for (const auto& forward : {attention_forward_ref, attention_forward}) {
      const AttentionForward got = forward(in, spec);
      EXPECT_LE(relative_error(got.out, expected.out), 1e-13) << name_of(c);
      EXPECT_LE(relative_error(got.lse, expected.lse), 1e-13) << name_of(c);
      EXPECT_TRUE(got.out.is_contiguous());
    }
  }
}

TEST(Attention, GradientsMatchAutogradOfTheReference) {
  int vendor = 0;
  for (const Case& c : cases()) {
    const AttentionSpec spec = spec_of(c);
    const AttentionInputs in = inputs_of(c, at::kDouble);
    const Tensor dout = random_tensor({c.B, c.S, c.A, c.D}, 4);
    const auto f = [&](const std::vector<Tensor>& qkv) {
      return std::vector<Tensor>{attention_forward_ref(with(in, qkv), spec).out};
    };
    const std::vector<Tensor> expected = autograd_gradients(f, {in.q, in.k, in.v}, {dout});
    const AttentionForward plain = attention_forward_ref(in, spec);
    const AttentionForward fast = attention_forward(in, spec);
    vendor += vendor_serves(in, spec) ? 1 : 0;
    EXPECT_LE(relative_error(fast.out, plain.out), 1e-13) << name_of(c);
    EXPECT_LE(relative_error(fast.lse, plain.lse), 1e-13) << name_of(c);
    for (const bool reference : {true, false}) {
      const Grads g = reference ? grads_of(attention_backward_ref, dout, in, plain, spec)
                                : grads_of(attention_backward, dout, in, fast, spec);
      EXPECT_LE(relative_error(g.v, expected[2]), 1e-10) << name_of(c);
      // With one visible key the softmax is constant: exact zeros against rounding.
      if (c.S == 1 || c.window == 1) {
        EXPECT_LE((g.q - expected[0]).abs().max().item<double>(), 1e-14) << name_of(c);
        EXPECT_LE((g.k - expected[1]).abs().max().item<double>(), 1e-14) << name_of(c);
        continue;
      }
      EXPECT_LE(relative_error(g.q, expected[0]), 1e-10) << name_of(c);
      EXPECT_LE(relative_error(g.k, expected[1]), 1e-10) << name_of(c);
    }
  }
  EXPECT_EQ(vendor, 4 * 3 * 4 * 2 + 2);  // everything without dropout
}

// The template's bound and, in fp32, the 20 ulp that the vendor's vectorised exponential (exp_u20) may be off.
std::string vendor_error(const Tensor& fused, const Tensor& plain, const Tensor& exact) {
  const std::string error = fused_error(fused, plain, exact);
  if (error.empty() || fused.scalar_type() != at::kFloat) return error;
  const double distance = (fused.to(at::kDouble) - exact).abs().max().item<double>();
  const double plain_distance = (plain.to(at::kDouble) - exact).abs().max().item<double>();
  const double scale = exact.abs().max().item<double>();
  return distance <= 2.0 * plain_distance + (4.0 + 20.0) * 0x1.0p-23 * scale ? "" : error;
}

TEST(Attention, FloatAndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const Case& c : cases()) {
      if (c.A == 1 || c.window == 40) continue;
      const AttentionSpec spec = spec_of(c);
      const AttentionInputs in = inputs_of(c, dtype);
      const AttentionInputs exact_in = to_double(in);
      const Tensor dout = random_tensor({c.B, c.S, c.A, c.D}, 4, dtype);
      const AttentionForward fast = attention_forward(in, spec);
      const AttentionForward plain = attention_forward_ref(in, spec);
      const AttentionForward exact = attention_forward_ref(exact_in, spec);
      EXPECT_EQ(fast.out.scalar_type(), dtype);
      EXPECT_EQ(fast.lse.scalar_type(), at::kFloat);
      EXPECT_EQ(vendor_error(fast.out, plain.out, exact.out), "") << toString(dtype) << name_of(c);
      EXPECT_LE((fast.lse - exact.lse).abs().max().item<double>(), dtype == at::kFloat ? 4e-6 : 1e-2)
          << name_of(c);

      const Grads g = grads_of(attention_backward, dout, in, fast, spec);
      const Grads p = grads_of(attention_backward_ref, dout, in, plain, spec);
      const Grads e = grads_of(attention_backward_ref, dout.to(at::kDouble), exact_in, exact, spec);
      // Where the exact gradient of q and k vanishes there is no scale to compare with; v's is the yardstick.
      EXPECT_EQ(vendor_error(g.v, p.v, e.v), "") << toString(dtype) << name_of(c);
      if (c.S == 1 || c.window == 1) continue;
      EXPECT_EQ(vendor_error(g.q, p.q, e.q), "") << toString(dtype) << name_of(c);
      EXPECT_EQ(vendor_error(g.k, p.k, e.k), "") << toString(dtype) << name_of(c);
    }
  }
}

TEST(Attention, ALaterTokenChangesNoEarlierBit) {
  for (const Case& c : cases()) {
    if (c.S < 7 || c.A != 4) continue;
    const AttentionSpec spec = spec_of(c);
    const AttentionInputs in = inputs_of(c, at::kFloat);
    AttentionInputs changed = with(in, {in.q.clone(), in.k.clone(), in.v.clone()});
    const int64_t t = c.S / 2;
    for (Tensor* x : {&changed.q, &changed.k, &changed.v}) x->narrow(1, t, c.S - t).mul_(-1.5).add_(0.25);
    const Tensor a = attention_forward(in, spec).out;
    const Tensor b = attention_forward(changed, spec).out;
    EXPECT_TRUE(at::equal(a.narrow(1, 0, t), b.narrow(1, 0, t))) << name_of(c);
    EXPECT_FALSE(at::equal(a.narrow(1, t, c.S - t), b.narrow(1, t, c.S - t))) << name_of(c);
  }
}

TEST(Attention, TwoPackedDocumentsEqualTwoSamples) {
  for (const int64_t window : {0, 4}) {
    const Case packed{1, 20, 4, 2, 8, window, true};
    AttentionInputs in = inputs_of(packed, at::kDouble);
    in.document = (at::arange(20, at::kLong) >= 7).to(at::kLong).unsqueeze(0);
    const AttentionSpec spec = spec_of(packed);
    const Tensor dout = random_tensor({1, 20, 4, 8}, 4);
    const AttentionForward whole = attention_forward(in, spec);
    const Grads g = grads_of(attention_backward, dout, in, whole, spec);
    for (const auto& [begin, length] : std::vector<std::pair<int64_t, int64_t>>{{0, 7}, {7, 13}}) {
      const auto part = [&, b = begin, n = length](const Tensor& x) { return x.narrow(1, b, n); };
      const AttentionInputs alone{part(in.q), part(in.k), part(in.v), {}, {}};
      const AttentionForward forward = attention_forward(alone, spec);
      EXPECT_LE(relative_error(part(whole.out), forward.out), 1e-13);
      const Grads h = grads_of(attention_backward, part(dout), alone, forward, spec);
      EXPECT_LE(relative_error(part(g.q), h.q), 1e-12);
      EXPECT_LE(relative_error(part(g.k), h.k), 1e-12);
      EXPECT_LE(relative_error(part(g.v), h.v), 1e-12);
    }
  }
}

// q, k, v side by side in one [B S, (A + 2 G) D], and the gradients too.
TEST(Attention, ReadsAndWritesViewsOfOneBuffer) {
  for (const bool documents : {false, true}) {
    for (const double dropout : {0.0, 0.2}) {
      const Case c{2, 13, 4, 2, 8, 6, documents, dropout};
      const AttentionSpec spec = spec_of(c);
      const AttentionInputs in = inputs_of(c, at::kDouble);
      const auto views = [&](const Tensor& flat) {
        const auto cut = [&](int64_t first, int64_t heads) {
          return flat.narrow(1, first * c.D, heads * c.D).view({c.B, c.S, heads, c.D});
        };
        return std::vector<Tensor>{cut(0, c.A), cut(c.A, c.G), cut(c.A + c.G, c.G)};
      };
      const Tensor qkv = at::empty({c.B * c.S, (c.A + 2 * c.G) * c.D}, at::kDouble);
      const std::vector<Tensor> parts = views(qkv);
      parts[0].copy_(in.q);
      parts[1].copy_(in.k);
      parts[2].copy_(in.v);
      const Tensor before = qkv.clone();
      const AttentionForward strided = attention_forward(with(in, parts), spec);
      const AttentionForward dense = attention_forward(in, spec);
      EXPECT_TRUE(at::equal(strided.out, dense.out));
      const Tensor dout = random_tensor({c.B, c.S, c.A, c.D}, 4);
      const Grads g = grads_of(attention_backward, dout, in, dense, spec);
      const Tensor dqkv = at::full_like(qkv, std::nan(""));
      const std::vector<Tensor> d = views(dqkv);
      attention_backward(dout, with(in, parts), strided, spec, d[0], d[1], d[2]);
      EXPECT_TRUE(at::equal(d[0], g.q));
      EXPECT_TRUE(at::equal(d[1], g.k));
      EXPECT_TRUE(at::equal(d[2], g.v));
      EXPECT_TRUE(at::equal(qkv, before));
    }
  }
}

TEST(AttentionDropout, MaskIsThePhiloxWordOfTheElement) {
  for (const int64_t S : {1, 5, 8, 9}) {
    for (const double p : {0.1, 0.5}) {
      AttentionSpec spec = spec_of({1, S, 3, 3, 8, 0, false, p});
      const int64_t sample = 1234567;
      const Tensor dropped = dropped_probabilities(spec, sample, 3, S, at::kCPU);
      for (int64_t a = 0; a < 3; ++a) {
        for (int64_t i = 0; i < S; ++i) {
          for (int64_t j = 0; j <= i; ++j) {
            const int64_t element = ((sample * spec.num_heads_global + spec.first_head + a) * S + i) * S + j;
            const bool expected = philox_u32(spec.key, static_cast<uint64_t>(element)) < dropout_threshold(p);
            ASSERT_EQ(dropped[a][i][j].item<bool>(), expected) << a << " " << i << " " << j;
          }
        }
      }
    }
  }
}

// 2^16 samples of 2^30 heads of 4 x 4 make 2^50 elements; nothing past the last of them has bits of its own.
TEST(AttentionDropout, ElementsWithoutBitsOfTheirOwnAreRefused) {
  AttentionSpec spec = spec_of({1, 4, 3, 3, 8, 0, false, 0.5});
  constexpr int64_t S = 4;
  spec.num_heads_global = int64_t{1} << 30;
  spec.first_head = spec.num_heads_global - 3;
  const int64_t last = (int64_t{1} << 16) - 1;
  EXPECT_EQ(dropped_probabilities(spec, last, 3, S, at::kCPU).numel(), 3 * S * S);
  try {
    dropped_probabilities(spec, last + 1, 3, S, at::kCPU);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(
        std::string(e.what()),
        "model.attention_dropout: got sample 65536 of a step, with 1073741824 heads of 4 x 4 probabilities; needed "
        "at most 2^50 probabilities a layer in a step, each of which has random bits of its own. Fix: set "
        "attention_dropout to 0, or the global batch size to at most 65536");
  }
}

TEST(AttentionDropout, DoesNotDependOnHowHeadsAndSamplesAreSplit) {
  const Case c{3, 9, 4, 2, 8, 0, false, 0.4};
  const AttentionSpec spec = spec_of(c);
  const AttentionInputs in = inputs_of(c, at::kDouble);
  const Tensor whole = attention_forward(in, spec).out;
  AttentionSpec second = spec;
  second.first_head += 2;
  // The second group of heads and the last sample alone, as another rank would hold them.
  const AttentionInputs part{in.q.narrow(0, 2, 1).narrow(2, 2, 2),
                             in.k.narrow(0, 2, 1).narrow(2, 1, 1),
                             in.v.narrow(0, 2, 1).narrow(2, 1, 1),
                             {},
                             in.sample.narrow(0, 2, 1)};
  const Tensor alone = attention_forward(part, second).out;
  EXPECT_LE(relative_error(alone, whole.narrow(0, 2, 1).narrow(2, 2, 2)), 1e-14);
}

TEST(AttentionDropout, DropsTheExpectedShare) {
  AttentionSpec spec = spec_of({1, 128, 4, 4, 8, 0, false, 0.25});
  const Tensor dropped = dropped_probabilities(spec, 3, 4, 128, at::kCPU).tril();
  const double visible = 4.0 * 128.0 * 129.0 / 2.0;
  const double share = static_cast<double>(dropped.sum().item<int64_t>()) / visible;
  EXPECT_NEAR(share, 0.25, 4.0 * std::sqrt(0.75 * 0.25 / visible));
}

TEST(AttentionDeathTest, RefusesWhatTheContractExcludes) {
  const AttentionInputs in = inputs_of({2, 5, 4, 2, 8}, at::kFloat);
  AttentionInputs bad = in;
  bad.k = in.k.narrow(1, 0, 4);
  EXPECT_DEATH(attention_forward(bad, {}), "q 2x5x4x8, k 2x4x2x8");
  bad = in;
  bad.q = in.q.narrow(2, 0, 3);
  EXPECT_DEATH(attention_forward(bad, {}), "q 2x5x3x8");
  bad = in;
  bad.v = in.v.to(at::kDouble);
  EXPECT_DEATH(attention_forward(bad, {}), "one floating dtype");
  bad = in;
  bad.document = at::zeros({2, 4}, at::kLong);
  EXPECT_DEATH(attention_forward(bad, {}), "document 2x4");
  EXPECT_DEATH(attention_forward(in, {.dropout = 0.1, .num_heads_global = 4}), "index of every sample");
  bad = in;
  bad.sample = at::zeros({2}, at::kLong);
  EXPECT_DEATH(attention_forward(bad, {.dropout = 0.1, .num_heads_global = 3}), "heads 0 to 3 of 3");
  EXPECT_DEATH(attention_forward(in, {.dropout = 1.0}), "dropout 1");
}

}  // namespace
}  // namespace phalanx::kernels
