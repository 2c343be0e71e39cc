// Every folder of tests/fixtures/hf against what Hugging Face computes from it (tests/fixtures/README.md): log
// probabilities, loss, every gradient, greedy tokens through the cache; then the way back: export and import again.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>

#include "phalanx/arch/pattern.h"
#include "phalanx/checkpoint/hf_export.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/hf_import.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/test_folders.h"
#include "phalanx/checkpoint/tokenizer_files.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/infer/generate.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx {
namespace {

using testing::fixture;
using testing::relative_error;
using testing::same_bits;
using testing::TestModel;

constexpr int64_t kPrompt = 8;
constexpr size_t kNumFixtures = 20;

std::vector<std::string> fixture_names() {
  std::vector<std::string> names = names_in(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/hf");
  EXPECT_EQ(names.size(), kNumFixtures);
  return names;
}

// What Hugging Face says of a folder.
class Expected {
 public:
  explicit Expected(const std::string& name) : file_(fixture(name) + "/expected.safetensors") {}
  Tensor at(const std::string& key) const {
    const SafetensorsEntry& entry = file_.at(key);
    return tensor_over(file_.bytes(entry), entry.dtype, entry.shape);
  }
  bool has(const std::string& key) const { return file_.find(key) != nullptr; }
  const std::string& path() const { return file_.path(); }

 private:
  SafetensorsFile file_;
};

std::vector<int64_t> values_of(const Tensor& ids) {
  const Tensor flat = ids.contiguous();
  return {flat.const_data_ptr<int64_t>(), flat.const_data_ptr<int64_t>() + flat.numel()};
}

// The folder's function of the tokens; the fixtures were computed without dropout.
ModelConfig without_dropout(const HfFolder& folder) {
  ModelConfig config = folder.config();
  config.hidden_dropout = 0;
  config.attention_dropout = 0;
  return config;
}

std::unique_ptr<TestModel> load(const HfFolder& folder, at::ScalarType dtype) {
  auto holder = std::make_unique<TestModel>(without_dropout(folder), dtype);
  load_hf_weights(folder, holder->model);
  return holder;
}

struct Result {
  Tensor logprobs;
  double loss = 0;
};

// Forward and backward of the mean loss, as a train step does them; gradients stay in main_grad.
Result run(Model& model, const Tensor& ids) {
  const int64_t samples = ids.size(0);
  const int64_t length = ids.size(1) - 1;
  HostBatch host{.num_samples = samples, .first_sample = 0};
  host.tokens = values_of(ids.narrow(1, 0, length));
  host.labels = values_of(ids.narrow(1, 1, length));
  host.label_mask.assign(host.tokens.size(), 1);
  host.position = values_of(at::arange(length, at::kLong).repeat({samples}));
  for (Parameter* parameter : model.parameters()) {
    parameter->main_grad = at::full(parameter->data.sizes(), std::nan(""), accumulator_of(model.dtype()));
  }
  const double weight = 1.0 / static_cast<double>(count_labels({host}));
  const Batch batch = make_batch(host, length, {}, weight, /*training=*/true, model);
  Side side;
  Stash stash;
  WeightGrads grads;
  const Tensor nll = model.forward(batch, side, stash);
  model.backward(batch.loss_weight, batch, side, stash, grads);
  return {nll.neg().view({samples, length}), nll.to(at::kDouble).sum().item<double>() * weight};
}

double distance(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Main gradients by logical tensor, then put together as Hugging Face stores the tensor.
double worst_gradient(Model& model, const HfFolder& folder, const Expected& expected, size_t& compared) {
  std::map<std::string, Tensor> logical;
  for (const Parameter* parameter : model.parameters()) {
    for (const Segment& segment : parameter->segments) {
      logical[segment.name] = view_of(parameter->main_grad, segment.local_box);
    }
  }
  std::map<std::string, std::vector<HfMapping>> by_name;
  for (HfMapping& mapping : hf_mapping(folder.config(), folder.family(), folder.table())) {
    by_name[mapping.hf_name].push_back(std::move(mapping));
  }
  double worst = 0;
  for (const auto& [name, mappings] : by_name) {
    std::vector<Tensor> parts;
    for (const HfMapping& mapping : mappings) parts.push_back(logical.at(mapping.logical));
    Tensor grad = at::cat(parts, 0);
    if (mappings.front().transpose) grad = grad.t();
    if (mappings.front().unit_middle) grad = grad.unsqueeze(1);
    const double error = relative_error(grad, expected.at("grad." + name));
    EXPECT_LT(error, 1e-4) << "gradient of " << name;
    worst = std::max(worst, error);
    ++compared;
  }
  return worst;
}

TEST(HfParity, LogProbabilitiesLossAndGradients) {
  size_t models = 0;
  size_t gradients = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const Expected expected(name);
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const bool wide = dtype == at::kDouble;
      if (wide && !expected.has("logprobs_fp64")) continue;
      const auto holder = load(folder, dtype);
      const Result result = run(holder->model, expected.at("ids"));
      const double bar = wide ? 1e-9 : 2e-5;
      const double error = distance(result.logprobs, expected.at(wide ? "logprobs_fp64" : "logprobs"));
      EXPECT_LT(error, bar);
      EXPECT_NEAR(result.loss, expected.at(wide ? "loss_fp64" : "loss").to(at::kDouble).item<double>(), bar);
      double worst = 0;
      if (expected.has("grad." + hf_mapping(folder.config(), folder.family(), folder.table())[0].hf_name)) {
        worst = worst_gradient(holder->model, folder, expected, gradients);
      }
      fmt::print("  {:<15} {}  log probability {:.1e}  gradient {:.1e}\n", name, dtype_word(dtype), error,
                 worst);
      ++models;
    }
  }
  fmt::print("compared {} models (a folder and a dtype each) and {} gradients\n", models, gradients);
  EXPECT_GE(models, 34U);
  EXPECT_GE(gradients, 2 * 15 * 20U);
}

// A chunk of these models is 8 tokens: one whole, one whole and a part, three whole.
TEST(HfParity, LengthsAroundAChunk) {
  size_t compared = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const Expected expected(name);
    const HfFolder folder(fixture(name));
    for (const int64_t length : {8, 13, 24}) {
      const std::string key = length == 24 ? "logprobs" : fmt::format("logprobs_{}", length);
      if (!has_mamba(parse_pattern(folder.config().pattern)) || !expected.has(key)) continue;
      const auto holder = load(folder, at::kFloat);
      const Result result = run(holder->model, expected.at("ids").narrow(1, 0, length));
      EXPECT_LT(distance(result.logprobs, expected.at(key)), 2e-5) << length;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 3 * 8U);
}

TEST(HfParity, ScoreGivesTheSameLogProbabilities) {
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const Expected expected(name);
    const auto holder = load(folder, at::kFloat);
    for (int64_t row = 0; row < 2; ++row) {
      const std::vector<double> got = score(holder->model, values_of(expected.at("ids")[row]));
      EXPECT_LT(distance(at::tensor(got, at::kDouble), expected.at("logprobs")[row]), 2e-5);
    }
  }
}

