// File: phalanx/data/words.h
//
// Purpose: the words of a line of settings, between spaces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

inline constexpr std::string_view kSpaces = " \t\r\n\v\f";

std::vector<std::string> words_of(std::string_view text);

}  // namespace phalanx
