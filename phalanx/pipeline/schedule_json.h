// File: phalanx/pipeline/schedule_json.h
//
// Purpose: schedules from and to JSON, so that one that nobody thought of can be simulated, drawn and executed.
// Contract: {"version":1,"kind","pp","chunks","micro_batches","placement":[[stage of chunk 0, 1, ..] per rank],
//   "ranks":[[{"op":"F|B|W|BW|send_f|recv_f|send_b|recv_b","mb","chunk","peer"}] per rank],"peak_stash":[per rank]},
//   indices from 0; "peer" on messages only; "forward_only":true where it is. Unknown keys, newer versions and wrong
//   types are errors that say where. Reading does not verify: read_schedule_file does. Memory is in proportion to the
//   text, whatever numbers it claims.
// Errors: Error(kBadInput), Error(kIo).
#pragma once

#include <string>
#include <string_view>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

std::string schedule_to_json(const Schedule& schedule);  // one action list a line
Schedule schedule_from_json(std::string_view text, const std::string& where);
Schedule read_schedule_file(const std::string& path);  // parsed and verified

}  // namespace phalanx