TEST(HfParity, GreedyTokensThroughTheCache) {
  size_t rows = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const Expected expected(name);
    const auto holder = load(folder, at::kFloat);
    for (int64_t row = 0; row < 2; ++row) {
      const std::vector<int64_t> wanted = values_of(expected.at("greedy")[row]);
      GenerateOptions options;
      options.sampling.temperature = 0;
      options.max_tokens = static_cast<int64_t>(wanted.size()) - kPrompt;
      const std::vector<int64_t> made =
          generate(holder->model, std::span(wanted).first(kPrompt), options, [](int64_t) { return true; });
      EXPECT_EQ(made, std::vector<int64_t>(wanted.begin() + kPrompt, wanted.end())) << "row " << row;
      ++rows;
    }
  }
  fmt::print("compared the greedy tokens of {} rows\n", rows);
}

void expect_same_weights(const HfFolder& a, const HfFolder& b) {
  EXPECT_EQ(a.family(), b.family());
  EXPECT_EQ(a.config(), b.config());
  EXPECT_EQ(a.dtype(), b.dtype());
  for (const LogicalTensor* tensor : a.table().logical_tensors()) {
    EXPECT_TRUE(same_bits(a.tensor(tensor->name), b.tensor(tensor->name))) << tensor->name;
  }
}

TEST(HfParity, ExportOfAModelComesBackBitForBit) {
  const TemporaryDirectory directory;
  size_t shards = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const auto holder = load(folder, folder.dtype());
    for (const uint64_t max_bytes : {uint64_t{5'000'000'000}, uint64_t{20'000}}) {
      const std::string out = directory.path() + "/" + name + std::to_string(max_bytes);
      const HfExportReport report =
          export_hf(folder.config(), weights_of(holder->model), out,
                    {.family = folder.family(), .dtype = folder.dtype(), .max_shard_bytes = max_bytes});
      expect_same_weights(HfFolder(out), folder);
      shards += report.weight_files.size();
    }
  }
  EXPECT_GT(shards, 3 * kNumFixtures);
}

