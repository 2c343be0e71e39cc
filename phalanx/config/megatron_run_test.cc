// Whole command lines in Megatron's flags: defaults and when they hold, contradictions, real scripts, the tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "phalanx/config/config_toml.h"
#include "phalanx/config/megatron.h"
#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::FullRun;
using config_testing::SmallRun;
using config_testing::split_words;
using testing::ElementsAre;
using testing::HasSubstr;

using Args = std::vector<std::string>;

const FlagRules kRules{
    .aliases = {{.flag = "--mock-data", .key = "data.mock_data", .kind = FlagKind::kSwitch},
                {.flag = "--dtype", .key = "train.dtype"},
                {.flag = "--run-dir", .key = "runtime.run_dir"}}};

std::string refused(const Args& args) {
  FullRun run;
  return error_text(ErrorKind::kUsage,
                    [&] { apply_flags(run.tree, parse_flags(args, run.tree, kRules), false); });
}

TEST(MegatronDefaults, HoldWhenOnlyMegatronsFlagsAreGiven) {
  FullRun run;
  apply_flags(run.tree, parse_flags({"--micro-batch-size=2", "--hidden-dropout=0"}, run.tree, kRules), false);
  const std::map<std::string, std::string> expected = {
      {"model.attention_dropout", "0.1"},
      {"model.activation", "gelu"},
      {"model.normalization", "layer_norm"},
      {"model.position_embedding", "learned_absolute"},
      {"model.bias", "true"},
      {"model.tied_embeddings", "true"},
      {"model.init_std", "0.02"},
      {"model.make_vocab_size_divisible_by", "128"},
      {"optim.lr_decay_style", "linear"},
      {"optim.weight_decay", "0.01"},
      {"optim.beta1", "0.9"},
      {"optim.beta2", "0.999"},
      {"optim.epsilon", "1e-08"},
      {"optim.clip_grad", "1.0"},
      {"optim.min_lr", "0.0"},
      {"optim.initial_loss_scale", "4294967296.0"},
      {"optim.loss_scale_window", "1000"},
      {"optim.hysteresis", "2"},
      {"train.seed", "1234"},
      {"train.dtype", "fp32"},
      {"train.eval_iters", "100"},
      {"train.eval_interval", "0"},
      {"train.check_for_nan", "true"},
      {"train.recompute", "none"},
      {"train.distribute_saved_activations", "false"},
      {"log.interval", "100"},
      {"data.split", "969,30,1"},
      {"parallel.order", "tp-cp-dp-pp"},
  };
  for (const auto& [key, text] : expected) {
    EXPECT_EQ(run.tree.text(key), text) << key;
    EXPECT_EQ(run.tree.at(key).origin, Origin::kMegatron) << key;
  }
  EXPECT_EQ(run.tree.text("model.hidden_dropout"), "0.0");
  EXPECT_EQ(run.tree.at("model.hidden_dropout").origin, Origin::kFlag);
}

TEST(MegatronDefaults, HoldOnlyForAMegatronSpellingAndNoFile) {
  const auto seed_after = [](const Args& args, bool has_file) {
    FullRun run;
    apply_flags(run.tree, parse_flags(args, run.tree, kRules), has_file);
    return run.tree.text("train.seed");
  };
  EXPECT_EQ(seed_after({"--micro-batch-size=2"}, false), "1234");
  EXPECT_EQ(seed_after({"--manual-gc", "--train.micro_batch_size=2"}, false),
            "1234");  // without effect, yet a sign
  EXPECT_EQ(seed_after({"--micro-batch-size=2"}, true), "0");
  EXPECT_EQ(seed_after({"--train.micro_batch_size=2"}, false), "0");
  EXPECT_EQ(seed_after({"--mock-data", "--dtype=fp32", "--run-dir=d"}, false),
            "0");  // our own, whoever else has them
  EXPECT_EQ(seed_after({}, false), "0");
}

TEST(MegatronDefaults, MicroBatchSizeIsRequired) {
  EXPECT_EQ(
      refused({"--num-layers=2"}),
      "--micro-batch-size: got no such flag; needed it, as in every run given by Megatron's flags. Fix: add "
      "--micro-batch-size N (samples that one rank computes at once)");
  SmallRun other_verb;  // a command that does not train
  apply_flags(other_verb.tree, parse_flags({"--manual-gc"}, other_verb.tree, {}), false);
}

