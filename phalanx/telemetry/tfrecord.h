// File: phalanx/telemetry/tfrecord.h
//
// Purpose: the TFRecord framing that TensorBoard event files use, and its checksum.
// Format: u64 length, u32 masked crc32c of the length's 8 bytes, payload, u32 masked crc32c of the payload;
// all little
//   endian. crc32c is Castagnoli's (reflected polynomial 0x82F63B78, initial value and final xor all ones);
//   masked = rotate_right(crc, 15) + 0xA282EAD8, so that a file of records does not checksum to a constant.
// Example: file.append(tfrecord(payload));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace phalanx {

uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);
std::string tfrecord(std::string_view payload);

}  // namespace phalanx