// Folder -> checkpoint -> folder.
std::string round_trip(const HfFolder& folder, const std::string& checkpoint, const std::string& out) {
  import_hf(folder, checkpoint, {});
  CheckpointReader reader(checkpoint);
  export_hf(stored_model_config(reader), weights_of(reader, folder.dtype()), out,
            {.family = folder.family(),
             .dtype = folder.dtype(),
             .token_ids = folder.token_ids(),
             .generation_config = folder.generation_config(),
             .tokenizer_files = tokenizer_files(checkpoint + "/" + kTokenizerFolder, "")});
  return out;
}

// The Hub leaves `transformer.` out of gpt2's; the other two have old or new names for what we write.
std::string name_on_hub(const std::string& fixture, const std::string& written) {
  const auto replaced = [&](const std::string& from, const std::string& to) {
    const size_t at = written.find(from);
    return at == std::string::npos ? written : std::string(written).replace(at, from.size(), to);
  };
  if (fixture == "gpt2_hub") return replaced("transformer.", "");
  if (fixture == "mamba_hub") return replaced("embeddings.", "embedding.");
  return fixture == "nemotron_h_hub" ? replaced("backbone.", "model.") : written;
}

TEST(HfParity, EveryTensorOfAFolderReturnsThroughACheckpoint) {
  const TemporaryDirectory directory;
  size_t tensors = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const std::string out =
        round_trip(folder, directory.path() + "/" + name, directory.path() + "/" + name + "_out");
    const HfFolder again(out);
    expect_same_weights(again, folder);
    EXPECT_EQ(again.token_ids(), folder.token_ids());
    EXPECT_EQ(again.generation_config(), folder.generation_config());
    for (const ExtraFile& file : tokenizer_files(folder.path(), "")) {
      EXPECT_EQ(read_file(out + "/" + file.name), file.bytes);
    }
    // By their names, without our map in between.
    for (const HfTensorInfo& tensor : again.files().tensors()) {
      const std::string theirs = name_on_hub(name, tensor.name);
      EXPECT_TRUE(same_bits(again.files().tensor(tensor.name), folder.files().tensor(theirs))) << tensor.name;
      ++tensors;
    }
  }
  fmt::print("{} tensors returned bit for bit\n", tensors);
  EXPECT_GT(tensors, 200U);
}

std::string quoted(const std::string& word) {
  return "'" + word + "'";
}

// The last line that a program prints; fails the test when it does not end well.
Json json_of_command(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
  const int status = ::pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command << "\n" << text;
  while (text.ends_with('\n')) text.pop_back();
  const std::string last = text.substr(text.rfind('\n') + 1);
  return last.starts_with('{') ? parse_json(last, command) : Json::object();
}

// from_pretrained does not know the names of mamba_hub, whose weights are those of mamba.
TEST(HfParity, SlowTransformersReloadsTheExport) {
  const char* python = std::getenv("PHALANX_TRANSFORMERS_PYTHON");
  if (python == nullptr) {
    GTEST_SKIP() << "PHALANX_TRANSFORMERS_PYTHON does not name a Python with torch and transformers";
  }
  const std::string script = std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/check_hf_export.py";
  const TemporaryDirectory directory;
  size_t models = 0;
  for (const std::string& name : fixture_names()) {
    SCOPED_TRACE(name);
    const HfFolder folder(fixture(name));
    const std::string out =
        round_trip(folder, directory.path() + "/" + name, directory.path() + "/" + name + "_out");
    const Json report =
        json_of_command(fmt::format("{} {} {} {} {}", quoted(python), quoted(script),
                                    quoted(name == "mamba_hub" ? fixture("mamba") : folder.path()),
                                    quoted(out), quoted(Expected(name).path())));
    ASSERT_TRUE(report.contains("max_logprob_diff"));
    fmt::print("  {:<15} {}\n", name, report.dump());
    EXPECT_LT(report["max_logprob_diff"].get<double>(), 2e-5);
    EXPECT_EQ(report["max_weight_diff"], 0.0);
    EXPECT_EQ(report["model_class"][0], report["model_class"][1]);
    EXPECT_EQ(report["tokenizer_equal"], name == "gpt2" ? Json(true) : Json(nullptr));
    // What we spell out where the original leaves it to a default, and what computes nothing.
    for (const auto& [key, values] : report["config_differences"].items()) {
      EXPECT_THAT(
          key, ::testing::AnyOf("n_inner", "n_ctx", "task_specific_params", "head_dim", "max_window_layers",
                                "time_step_rank", "attention_head_dim", "rms_norm_eps"))
          << values;
    }
    ++models;
  }
  fmt::print("transformers reloaded {} models\n", models);
}

}  // namespace
}  // namespace phalanx