TEST(MegatronFlags, SayingOneThingTwoWaysOrTwoThings) {
  FullRun run;
  const Args same = {"--micro-batch-size=1", "--use-rotary-position-embeddings",
                     "--position-embedding-type=rope", "--bf16", "--dtype=bf16"};
  apply_flags(run.tree, parse_flags(same, run.tree, kRules), false);
  EXPECT_EQ(run.tree.text("model.position_embedding"), "rope");
  EXPECT_EQ(run.tree.text("train.dtype"), "bf16");
  EXPECT_EQ(refused({"--swiglu", "--squared-relu"}),
            "--squared-relu: got model.activation set by --swiglu (swiglu) and by --squared-relu "
            "(squared_relu); needed "
            "one value for model.activation. Fix: keep one of the two flags");
  EXPECT_THAT(refused({"--bf16", "--dtype=fp32"}),
              HasSubstr("train.dtype set by --bf16 (bf16) and by --dtype (fp32)"));
  EXPECT_THAT(
      refused({"--num-layers-per-virtual-pipeline-stage=2", "--num-virtual-stages-per-pipeline-rank=2"}),
      HasSubstr("parallel.chunks set by"));
}

TEST(MegatronFlags, QueryGroupsWithoutTheSwitchAreUsedAndSaid) {
  FullRun run;
  EXPECT_THAT(
      parse_flags({"--num-query-groups=2"}, run.tree, kRules).notes,
      ElementsAre(
          "--num-query-groups: Megatron ignores it without --group-query-attention; Phalanx uses it"));
  EXPECT_TRUE(
      parse_flags({"--num-query-groups=2", "--group-query-attention"}, run.tree, kRules).notes.empty());
}

TEST(MegatronFlags, LayersAChunkMustFit) {
  for (const Args& args :
       {Args{"--num-layers=12", "--pipeline-model-parallel-size=3"}, Args{"--num-layers=14"}, Args{}}) {
    Args all = args;
    all.push_back("--num-layers-per-virtual-pipeline-stage=5");
    EXPECT_THAT(refused(all),
                HasSubstr("--num-layers-per-virtual-pipeline-stage: got '5' layers a chunk, with "));
  }
  EXPECT_THAT(refused({"--num-layers-per-virtual-pipeline-stage=x"}), HasSubstr("got 'x' layers a chunk"));
  FullRun run;  // the number of layers may come from the file
  apply_toml(run.tree, "[model]\nnum_layers = 8\n[parallel]\npipeline = 2\n", "run.toml", Origin::kFile);
  apply_flags(run.tree, parse_flags({"--num-layers-per-virtual-pipeline-stage=1"}, run.tree, kRules), true);
  EXPECT_EQ(run.tree.text("parallel.chunks"), "4");
}

TEST(MegatronFlags, WrongValuesNameFlagAndChoice) {
  EXPECT_EQ(
      refused({"--optimizer", "sgd"}),
      "--optimizer: got 'sgd'; needed one of: adam. Fix: say --optimizer adam: Phalanx has AdamW only, which Megatron "
      "calls adam");
  EXPECT_EQ(
      refused({"--transformer-impl", "transformer_engine"}),
      "--transformer-impl: got 'transformer_engine'; needed one of: local. Fix: say --transformer-impl local, or drop "
      "it: every layer is Phalanx's own; Transformer Engine is not used");
  EXPECT_THAT(refused({"--lr-decay-style", "cosin"}), HasSubstr("Fix: say --lr-decay-style cosine: "));
  EXPECT_EQ(refused({"--window-size", "128,128"}),
            "--window-size: got '128,128'; needed LEFT,0: tokens to the left (-1: all) and none to the "
            "right. Fix: a "
            "causal model sees nothing to its right; write e.g. --window-size 4095,0");
  EXPECT_THAT(refused({"--rampup-batch-size", "16", "16"}),
              HasSubstr("--rampup-batch-size: got 2 values; needed 3"));
  EXPECT_THAT(refused({"--num-layers", "many"}), HasSubstr("--num-layers: got 'many'; needed an integer"));
  EXPECT_THAT(refused({"--num-layers"}), HasSubstr("--num-layers: got no value"));
  EXPECT_THAT(refused({"--swiglu=false"}), HasSubstr("--swiglu: got 'false'; needed no value"));
}

