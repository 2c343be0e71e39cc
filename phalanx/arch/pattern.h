// File: phalanx/arch/pattern.h
//
// Purpose: the one-line language that describes a model: one character a residual layer, each with its own norm.
//     *  attention    -  MLP    M  Mamba-2    m  Mamba-1    E  experts    X  gated cross-attention
//     |  ends a pipeline stage (a stage may be empty)        (...)xN  repeats a group; groups may nest
// Contract: parse throws Error(kBadInput) that marks the place with a caret. White space is refused. Counts, nesting
//   and the expanded length are bounded, so that no text can exhaust memory or the stack. Every kind parses, also one
//   that no layer implements yet: `validate` of the model config says which can be built.
// Example: GPT of 12 layers is "(*-)x12"; the same in two stages is "(*-)x6|(*-)x6".
// Source: Megatron's hybrid pattern (one character a layer, `|` as stage boundary); the repeat form is ours, because
//   Megatron's `(..)*N` would be ambiguous with attention.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

enum class LayerKind : char {
  kAttention = '*',
  kMlp = '-',
  kMamba2 = 'M',
  kMamba1 = 'm',
  kExperts = 'E',
  kCrossAttention = 'X',
};

inline constexpr size_t kMaxPatternLength = 65536;  // layers and stage boundaries together, after expansion
inline constexpr int kMaxPatternDepth = 16;         // groups inside groups

struct Pattern {
  std::vector<LayerKind> layers;
  std::vector<size_t> stage_begin;  // index of the first layer of each stage; the first is 0

  size_t num_stages() const { return stage_begin.size(); }
  size_t stage_end(size_t stage) const;
  bool operator==(const Pattern&) const = default;
};

Pattern parse_pattern(std::string_view text, const std::string& where = "model.pattern");

// Without groups: "*-*-|*-*-".
std::string expand(const Pattern& pattern);

// The shortest text this printer finds: "(*-)x2|(*-)x2". parse_pattern of it gives the pattern back.
std::string to_string(const Pattern& pattern);

// `*` directly followed by `-`: what users of transformers call a layer.
int64_t count_pairs(const Pattern& pattern);

// A transformer layer in [begin, end): a `*-` pair, or one residual layer where there is none. Index behind the one that
// starts at `begin`; what recomputation counts.
size_t unit_end(const Pattern& pattern, size_t begin, size_t end);

// Has at least one Mamba layer.
bool has_mamba(const Pattern& pattern);

int64_t count_of(const Pattern& pattern, LayerKind kind);

// Nothing but `*-` pairs.
bool is_transformer(const Pattern& pattern);

std::string_view layer_kind_name(LayerKind kind);

// Whether a layer of this kind exists; the others are only words of the language so far.
bool is_buildable(LayerKind kind);

}  // namespace phalanx
