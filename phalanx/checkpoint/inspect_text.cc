// The description of a checkpoint as people read it.
#include <fmt/format.h>

#include "phalanx/checkpoint/inspect.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

std::string counted(size_t n, const std::string& what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string model_line(const Json& model) {
  std::string line = "  model ";
  const ModelConfig defaults;
  const Json plain = model_section(defaults)["model"];
  const char* separator = "";
  for (const auto& [key, value] : model.items()) {
    if (plain[key] == value) continue;
    line +=
        fmt::format("{}{} {}", separator, key, value.is_string() ? value.get<std::string>() : value.dump());
    separator = ", ";
  }
  return line + "\n";
}

std::string tensor_line(const Json& tensor) {
  std::string line = fmt::format("    {:<52} {:<5} {}", tensor["name"].get<std::string>(),
                                 tensor["dtype"].get<std::string>(), to_string(tensor["shape"].get<Shape>()));
  if (tensor["boxes"].size() == 1) return line + "  " + tensor["boxes"][0]["file"].get<std::string>() + "\n";
  line += fmt::format("  {} boxes\n", tensor["boxes"].size());
  for (const Json& box : tensor["boxes"]) {
    line += fmt::format("      {}  {}\n", to_string(Box{box["begin"].get<Shape>(), box["end"].get<Shape>()}),
                        box["file"].get<std::string>());
  }
  return line;
}

}  // namespace

std::string weights_text(const Json& d) {
  std::string text = fmt::format("{} {}\n", d["kind"].get<std::string>(), d["path"].get<std::string>());
  text += fmt::format("  {} parameters ({}), {}, {} in {}", d["parameters"].get<int64_t>(),
                      human_count(d["parameters"].get<double>()), counted(d["tensors"].size(), "tensor"),
                      human_bytes(d["bytes"].get<double>()), counted(d["files"].size(), "file"));
  if (!d["step"].is_null()) text += ", step " + d["step"].dump();
  const Json& metadata = d["metadata"];
  if (metadata.is_object() && metadata.contains("kind") && metadata["kind"].is_string()) {
    text += ", made by " + metadata["kind"].get<std::string>();
  }
  text += "\n";
  if (!d["model"].is_null()) text += model_line(d["model"]);
  if (d.contains("problem")) text += "  cannot be imported: " + d["problem"].get<std::string>() + "\n";
  text += "  files\n";
  for (const Json& file : d["files"]) {
    text += fmt::format("    {:<52} {}{}\n", file["name"].get<std::string>(),
                        human_bytes(file["size"].get<double>()),
                        file.contains("xxh3") ? "  xxh3 " + file["xxh3"].get<std::string>() : "");
  }
  text += "  tensors\n";
  for (const Json& tensor : d["tensors"]) text += tensor_line(tensor);
  return text;
}

}  // namespace phalanx
