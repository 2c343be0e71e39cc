// File: phalanx/arch/hf_json.h
//
// Purpose: JSON as Python writes it, where a number may be Infinity, -Infinity or NaN. JSON itself has no such numbers.
// Contract: each of the three words, outside strings, becomes the object {"__float__": "Infinity"} and so on, the form
//   in which transformers 5 writes them. Everything else is as in parse_json; places in its errors are those of the text
//   with the objects in it. json_number reads a number in either form.
// Source: transformers 5.23 configuration_utils.py (the tag), Python's json module (the words).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "phalanx/base/json.h"

namespace phalanx {

Json parse_hf_json(std::string_view text, const std::string& where);

// Nothing when `value` is no number.
std::optional<double> json_number(const Json& value);

// The number itself, or the object for one that JSON lacks.
Json hf_json_of(double value);

}  // namespace phalanx