TEST(MegatronFlags, AllUnsupportedOnesAreReportedAtOnce) {
  EXPECT_EQ(
      refused({"--num-experts", "8", "--lr=1", "--dsa-indexer-topk", "4", "--profile-ranks", "0", "1",
               "--sft", "--sft"}),
      "--num-experts --dsa-indexer-topk --profile-ranks --sft: got 4 Megatron flags that Phalanx does not support; needed "
      "supported flags. Fix: --num-experts: Phalanx has no expert layers yet; drop it; --dsa-indexer-topk: Phalanx has no "
      "such attention; drop it, what there is stands in --help under [model]; --profile-ranks: Phalanx does not record "
      "that; drop it, metrics.jsonl holds what is recorded; --sft: Phalanx reads plain pre-training data only; drop it");
  EXPECT_EQ(
      refused({"--fp8-margin=1"}),
      "--fp8-margin: got a Megatron flag that Phalanx does not support; needed supported flags. Fix: --fp8-margin: "
      "Phalanx has no 4-bit or 8-bit precision; drop it and say --bf16");
}

TEST(MegatronFlags, TheLastOfARepeatedFlagCountsAndIsSaid) {
  FullRun run;
  const ParsedFlags flags = parse_flags(
      split_words(
          "--train-iters 500 --bf16 --seed 1 --manual-gc --num-workers 2 --data-path a b --train_iters=7 "
          "--seed 2 --bf16 --num-workers 4 --manual-gc --seed 3 --data-path c d --micro-batch-size 1"),
      run.tree, kRules);
  EXPECT_THAT(
      flags.notes,
      ElementsAre(
          "--num-workers 4 has no effect: token files are memory-mapped; there are no worker processes",
          "--manual-gc has no effect: there is no garbage collector", "--bf16 was given twice; bf16 counts",
          "--data-path was given twice; c d counts", "--manual-gc was given twice; once is enough",
          "--num-workers was given twice; once is enough", "--seed was given 3 times; 3 counts",
          "--train-iters was given twice; 7 counts"));
  apply_flags(run.tree, flags, false);
  EXPECT_EQ(run.tree.text("train.train_iters"), "7");
  EXPECT_EQ(run.tree.text("train.seed"), "3");
  EXPECT_EQ(run.tree.text("data.data_path"), "c,d");
  // Two names of one thing still contradict each other.
  EXPECT_THAT(refused({"--seed=1", "--train.seed=2"}),
              HasSubstr("train.seed set by --seed (1) and by --train.seed (2)"));
}

TEST(MegatronFlags, VocabularyAndMergesMeanAGpt2Tokenizer) {
  const auto type = [](const std::string& line, const std::string& toml, bool file_first) {
    FullRun run;
    const ParsedFlags flags = parse_flags(split_words(line + " --micro-batch-size 1"), run.tree, kRules);
    if (file_first) apply_toml(run.tree, toml, "run.toml", Origin::kFile);
    apply_flags(run.tree, flags, !toml.empty());
    if (!file_first) apply_toml(run.tree, toml, "run.toml", Origin::kFile);
    return run.tree.text("data.tokenizer_type") +
           (flags.notes.empty() ? "" : " " + flags.notes.at(0).substr(0, 12));
  };
  EXPECT_EQ(type("--vocab-file v --merge-file m", "", true), "GPT2BPETokenizer --vocab-file");
  EXPECT_EQ(type("--vocab_file v --merge-file m", "", true), "GPT2BPETokenizer --vocab-file");
  EXPECT_EQ(type("--vocab-file v --merge-file m --tokenizer-type T", "", true), "T");
  EXPECT_EQ(type("--vocab-file v --merge-file m --data.tokenizer_type=T", "", true), "T");
  EXPECT_EQ(type("--vocab-file v", "", true), "");
  EXPECT_EQ(type("--merge-file v", "", true), "");
  for (const bool file_first : {true, false}) {
    EXPECT_EQ(type("--vocab-file v --merge-file m", "[data]\ntokenizer_type = \"F\"\n", file_first),
              "F --vocab-file");
  }
}

// The flags of Megatron's own GPT-3 and Llama-3 example scripts, less what the error of a first try says to drop.
constexpr const char* kGptScript =
    "--num-layers 96 --hidden-size 12288 --num-attention-heads 96 --seq-length 2048 "
    "--max-position-embeddings 2048 "
    "--attention-backend auto --micro-batch-size 1 --global-batch-size 1536 --rampup-batch-size 16 16 "
    "5859375 "
    "--train-iters 500000 --weight-decay 0.1 --adam-beta1 0.9 --adam-beta2 0.95 --init-method-std 0.006 "
    "--clip-grad 1.0 "
    "--fp16 --lr 6.0e-5 --lr-decay-style cosine --min-lr 6.0e-6 --lr-warmup-fraction .001 --lr-decay-iters "
    "430000 "
    "--tensor-model-parallel-size 8 --pipeline-model-parallel-size 16 --data-path text_document --vocab-file "
    "vocab.json "
    "--merge-file merges.txt --split 949,50,1 --log-interval 100 --save-interval 10000 --eval-interval 1000 "
    "--save ckpt "
    "--load ckpt --eval-iters 10 --tensorboard-dir tb";
