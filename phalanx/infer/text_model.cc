#include "phalanx/infer/text_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/comm/local.h"
#include "phalanx/infer/rank_step.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/train/rank_layout.h"

namespace phalanx {
namespace {

ModelOptions model_options(const ModelFolder& folder, const LoadOptions& options, ModelPart part = {}) {
  return {.device = options.device,
          .dtype = options.dtype.value_or(folder.dtype),
          .initialise = false,
          .part = std::move(part)};
}

// The model as these ranks cut it. Stages that its pattern names for another number of ranks are none of the model.
RunConfig layout_of(const ModelConfig& model, const LoadOptions& options) {
  RunConfig run;
  run.model = model;
  run.parallel.tensor = options.tensor;
  run.parallel.pipeline = options.pipeline;
  const Pattern pattern = parse_pattern(model.pattern);
  if (static_cast<int64_t>(pattern.num_stages()) != options.pipeline) {
    run.model.pattern = expand(pattern);
    std::erase(run.model.pattern, '|');
  }
  return run;
}

void check_layout(const RunConfig& run, const LoadOptions& options) {
  PlanModel model = plan_model(run.model, "model");
  // Rows of the vocabulary are padded to what the ranks need.
  if (options.tensor > 0) model.vocab += (options.tensor - model.vocab % options.tensor) % options.tensor;
  std::vector<std::string> violations =
      layout_violations(model, {.tp = options.tensor, .pp = options.pipeline});
  if (!options.device.is_cpu()) {
    violations.emplace_back("several ranks are threads, which meet in main memory: --device cpu");
  }
  if (violations.empty()) return;
  throw Error(ErrorKind::kBadInput,
              {.where = fmt::format("--tensor {} --pipeline {}", options.tensor, options.pipeline),
               .got = fmt::format("{}", fmt::join(violations, "; ")),
               .needed = "ranks that share out heads and layers evenly",
               .fix = "change --tensor or --pipeline"});
}

class OneRank : public TextModel {
 public:
  OneRank(const ModelFolder& folder, const LoadOptions& options)
      : group_(comm::make_self_group("tp")),
        model_(folder.config, model_options(folder, options), gemm_, *group_) {
    folder.load(model_, /*checks=*/true);
  }

  std::vector<int64_t> generate(std::span<const int64_t> prompt, const GenerateOptions& options,
                                const std::function<bool(int64_t)>& on_token) override {
    return phalanx::generate(model_, prompt, options, on_token);
  }

  std::vector<std::vector<int64_t>> generate_all(std::span<const std::vector<int64_t>> prompts,
                                                 const GenerateOptions& options, const BatchLimits& limits,
                                                 const OnToken& on_token) override {
    return phalanx::generate_all(model_, prompts, options, limits, on_token);
  }

  std::vector<std::vector<double>> score(std::span<const ScoreText> texts) override {
    std::vector<std::vector<double>> results;
    for (const ScoreText& text : texts) results.push_back(phalanx::score(model_, text.tokens, text.where));
    return results;
  }

 private:
  kernels::Gemm gemm_;
  std::unique_ptr<comm::Group> group_;
  Model model_;
};

class ManyRanks : public TextModel {
 public:
  ManyRanks(const ModelFolder& folder, const RunConfig& run, const LoadOptions& options)
      : mesh_(plan_mesh(run.parallel).mesh),
        world_(mesh_.world_size(), {.threads_per_rank = static_cast<int>(options.threads)}),
        ranks_(static_cast<size_t>(mesh_.world_size())) {
    comm::run_ranks(world_, [&](int rank) {
      auto mine = std::make_unique<Rank>(mesh_, rank, world_);
      mine->model = std::make_unique<Model>(folder.config,
                                            model_options(folder, options, make_model_part(run, mesh_, rank)),
                                            mine->gemm, mine->groups.tensor());
      folder.load(*mine->model, /*checks=*/rank == 0);
      ranks_[static_cast<size_t>(rank)] = std::move(mine);
    });
  }

  std::vector<int64_t> generate(std::span<const int64_t> prompt, const GenerateOptions& options,
                                const std::function<bool(int64_t)>& on_token) override {
    std::vector<int64_t> tokens;
    run([&](Rank& rank, bool chooses) {
      std::vector<int64_t> made = phalanx::generate(*rank.model, prompt, options, on_token, &rank.groups);
      if (chooses) tokens = std::move(made);
    });
    return tokens;
  }

  std::vector<std::vector<int64_t>> generate_all(std::span<const std::vector<int64_t>> prompts,
                                                 const GenerateOptions& options, const BatchLimits& limits,
                                                 const OnToken& on_token) override {
    std::vector<std::vector<int64_t>> texts;
    run([&](Rank& rank, bool chooses) {
      std::vector<std::vector<int64_t>> made =
          phalanx::generate_all(*rank.model, prompts, options, limits, on_token, &rank.groups);
      if (chooses) texts = std::move(made);
    });
    return texts;
  }

  std::vector<std::vector<double>> score(std::span<const ScoreText> texts) override {
    std::vector<std::vector<double>> results;
    run([&](Rank& rank, bool chooses) {
      std::vector<std::vector<double>> found = phalanx::score(*rank.model, texts, rank.groups);
      if (chooses) results = std::move(found);
    });
    return results;
  }

 private:
  struct Rank {
    Rank(const Mesh& mesh, int rank, comm::LocalWorld& world)
        : groups(mesh, rank, [&world, rank](const std::string& name, const std::vector<int>& ranks) {
            return world.group(rank, name, ranks);
          }) {}
    RankGroups groups;
    kernels::Gemm gemm;
    std::unique_ptr<Model> model;
  };

  void run(const std::function<void(Rank&, bool chooses)>& body) {
    comm::run_ranks(
        world_, [&](int rank) { body(*ranks_[static_cast<size_t>(rank)], rank == choosing_rank(mesh_)); });
  }

  Mesh mesh_;
  comm::LocalWorld world_;
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace

std::unique_ptr<TextModel> load_text_model(const ModelFolder& folder, const LoadOptions& options) {
  if (options.tensor == 1 && options.pipeline == 1) return std::make_unique<OneRank>(folder, options);
  const RunConfig run = layout_of(folder.config, options);
  check_layout(run, options);
  return std::make_unique<ManyRanks>(folder, run, options);
}

}  // namespace phalanx
