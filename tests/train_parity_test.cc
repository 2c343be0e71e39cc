// 100 AdamW steps on equal weights and batches against PyTorch, with warm-up, cosine decay, weight decay and clipping.
// The fixtures (tests/fixtures/train) hold PyTorch's numbers in fp32 and in float64.
#include <gtest/gtest.h>

#include <cstdio>

#include "phalanx/base/json.h"
#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/optim/lr_schedule.h"
#include "phalanx/optim/optimizer.h"

namespace phalanx {
namespace {

struct Fixture {
  explicit Fixture(const std::string& name)
      : folder(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/train/" + name),
        expected(read_json_file(folder + "/expected.json")),
        batches(folder + "/batches.safetensors") {}
  std::string folder;
  Json expected;
  SafetensorsFile batches;

  OptimConfig optim() const {
    const Json& o = expected.at("optimizer");
    const Json& s = expected.at("schedule");
    OptimConfig c;
    c.lr = s.at("max_lr");
    c.min_lr = s.at("min_lr");
    c.lr_decay_style = LrDecayStyle::kCosine;
    c.lr_warmup_samples = s.at("warmup_samples");
    c.lr_decay_samples = s.at("decay_samples").get<int64_t>();
    c.weight_decay = o.at("weight_decay");
    c.clip_grad = o.at("clip_grad_norm");
    c.beta1 = o.at("betas")[0];
    c.beta2 = o.at("betas")[1];
    c.epsilon = o.at("eps");
    return c;
  }

  std::vector<HostBatch> step(int64_t k) const {
    const SafetensorsEntry& entry = batches.at("tokens");
    const Tensor tokens = tensor_over(batches.bytes(entry), entry.dtype, entry.shape)[k].contiguous();
    const int64_t samples = tokens.size(0), length = tokens.size(1) - 1;
    const int64_t* data = tokens.data_ptr<int64_t>();
    HostBatch host;
    host.num_samples = samples;
    for (int64_t b = 0; b < samples; ++b) {
      for (int64_t i = 0; i < length; ++i) {
        host.tokens.push_back(data[b * (length + 1) + i]);
        host.labels.push_back(data[b * (length + 1) + i + 1]);
        host.position.push_back(i);
      }
    }
    host.label_mask.assign(host.tokens.size(), 1);
    return {host};
  }
};

struct Errors {
  double loss_10 = 0;
  double loss_100 = 0;
  double norm = 0;
  double lr = 0;
};

double relative(double got, double want) {
  return std::abs(got - want) / std::abs(want);
}

Errors train(const std::string& name, at::ScalarType dtype, const std::string& suffix) {
  const Fixture fixture(name);
  const HfFolder hf(fixture.folder);
  ModelConfig config = hf.config();
  config.seq_length = 16;
  const kernels::Gemm gemm;
  const auto group = comm::make_self_group("tp");
  Model model(config, {.dtype = dtype, .initialise = false}, gemm, *group);
  load_hf_weights(hf, model);
  Optimizer optimizer(model.parameters(), fixture.optim(), accumulator_of(dtype));
  const LrSchedule schedule(fixture.optim(), 400, 4);
  Errors worst;
  for (int64_t k = 0; k < 100; ++k) {
    const double lr = schedule.at(4 * k);
    const double lr_expected = fixture.expected.at("lr")[static_cast<size_t>(k)];
    worst.lr = std::max(worst.lr, std::abs(lr - lr_expected));
    const StepOutcome outcome =
        run_train_step(model, optimizer, fixture.step(k), {.step = k + 1, .seed = 1, .lr = lr});
    const double loss = fixture.expected.at("loss" + suffix)[static_cast<size_t>(k)];
    const double norm = fixture.expected.at("grad_norm" + suffix)[static_cast<size_t>(k)];
    const double error = relative(outcome.loss, loss);
    if (k < 10) worst.loss_10 = std::max(worst.loss_10, error);
    worst.loss_100 = std::max(worst.loss_100, error);
    worst.norm = std::max(worst.norm, relative(outcome.grad_norm, norm));
  }
  std::printf("%s %s: loss %.1e over 10 steps, %.1e over 100; norm %.1e\n", name.c_str(),
              suffix.empty() ? "fp32" : "fp64", worst.loss_10, worst.loss_100, worst.norm);
  return worst;
}

class TrainParity : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainParity, HundredStepsInFp32) {
  const Errors worst = train(GetParam(), at::kFloat, "");
  EXPECT_LE(worst.lr, 1e-15);
  EXPECT_LE(worst.loss_10, 1e-5);
  EXPECT_LE(worst.loss_100, 1e-3);
}

TEST_P(TrainParity, HundredStepsInFp64) {
  const Errors worst = train(GetParam(), at::kDouble, "_fp64");
  EXPECT_LE(worst.loss_100, 1e-9);
  EXPECT_LE(worst.norm, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Models, TrainParity, ::testing::Values("gpt2", "llama", "mamba2"));

}  // namespace
}  // namespace phalanx