constexpr const char* kLlamaScript =
    "--use-mcore-models --num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 "
    "--group-query-attention --num-query-groups 8 --kv-channels 128 --seq-length 8192 "
    "--max-position-embeddings 8192 "
    "--position-embedding-type rope --rotary-base 1000000 --rotary-percent 1.0 --attention-dropout 0.0 "
    "--hidden-dropout 0.0 --swiglu --init-method-std 0.0134 --apply-layernorm-1p "
    "--untie-embeddings-and-output-weights "
    "--disable-bias-linear --micro-batch-size 1 --global-batch-size 128 --train-samples 1953125000 "
    "--lr-decay-samples 1949218748 --lr-warmup-samples 3906252 --lr 0.00015 --min-lr 0.00001 "
    "--lr-decay-style cosine "
    "--clip-grad 1.0 --weight-decay 0.1 --adam-beta1 0.9 --adam-beta2 0.95 --bf16 "
    "--cross-entropy-loss-fusion "
    "--calculate-per-token-loss --manual-gc --empty-unused-memory-level 0 --context-parallel-size 2 "
    "--sequence-parallel "
    "--use-distributed-optimizer --mock-data --tokenizer-type NullTokenizer --vocab-size 128256 --split "
    "99,1,0 "
    "--no-create-attention-mask-in-dataloader --num-workers 1";

// Of Waleffe et al.: examples/mamba/train.sh, its 8B half.
constexpr const char* kHybridScript =
    "--tensor-model-parallel-size 4 --sequence-parallel --pipeline-model-parallel-size 1 "
    "--use-distributed-optimizer --overlap-param-gather --overlap-grad-reduce "
    "--untie-embeddings-and-output-weights --init-method-std 0.02 --position-embedding-type none --num-layers 56 "
    "--hidden-size 4096 --num-attention-heads 32 --group-query-attention --num-query-groups 8 "
    "--hybrid-attention-ratio 0.08 --hybrid-mlp-ratio 0.5 --seq-length 4096 --max-position-embeddings 4096 "
    "--train-samples 73242188 --lr-warmup-samples 50000 --lr-decay-samples 73192188 --save c --load c "
    "--data-path d --data-cache-path e --split 99,1,0 --tokenizer-type GPTSentencePieceTokenizer "
    "--tokenizer-model t --distributed-backend nccl --micro-batch-size 4 --global-batch-size 8 --lr 2.5e-4 "
    "--min-lr 2.5e-5 --lr-decay-style cosine --weight-decay 0.1 --clip-grad 1.0 --attention-dropout 0.0 "
    "--hidden-dropout 0.0 --disable-bias-linear --normalization RMSNorm --adam-beta1 0.9 --adam-beta2 0.95 "
    "--log-interval 10 --save-interval 2000 --eval-interval 2000 --eval-iters 32 --bf16 --use-mcore-models "
    "--spec megatron.core.models.mamba.mamba_layer_specs mamba_stack_spec "
    "--no-create-attention-mask-in-dataloader --tensorboard-dir b";

TEST(MegatronFlags, TheHybridsScriptParses) {
  FullRun run;
  apply_flags(run.tree, parse_flags(split_words(kHybridScript), run.tree, kRules), false);
  EXPECT_EQ(run.tree.text("model.is_hybrid_model"), "true");
  EXPECT_EQ(run.tree.text("model.hybrid_attention_ratio"), "0.08");
  EXPECT_EQ(run.tree.text("model.hybrid_mlp_ratio"), "0.5");
  EXPECT_EQ(run.tree.text("model.mamba_num_groups"), "8");
  EXPECT_EQ(run.tree.text("model.activation"), "gelu");
  EXPECT_EQ(run.tree.text("model.pattern"), "");
}

// Whoever has the script and whoever has the recipe train the same model in the same way.
TEST(MegatronFlags, TheHybridsRecipeSaysWhatItsScriptSays) {
  FullRun script;
  apply_flags(script.tree, parse_flags(split_words(kHybridScript), script.tree, kRules), false);
  FullRun recipe;
  apply_megatron_defaults(recipe.tree);
  apply_toml_file(recipe.tree, std::string(PHALANX_SOURCE_DIR) + "/recipes/mamba2_hybrid_8b.toml",
                  Origin::kFile);
  const std::set<std::string> places = {"data.data_path",  "data.data_cache_path", "data.tokenizer_model",
                                        "checkpoint.save", "checkpoint.load",      "log.tensorboard_dir"};
  for (const std::string& key : script.tree.keys()) {
    if (places.count(key) == 0) {
      EXPECT_EQ(recipe.tree.text(key), script.tree.text(key)) << key;
    }
  }
}

