#include "phalanx/telemetry/flops.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

struct DevicePeak {
  std::array<std::string_view, 2> words;  // all non-empty ones must stand in the name
  double flops = 0;
};

// First match wins: the variants of a chip stand before the chip.
constexpr DevicePeak kPeaks[] = {
    {{"A100", ""}, 312e12}, {{"H100", "PCIE"}, 756e12}, {{"H100", "NVL"}, 835e12}, {{"H100", ""}, 989e12},
    {{"H200", ""}, 989e12}, {{"GB200", ""}, 2.5e15},    {{"B200", ""}, 2.25e15},
};

// Upper-case runs of letters and digits: "NVIDIA A100-SXM4-80GB" has the word A100, "RTX A1000" has not.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      words.back() += static_cast<char>(std::toupper(byte));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  return words;
}

}  // namespace

double gpt_flops_packed(const GptFlopsShape& shape, double tokens, double squared_lengths) {
  PHALANX_CHECK(shape.hidden > 0 && shape.attention_layers >= 0 && shape.mlp_layers >= 0,
                "a FLOPs shape has a width and no negative number of layers");
  PHALANX_CHECK(shape.attention_layers == 0 || (shape.heads > 0 && shape.kv_groups > 0 && shape.head_dim > 0),
                "attention layers have heads");
  PHALANX_CHECK(shape.mlp_layers == 0 || shape.mlp_hidden > 0, "MLP layers have a width");
  const auto attention_layers = static_cast<double>(shape.attention_layers);
  const auto mlp_layers = static_cast<double>(shape.mlp_layers);
  const auto hidden = static_cast<double>(shape.hidden);
  const auto query = static_cast<double>(shape.heads * shape.head_dim);
  const auto key = static_cast<double>(shape.kv_groups * shape.head_dim);
  const double gate = shape.output_gate ? query : 0;
  const double mlp_matrices = shape.gated_mlp ? 3 : 2;

  const double mlp = tokens * hidden * mlp_matrices * static_cast<double>(shape.mlp_hidden) * mlp_layers;
  const double projections = tokens * attention_layers * (hidden * (query + 2 * key + gate) + query * hidden);
  const double core = squared_lengths * query * attention_layers;
  const double logits = tokens * hidden * static_cast<double>(shape.vocab);
  return 6 * (mlp + projections + core + logits);
}

double gpt_flops(const GptFlopsShape& shape, int64_t batch, int64_t sequence) {
  const double tokens = static_cast<double>(batch) * static_cast<double>(sequence);
  return gpt_flops_packed(shape, tokens, tokens * static_cast<double>(sequence));
}

double paper_gpt_flops(int64_t batch, int64_t sequence, int64_t layers, int64_t hidden, int64_t vocab) {
  const auto s = static_cast<double>(sequence);
  const auto l = static_cast<double>(layers);
  const auto h = static_cast<double>(hidden);
  // 72 b s l h^2 (V / 12 h l) written out, so that no layers at all are no division by 0.
  const double tokens = static_cast<double>(batch) * s;
  return 72 * tokens * l * h * h * (1 + s / (6 * h)) + 6 * tokens * h * static_cast<double>(vocab);
}

double tflops_per_device(double flops, double seconds, int64_t devices) {
  if (!(seconds > 0)) return 0;
  return flops / (seconds * 1e12 * static_cast<double>(devices));
}

double mfu(double flops, double seconds, int64_t devices, double peak_flops_per_device) {
  if (!(peak_flops_per_device > 0)) return 0;
  return tflops_per_device(flops, seconds, devices) * 1e12 / peak_flops_per_device;
}

std::optional<double> peak_flops(std::string_view device_name) {
  const std::vector<std::string> words = words_of(device_name);
  const auto has = [&words](std::string_view word) {
    return word.empty() || std::find(words.begin(), words.end(), word) != words.end();
  };
  for (const DevicePeak& peak : kPeaks) {
    if (has(peak.words[0]) && has(peak.words[1])) return peak.flops;
  }
  return std::nullopt;
}

}  // namespace phalanx
