#include "phalanx/tokenizer/encode_speed.h"

#include "phalanx/base/clock.h"

namespace phalanx {

TokenizerBenchResult bench_encode(const TokenizerOptions& options, std::span<const std::string> texts) {
  TokenizerBenchResult result;
  const double start = monotonic_seconds();
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options);
  const std::unique_ptr<TextEncoder> encoder = tokenizer->make_encoder();
  const double loaded = monotonic_seconds();
  std::vector<int32_t> ids;
  uint64_t place = 0;
  for (const std::string& text : texts) {
    ids.clear();
    encoder->encode(text, ids);
    for (const int32_t id : ids) result.checksum += ++place * static_cast<uint64_t>(id);
    result.bytes += static_cast<int64_t>(text.size());
  }
  result.encode_seconds = monotonic_seconds() - loaded;
  result.load_seconds = loaded - start;
  result.texts = static_cast<int64_t>(texts.size());
  result.tokens = static_cast<int64_t>(place);
  return result;
}

}  // namespace phalanx