TEST(MegatronFlags, ExampleScriptsParse) {
  FullRun gpt;
  apply_flags(gpt.tree, parse_flags(split_words(kGptScript), gpt.tree, kRules), false);
  EXPECT_EQ(gpt.tree.text("parallel.pipeline"), "16");
  EXPECT_EQ(gpt.tree.text("data.tokenizer_type"), "GPT2BPETokenizer");
  EXPECT_EQ(gpt.tree.text("model.hidden_dropout"), "0.1");
  EXPECT_EQ(gpt.tree.text("train.rampup_batch_size"), "16,16,5859375");

  FullRun llama;
  const ParsedFlags flags = parse_flags(split_words(kLlamaScript), llama.tree, kRules);
  apply_flags(llama.tree, flags, false);
  EXPECT_EQ(flags.notes.size(), 7u);
  EXPECT_EQ(llama.tree.text("model.num_query_groups"), "8");
  EXPECT_EQ(llama.tree.text("model.bias"), "false");
  EXPECT_EQ(llama.tree.text("data.mock_data"), "true");
}

TEST(MegatronTables, EveryNameStandsOnceAndEveryKeyExists) {
  std::set<std::string> names;
  for (const MegatronFlag& row : megatron_flags()) {
    EXPECT_TRUE(row.flag.starts_with("--")) << row.flag;
    EXPECT_TRUE(names.insert(std::string(row.flag)).second) << row.flag;
    const bool needs_note = row.action == MegatronAction::kOnly || row.action == MegatronAction::kAlways ||
                            row.action == MegatronAction::kUnsupported ||
                            row.action == MegatronAction::kChoice;
    EXPECT_EQ(!row.note.empty(), needs_note) << row.flag;
    const bool has_key = row.action != MegatronAction::kOnly && row.action != MegatronAction::kAlways &&
                         row.action != MegatronAction::kUnsupported;
    EXPECT_EQ(!row.key.empty(), has_key) << row.flag;
  }
  for (const auto list : {megatron_other_switches(), megatron_other_values(), megatron_other_words()}) {
    for (const std::string_view name : list) {
      EXPECT_TRUE(names.insert("--" + std::string(name)).second) << name;
      EXPECT_EQ(find_megatron_flag("--" + std::string(name))->action, MegatronAction::kUnsupported);
    }
  }
  EXPECT_EQ(names.size(),
            874u + 10);  // 838 options, some with several spellings, and 10 that Megatron dropped
  FullRun run;
  EXPECT_THAT(megatron_table_problems(run.tree), ElementsAre());
  SmallRun small;
  EXPECT_THAT(megatron_table_problems(small.tree),
              testing::Contains("--num-layers: no key model.num_layers"));
}

TEST(MegatronTables, EveryKeyThatAFlagTurnsHasADefault) {
  std::set<std::string> defaults;
  for (const MegatronDefault& row : megatron_defaults()) {
    EXPECT_TRUE(defaults.insert(std::string(row.key)).second) << row.key;
  }
  for (const MegatronFlag& row : megatron_flags()) {
    const bool turns = row.action == MegatronAction::kTurns || row.action == MegatronAction::kChoice;
    // Neither has a value that Megatron fixes: data must be named, and determinism is ours to choose.
    if (!turns || row.key == "data.mock_data" || row.key == "runtime.deterministic") continue;
    if (row.key == "train.recompute_method") continue;  // means nothing while recompute is none
    EXPECT_EQ(defaults.count(std::string(row.key)), 1u) << row.key;
  }
}

TEST(MegatronTables, HelpShowsWhatEachDoes) {
  const std::string help = megatron_help();
  EXPECT_THAT(help, HasSubstr("  --num-layers                               model.num_layers\n"));
  EXPECT_THAT(help, HasSubstr("  --disable-bias-linear                      model.bias = false\n"));
  EXPECT_THAT(help,
              HasSubstr("  --optimizer                                optim.optimizer = one of: adam\n"));
  EXPECT_THAT(help, HasSubstr("  --manual-gc                                always so: there is no garbage"));
  EXPECT_THAT(help, HasSubstr("  --transformer-impl                         only local: "));
  EXPECT_EQ(help.find("--num-experts"), std::string::npos);
}

}  // namespace
}  // namespace phalanx
