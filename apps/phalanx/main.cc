#include <c10/util/Exception.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"

namespace phalanx::apps {
namespace {

struct Verb {
  const char* name;
  const char* help;
  int (*run)(const Arguments&);
};

constexpr Verb kVerbs[] = {
    {"train", "train a model, or go on with a run", run_train},
    {"verify-layout", "compare a layout with one rank for a few steps", run_verify_layout},
    {"generate", "write text with a model", run_generate},
    {"score", "log probabilities of given text or tokens", run_score},
    {"eval", "how well a model does a task", run_eval},
    {"checkpoint", "inspect, verify, import from and export to Hugging Face", run_checkpoint},
    {"data", "make and look at token files", run_data},
    {"schedule", "make, prove, compare and draw pipeline schedules", run_schedule},
    {"plan", "price a layout, rank all layouts, before a run", run_plan},
    {"plot", "curves of runs and reports as one picture", run_plot},
    {"bench", "measure this machine and this build", run_bench},
};

std::string usage() {
  std::string text =
      "phalanx " PHALANX_VERSION
      ": trains large language models over tensor, sequence, pipeline, context and data parallel ranks.\n\n"
      "usage: phalanx VERB [options]      (phalanx VERB --help says more)\n\n";
  for (const Verb& verb : kVerbs) {
    text += "  " + std::string(verb.name) + std::string(15 - std::string(verb.name).size(), ' ') + verb.help +
            "\n";
  }
  return text +
         "\nexample: phalanx train --preset tiny --mock-data --train.train_iters=20 --run-dir runs/first\n";
}

// Activations are megabytes that come and go every layer: keep them in the heap instead of mapping and unmapping pages.
void keep_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
}

// -h is never the value of a flag (config/flags.h), so up to a lone -- it can be spelled out for every verb.
Arguments with_long_help(Arguments args) {
  std::replace(args.begin(), std::find(args.begin(), args.end(), "--"), std::string("-h"),
               std::string("--help"));
  return args;
}

bool says_out_of_memory(const std::string& message) {
  const std::array phrases = {"not enough memory", "out of memory", "can't allocate memory"};
  return std::any_of(phrases.begin(), phrases.end(),
                     [&message](const char* phrase) { return message.find(phrase) != std::string::npos; });
}

int out_of_memory() {
  std::fprintf(
      stderr,
      "error: memory: got none; needed more for this size. Fix: a smaller model, micro-batch or text\n");
  return static_cast<int>(ErrorKind::kIo);
}

int internal_error(const std::string& message) {
  std::fprintf(stderr, "internal error, please report it: %s\n",
               message.substr(0, message.find('\n')).c_str());
  return 70;
}

int dispatch(const Arguments& args) {
  if (args.empty()) {
    std::fputs(usage().c_str(), stderr);
    return 2;
  }
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    print_line(usage());
    return 0;
  }
  if (args[0] == "--version") {
    print_line("phalanx " PHALANX_VERSION);
    return 0;
  }
  std::vector<std::string> names;
  for (const Verb& verb : kVerbs) {
    if (args[0] == verb.name) return verb.run(Arguments(args.begin() + 1, args.end()));
    names.push_back(verb.name);
  }
  const std::string near = nearest_name(args[0], names);
  throw Error(
      ErrorKind::kUsage,
      {.where = "phalanx",
       .got = "the verb '" + args[0] + "'",
       .needed =
           "one of train, verify-layout, generate, score, eval, checkpoint, data, schedule, plan, plot, "
           "bench",
       .fix = near.empty() ? "phalanx --help" : "did you mean " + near + "?"});
}

}  // namespace

std::string sub_verb(const std::string& verb, const Arguments& args, const std::vector<std::string>& known) {
  if (!args.empty() && (args[0] == "--help" || args[0] == "-h")) return "--help";
  if (!args.empty() && std::find(known.begin(), known.end(), args[0]) != known.end()) return args[0];
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  throw Error(ErrorKind::kUsage, {.where = "phalanx " + verb,
                                  .got = args.empty() ? "no word after it" : "'" + args[0] + "'",
                                  .needed = "one of " + list,
                                  .fix = "phalanx " + verb + " --help"});
}

void print_text(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  throw Error(ErrorKind::kIo, {.where = "stdout",
                               .got = std::string("write failed: ") + std::strerror(errno),
                               .needed = "room for the result",
                               .fix = "send it elsewhere"});
}

void print_line(const std::string& text) {
  print_text(text.empty() || text.back() != '\n' ? text + '\n' : text);
}

}  // namespace phalanx::apps

int main(int argc, char** argv) {
  namespace apps = phalanx::apps;
  apps::keep_memory();
  // A file that may not grow (ulimit -f) is a write that fails, with a message, instead of a signal that kills.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return apps::dispatch(apps::with_long_help({argv + 1, argv + argc}));
  } catch (const phalanx::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.exit_code();
  } catch (const std::bad_alloc&) {
    return apps::out_of_memory();
  } catch (const c10::Error& e) {
    // what() would add a stack trace.
    const std::string message = e.what_without_backtrace();
    return apps::says_out_of_memory(message) ? apps::out_of_memory() : apps::internal_error(message);
  } catch (const std::exception& e) {
    return apps::internal_error(e.what());
  }
}
