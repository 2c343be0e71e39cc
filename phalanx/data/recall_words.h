// File: phalanx/data/recall_words.h
//
// Purpose: the names and words that recall tasks are made of.
// Contract: fixed for good, as every made set depends on their order: nothing is inserted, removed or moved. Within a
//   list no word occurs twice. Each is one word of ASCII letters; names begin with a capital, words have none.
#pragma once

#include <span>
#include <string_view>

namespace phalanx {

std::span<const std::string_view> first_names();
std::span<const std::string_view> last_names();
std::span<const std::string_view> common_words();

}  // namespace phalanx
