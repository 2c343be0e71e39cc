#include "phalanx/data/fim.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"

namespace phalanx {
namespace {

double checked_rate(double rate, const char* setting) {
  if (!(rate >= 0 && rate <= 1))
    bad_input(setting, fmt::format("{}", rate), "a share in [0, 1]", "change the setting");
  return rate;
}

// Where each character begins, and the end.
std::vector<size_t> character_borders(std::string_view text) {
  std::vector<size_t> borders;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) borders.push_back(i);
  }
  if (borders.empty() || borders[0] != 0) borders.insert(borders.begin(), 0);
  if (!text.empty()) borders.push_back(text.size());
  return borders;
}

// Calls visit(piece, ended) for what lies before each `border` token and behind the last one.
template <typename F>
void for_each_piece(std::span<const int64_t> tokens, int64_t border, const F& visit) {
  size_t begin = 0;
  while (true) {
    const auto at = std::find(tokens.begin() + static_cast<int64_t>(begin), tokens.end(), border);
    const auto end = static_cast<size_t>(at - tokens.begin());
    visit(tokens.subspan(begin, end - begin), at != tokens.end());
    if (at == tokens.end()) return;
    begin = end + 1;
  }
}

}  // namespace

// One word a draw: the step of the counter is the sample, the layer the part.
class FillInTheMiddle::Draws {
 public:
  Draws(const FimOptions& o, int64_t sample)
      : key_{.seed = o.seed, .purpose = RandomPurpose::kFillInTheMiddle, .step = sample, .layer = o.part} {}

  bool happens(double rate) { return philox_uniform(key_, next_++) < rate; }
  // Uniform in [0, max].
  size_t up_to(size_t max) {
    return static_cast<size_t>((static_cast<unsigned __int128>(philox_u32(key_, next_++)) * (max + 1)) >> 32);
  }

 private:
  RandomKey key_;
  uint64_t next_ = 0;
};

int64_t find_token(const Tokenizer& tokenizer, const std::string& text, const std::string& setting) {
  const bool digits =
      !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  if (digits) {
    const int64_t id = std::stoll(text);
    if (id < tokenizer.vocab_size()) return id;
    bad_input(setting, fmt::format("token id {}", id), fmt::format("an id below {}", tokenizer.vocab_size()),
              "use an id of the tokenizer");
  }
  std::vector<int32_t> ids;
  try {
    ids = tokenizer.encode_with(text, {.special = true});
  } catch (const Error& e) {
    bad_input(setting, fmt::format("'{}': {}", text, e.what()), "a token of the tokenizer",
              "name a token or its id");
  }
  if (ids.size() == 1) return ids[0];
  bad_input(setting, fmt::format("'{}', which is {} tokens of {}", text, ids.size(), tokenizer.name()),
            "one token", "add it to the tokenizer, or name another token or its id");
}

FimOptions fim_options(const DataConfig& c, const Tokenizer& tokenizer, uint64_t seed, int32_t part) {
  FimOptions o{.rate = checked_rate(c.fim_rate, "data.fim_rate"),
               .spm_rate = checked_rate(c.fim_spm_rate, "data.fim_spm_rate"),
               .no_prefix = c.fim_no_prefix,
               .seed = seed,
               .part = part};
  if (!c.fim_split_sample.empty()) {
    if (!c.fim_fragment_rate) {
      bad_input("data.fim_split_sample", "no data.fim_fragment_rate",
                "the share of fragments to turn where a document is cut", "set it (--fim-fragment-rate)");
    }
    o.fragment_rate = checked_rate(*c.fim_fragment_rate, "data.fim_fragment_rate");
    o.split_token = find_token(tokenizer, c.fim_split_sample, "data.fim_split_sample");
  }
  o.prefix = find_token(tokenizer, c.fim_prefix_token, "data.fim_prefix_token");
  o.middle = find_token(tokenizer, c.fim_middle_token, "data.fim_middle_token");
  o.suffix = find_token(tokenizer, c.fim_suffix_token, "data.fim_suffix_token");
  o.pad = find_token(tokenizer, c.fim_pad_token, "data.fim_pad_token");
  o.eod = find_token(tokenizer, c.fim_eod_token, "data.fim_eod_token");
  return o;
}

void FillInTheMiddle::append_text(std::string_view text, Tokens& out) const {
  const std::vector<int32_t> ids = tokenizer_.encode(text);
  out.insert(out.end(), ids.begin(), ids.end());
}

void FillInTheMiddle::turn(std::span<const int64_t> piece, double rate, Draws& draws, Tokens& out) const {
  if (piece.empty()) return;
  const bool turned = draws.happens(rate);
  const std::string text = turned ? tokenizer_.decode(std::vector<int32_t>(piece.begin(), piece.end())) : "";
  if (!turned || (!options_.no_prefix.empty() && text.starts_with(options_.no_prefix))) {
    out.insert(out.end(), piece.begin(), piece.end());
    return;
  }
  const std::vector<size_t> borders = character_borders(text);
  const size_t one = borders[draws.up_to(borders.size() - 1)];
  const size_t two = borders[draws.up_to(borders.size() - 1)];
  const auto [a, b] = std::minmax(one, two);
  const std::string_view all = text;
  const bool suffix_first = draws.happens(options_.spm_rate);
  out.push_back(options_.prefix);
  if (!suffix_first) append_text(all.substr(0, a), out);
  out.push_back(options_.suffix);
  append_text(all.substr(b), out);
  out.push_back(options_.middle);
  if (suffix_first) append_text(all.substr(0, a), out);
  append_text(all.substr(a, b - a), out);
}

void FillInTheMiddle::turn_document(std::span<const int64_t> piece, Draws& draws, Tokens& out) const {
  const auto split = options_.split_token;
  if (!split || std::find(piece.begin(), piece.end(), *split) == piece.end()) {
    turn(piece, options_.rate, draws, out);
    return;
  }
  if (!draws.happens(options_.rate)) {
    out.insert(out.end(), piece.begin(), piece.end());
    return;
  }
  for_each_piece(piece, *split, [&](std::span<const int64_t> fragment, bool ended) {
    turn(fragment, options_.fragment_rate, draws, out);
    if (ended) out.push_back(*split);
  });
}

void FillInTheMiddle::apply(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const {
  PHALANX_CHECK(tokens.size() == label_mask.size() + 1, "S + 1 tokens and S label masks");
  Draws draws(options_, sample);
  Tokens out;
  for_each_piece(tokens, options_.eod, [&](std::span<const int64_t> piece, bool ended) {
    turn_document(piece, draws, out);
    if (ended) out.push_back(options_.eod);
  });
  const size_t made = out.size();
  out.resize(tokens.size(), options_.pad);
  std::copy(out.begin(), out.end(), tokens.begin());
  for (size_t i = made; i < tokens.size(); ++i) {
    if (i > 0) label_mask[i - 1] = 0;
  }
}

}  // namespace phalanx
