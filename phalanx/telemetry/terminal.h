// File: phalanx/telemetry/terminal.h
//
// Purpose: what stderr is: a terminal that can rewrite its last line, or a pipe or file that cannot.
// Contract: is_terminal is false for a pipe, a file and TERM=dumb. columns is 80 where the terminal does not
// say. Example: ProgressLine line({.total_steps = n, .terminal = stderr_terminal()}, sink,
// monotonic_seconds);
#pragma once

namespace phalanx {

struct Terminal {
  bool is_terminal = false;
  int columns = 80;
};

Terminal stderr_terminal();

}  // namespace phalanx
