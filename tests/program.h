// File: tests/program.h
//
// Purpose: runs the real binary as a user would, for tests of what it says, returns and leaves behind.
// Contract: the command goes through a shell; stdout and stderr come back apart.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "phalanx/base/fs.h"

namespace phalanx::testing {

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
};

inline Ran run_program(const std::string& arguments, const std::string& folder,
                       const std::string& prefix = "") {
  const std::string command = "cd '" + folder + "' && " + prefix + " '" PHALANX_BINARY "' " + arguments +
                              " > .stdout 2> .stderr < /dev/null";
  const int status = std::system(command.c_str());
  Ran result;
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = read_file(folder + "/.stdout");
  result.err = read_file(folder + "/.stderr");
  return result;
}

}  // namespace phalanx::testing
