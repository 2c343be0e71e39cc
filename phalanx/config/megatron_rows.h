// File: phalanx/config/megatron_rows.h
//
// Purpose: the words in which the rows of the Megatron tables are written. Included by those tables only.
// Contract: one constexpr maker for each action of megatron.h.
#pragma once

#include "phalanx/config/megatron.h"

namespace phalanx::megatron_rows {

constexpr MegatronFlag value(std::string_view flag, std::string_view key) {
  return {flag, MegatronAction::kValue, FlagKind::kValue, key, "", ""};
}
constexpr MegatronFlag turns(std::string_view flag, std::string_view key, std::string_view to) {
  return {flag, MegatronAction::kTurns, FlagKind::kSwitch, key, to, ""};
}
constexpr MegatronFlag implies(std::string_view flag, std::string_view key, std::string_view to) {
  return {flag, MegatronAction::kImplies, FlagKind::kSwitch, key, to, ""};
}
constexpr MegatronFlag choice(std::string_view flag, std::string_view key, std::string_view map,
                              std::string_view note) {
  return {flag, MegatronAction::kChoice, FlagKind::kValue, key, map, note};
}
constexpr MegatronFlag list(std::string_view flag, std::string_view key, std::string_view count = "") {
  return {flag, MegatronAction::kList, FlagKind::kWords, key, count, ""};
}
constexpr MegatronFlag only(std::string_view flag, std::string_view words, std::string_view note) {
  return {flag, MegatronAction::kOnly, FlagKind::kValue, "", words, note};
}
constexpr MegatronFlag always(std::string_view flag, std::string_view note) {
  return {flag, MegatronAction::kAlways, FlagKind::kSwitch, "", "", note};
}
constexpr MegatronFlag always_value(std::string_view flag, std::string_view note) {
  return {flag, MegatronAction::kAlways, FlagKind::kValue, "", "", note};
}
// Unsupported, by what the flag takes: nothing, one value, several words.
constexpr MegatronFlag no_switch(std::string_view flag, std::string_view note) {
  return {flag, MegatronAction::kUnsupported, FlagKind::kSwitch, "", "", note};
}
constexpr MegatronFlag no_value(std::string_view flag, std::string_view note) {
  return {flag, MegatronAction::kUnsupported, FlagKind::kValue, "", "", note};
}
constexpr MegatronFlag no_words(std::string_view flag, std::string_view note) {
  return {flag, MegatronAction::kUnsupported, FlagKind::kWords, "", "", note};
}

}  // namespace phalanx::megatron_rows
