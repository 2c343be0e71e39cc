#include "phalanx/tokenizer/tokenizer_json_sax.h"

#include <unordered_set>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxFields = 4096;  // of an object that is no vocab; Json looks its keys up one by one

class Handler final : public nlohmann::json_sax<Json> {
 public:
  // root_is_vocab: the file is a vocab and nothing else.
  Handler(const std::string& where, bool root_is_vocab) : where_(where), root_is_vocab_(root_is_vocab) {}

  RawTokenizerJson take() { return std::move(raw_); }

  bool null() override { return value(Json()); }
  bool boolean(bool v) override { return value(Json(v)); }
  bool number_integer(number_integer_t v) override { return number(Json(v), v, true); }
  bool number_unsigned(number_unsigned_t v) override {
    return number(Json(v), static_cast<int64_t>(v), v < static_cast<uint64_t>(kLargestVocab));
  }
  bool number_float(number_float_t v, const string_t&) override { return value(Json(v)); }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& v) override {
    if (mode_ == Mode::kMerge) {
      merge_.push_back(std::move(v));
      return true;
    }
    if (mode_ != Mode::kMerges) return value(Json(v));
    const size_t space = v.find(' ');
    if (space == std::string::npos || v.find(' ', space + 1) != std::string::npos) {
      fail(field(), fmt::format("'{}'", v), "two tokens with a space between them");
    }
    raw_.merges.emplace_back(v.substr(0, space), v.substr(space + 1));
    return true;
  }

  bool start_object(size_t) override {
    if (mode_ == Mode::kDocument && (path_is("model", "vocab") || (root_is_vocab_ && stack_.empty()))) {
      if (raw_.has_vocab) fail(field(), "the field a second time", "it once");
      raw_.has_vocab = true;
      mode_ = Mode::kVocab;
      return true;
    }
    if (mode_ == Mode::kDocument) {
      open(Json::object());
      return true;
    }
    return value(Json::object());
  }

  bool end_object() override {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kDocument;
    } else {
      stack_.pop_back();
    }
    return true;
  }

  bool start_array(size_t) override {
    if (mode_ == Mode::kDocument && path_is("model", "merges")) {
      if (raw_.has_merges) fail(field(), "the field a second time", "it once");
      raw_.has_merges = true;
      mode_ = Mode::kMerges;
      return true;
    }
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kMerge;
      merge_.clear();
      return true;
    }
    if (mode_ == Mode::kDocument) {
      open(Json::array());
      return true;
    }
    return value(Json::array());
  }

  bool end_array() override {
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kDocument;
    } else if (mode_ == Mode::kMerge) {
      if (merge_.size() != 2) fail(field(), fmt::format("{} tokens", merge_.size()), "two tokens");
      raw_.merges.emplace_back(std::move(merge_[0]), std::move(merge_[1]));
      mode_ = Mode::kMerges;
    } else {
      stack_.pop_back();
    }
    return true;
  }

  bool key(string_t& k) override {
    key_ = std::move(k);
    if (mode_ != Mode::kDocument) return true;
    if (stack_.back().value->contains(key_) || seen_large(key_))
      fail(field(), "the field a second time", "it once");
    if (stack_.back().value->size() >= kMaxFields) {
      fail(field(), fmt::format("an object of more than {} fields", kMaxFields), "a field of a tokenizer");
    }
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    fail(where_, e.what(), "valid JSON");
  }

 private:
  enum class Mode { kDocument, kVocab, kMerges, kMerge };
  struct Level {
    Json* value;
    std::string key;  // of this value in the one above
  };

  [[noreturn]] static void fail(const std::string& where, const std::string& got, const std::string& needed) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = got.substr(0, 300),
                                       .needed = needed,
                                       .fix = "check the file; it may be of another kind or cut short"});
  }

  std::string field() const {
    std::string text = where_ + ":";
    for (size_t i = 1; i < stack_.size(); ++i) text += (i == 1 ? " " : ".") + stack_[i].key;
    if (mode_ == Mode::kMerges || mode_ == Mode::kMerge)
      return text + fmt::format(".merges[{}]", raw_.merges.size());
    if (mode_ == Mode::kVocab) return text + fmt::format("{}vocab['{}']", stack_.empty() ? " " : ".", key_);
    return text + (stack_.size() > 1 ? "." : " ") + key_;
  }

  bool path_is(std::string_view first, std::string_view second) const {
    return stack_.size() == 2 && stack_[1].key == first && stack_[1].value->is_object() && key_ == second;
  }
  bool seen_large(const std::string& key) const {
    return stack_.size() == 2 && stack_[1].key == "model" &&
           ((key == "vocab" && raw_.has_vocab) || (key == "merges" && raw_.has_merges));
  }

  bool number(Json json, int64_t v, bool fits) {
    if (mode_ != Mode::kVocab) return value(std::move(json));
    if (!fits || v < 0 || v >= kLargestVocab) {
      fail(field(), json.dump(), fmt::format("an id from 0 to {}", kLargestVocab - 1));
    }
    raw_.vocab.emplace_back(std::move(key_), static_cast<int32_t>(v));
    return true;
  }

  bool value(Json json) {
    if (mode_ == Mode::kVocab) fail(field(), json.dump(), "an id");
    if (mode_ != Mode::kDocument) fail(field(), json.dump(), "two tokens");
    add(std::move(json));
    return true;
  }

  Json* add(Json json) {
    if (stack_.empty()) {
      raw_.rest = std::move(json);
      return &raw_.rest;
    }
    Json& parent = *stack_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(json));
      return &parent.back();
    }
    return &(parent[key_] = std::move(json));
  }

  void open(Json json) {
    if (stack_.size() >= kMaxDepth) {
      fail(where_, fmt::format("nesting deeper than {}", kMaxDepth), "a tokenizer.json");
    }
    Json* const value = add(std::move(json));
    stack_.push_back({value, key_});
  }

  const std::string where_;
  const bool root_is_vocab_;
  RawTokenizerJson raw_;
  Mode mode_ = Mode::kDocument;
  std::vector<Level> stack_;
  std::string key_;
  std::vector<std::string> merge_;
};

RawTokenizerJson parse(std::string_view text, const std::string& where, bool root_is_vocab) {
  Handler handler(where, root_is_vocab);
  Json::sax_parse(text.begin(), text.end(), &handler);
  return handler.take();
}

}  // namespace

RawTokenizerJson parse_raw_tokenizer_json(std::string_view text, const std::string& where) {
  RawTokenizerJson raw = parse(text, where, false);
  if (!raw.rest.is_object()) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("a JSON {}", raw.rest.type_name()),
                                       .needed = "a JSON object",
                                       .fix = "give a tokenizer.json of Hugging Face tokenizers"});
  }
  return raw;
}

std::vector<std::pair<std::string, int32_t>> parse_vocab_json(std::string_view text,
                                                              const std::string& where) {
  RawTokenizerJson raw = parse(text, where, true);
  if (!raw.has_vocab) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("a JSON {}", raw.rest.type_name()),
                                       .needed = "an object of tokens and ids",
                                       .fix = "give GPT-2's vocab.json"});
  }
  return std::move(raw.vocab);
}

}  // namespace phalanx
