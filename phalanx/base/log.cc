#include "phalanx/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
    auto made = std::make_shared<spdlog::logger>("phalanx", sink);
    made->set_pattern("%H:%M:%S %^%l%$ %v");
    return made;
  }();
  return *instance;
}

}  // namespace

// The message is passed as an argument, not as a format: it may hold braces.
void log_debug(const std::string& message) {
  logger().debug("{}", message);
}
void log_info(const std::string& message) {
  logger().info("{}", message);
}
void log_warning(const std::string& message) {
  logger().warn("{}", message);
}
void log_error(const std::string& message) {
  logger().error("{}", message);
}

void set_log_level(const std::string& name) {
  const auto level = spdlog::level::from_str(name);
  if (level == spdlog::level::off && name != "off") {
    throw Error(ErrorKind::kUsage, {.where = "--log.level",
                                    .got = "'" + name + "'",
                                    .needed = "debug, info, warning, error or off",
                                    .fix = "use one of these names"});
  }
  logger().set_level(level);
}

}  // namespace phalanx
