// File: phalanx/tokenizer/unicode_newer.h
//
// Purpose: letters, numbers and marks that Unicode 15.1 and 16.0 assigned, which utf8proc 2.8 (15.0) does not know.
// Contract: used by the generator of the class table and by its test only. Sorted; 48 ranges, 5055 code points.
// Source: every code point asked of Hugging Face tokenizers 0.23.3 and tiktoken 0.14, which agree; the ranges are where
//   utf8proc 2.8 says "unassigned" and they say otherwise. Nowhere else do they differ from it.
// See: tools/make_unicode_classes.cc
#pragma once

#include <array>
#include <cstdint>

#include "phalanx/tokenizer/unicode_class.h"

namespace phalanx {

struct NewerRange {
  uint32_t first = 0;
  uint32_t last = 0;
  UnicodeClass kind = UnicodeClass::kOther;
};

inline constexpr std::array<NewerRange, 48> kNewerRanges{{
    {0x0897, 0x0897, UnicodeClass::kMark},       {0x1C89, 0x1C89, UnicodeClass::kUpper},
    {0x1C8A, 0x1C8A, UnicodeClass::kLower},      {0xA7CB, 0xA7CC, UnicodeClass::kUpper},
    {0xA7CD, 0xA7CD, UnicodeClass::kLower},      {0xA7DA, 0xA7DA, UnicodeClass::kUpper},
    {0xA7DB, 0xA7DB, UnicodeClass::kLower},      {0xA7DC, 0xA7DC, UnicodeClass::kUpper},
    {0x105C0, 0x105F3, UnicodeClass::kCaseless}, {0x10D40, 0x10D49, UnicodeClass::kNumber},
    {0x10D4A, 0x10D4F, UnicodeClass::kCaseless}, {0x10D50, 0x10D65, UnicodeClass::kUpper},
    {0x10D69, 0x10D6D, UnicodeClass::kMark},     {0x10D6F, 0x10D6F, UnicodeClass::kCaseless},
    {0x10D70, 0x10D85, UnicodeClass::kLower},    {0x10EC2, 0x10EC4, UnicodeClass::kCaseless},
    {0x10EFC, 0x10EFC, UnicodeClass::kMark},     {0x11380, 0x11389, UnicodeClass::kCaseless},
    {0x1138B, 0x1138B, UnicodeClass::kCaseless}, {0x1138E, 0x1138E, UnicodeClass::kCaseless},
    {0x11390, 0x113B5, UnicodeClass::kCaseless}, {0x113B7, 0x113B7, UnicodeClass::kCaseless},
    {0x113B8, 0x113C0, UnicodeClass::kMark},     {0x113C2, 0x113C2, UnicodeClass::kMark},
    {0x113C5, 0x113C5, UnicodeClass::kMark},     {0x113C7, 0x113CA, UnicodeClass::kMark},
    {0x113CC, 0x113D0, UnicodeClass::kMark},     {0x113D1, 0x113D1, UnicodeClass::kCaseless},
    {0x113D2, 0x113D2, UnicodeClass::kMark},     {0x113D3, 0x113D3, UnicodeClass::kCaseless},
    {0x113E1, 0x113E2, UnicodeClass::kMark},     {0x116D0, 0x116E3, UnicodeClass::kNumber},
    {0x11BC0, 0x11BE0, UnicodeClass::kCaseless}, {0x11BF0, 0x11BF9, UnicodeClass::kNumber},
    {0x11F5A, 0x11F5A, UnicodeClass::kMark},     {0x13460, 0x143FA, UnicodeClass::kCaseless},
    {0x16100, 0x1611D, UnicodeClass::kCaseless}, {0x1611E, 0x1612F, UnicodeClass::kMark},
    {0x16130, 0x16139, UnicodeClass::kNumber},   {0x16D40, 0x16D6C, UnicodeClass::kCaseless},
    {0x16D70, 0x16D79, UnicodeClass::kNumber},   {0x18CFF, 0x18CFF, UnicodeClass::kCaseless},
    {0x1CCF0, 0x1CCF9, UnicodeClass::kNumber},   {0x1E5D0, 0x1E5ED, UnicodeClass::kCaseless},
    {0x1E5EE, 0x1E5EF, UnicodeClass::kMark},     {0x1E5F0, 0x1E5F0, UnicodeClass::kCaseless},
    {0x1E5F1, 0x1E5FA, UnicodeClass::kNumber},   {0x2EBF0, 0x2EE5D, UnicodeClass::kCaseless},
}};

}  // namespace phalanx
