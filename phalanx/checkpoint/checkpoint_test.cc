#include "phalanx/checkpoint/checkpoint.h"

#include <ATen/ATen.h>

#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_back;
using testing::same_bits;
using testing::tiny_llama;
using testing::whole;

const Json kMetadata = {{"kind", "test"}, {"step", 3}};

class CheckpointTest : public ::testing::Test {
 protected:
  std::string folder(const std::string& name = "step_3") const { return directory_.path() + "/" + name; }
  std::string data_file() const { return folder() + "/rank_00000.safetensors"; }
  void save_one() {
    write_checkpoint(folder(), {whole("w", at::arange(6, at::kFloat).view({2, 3}))}, kMetadata);
  }

  TemporaryDirectory directory_;
};

void flip_byte(const std::string& path, size_t offset_from_end) {
  std::string bytes = read_file(path);
  bytes[bytes.size() - offset_from_end] ^= 0x10;
  testing::write_text(path, bytes);
}

TEST_F(CheckpointTest, EveryDtypeComesBackBitForBit) {
  std::vector<TensorBox> boxes;
  for (const at::ScalarType dtype :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kUInt16, at::kInt, at::kUInt32, at::kLong,
        at::kUInt64, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    const Tensor values = at::arange(15, at::kFloat).remainder(7).view({3, 5}).to(dtype);
    boxes.push_back(whole(dtype_word(dtype), values));
  }
  // Bits that a conversion would change: a NaN with a payload, minus zero, the smallest subnormal.
  const Tensor odd = at::tensor({0x7fc12345, static_cast<int>(0x80000000), 1}, at::kInt).view(at::kFloat);
  boxes.push_back(whole("odd", odd));
  boxes.push_back(whole("scalar", at::scalar_tensor(2.5)));
  boxes.push_back(whole("empty", at::empty({0, 4})));
  write_checkpoint(folder(), boxes, kMetadata);

  CheckpointReader reader(folder());
  EXPECT_EQ(reader.metadata(), kMetadata);
  for (const TensorBox& box : boxes) {
    EXPECT_TRUE(same_bits(read_back(reader, box.name, box.global_shape, box.view.scalar_type()), box.view))
        << box.name;
    EXPECT_TRUE(same_bits(reader.read_whole(box.name, box.global_shape), box.view)) << box.name;
  }
}

TEST_F(CheckpointTest, StridedViewsAreWrittenInTheirLogicalOrder) {
  const Tensor base = at::arange(12, at::kFloat).view({3, 4});
  write_checkpoint(folder(), {whole("t", base.t()), whole("slice", base.narrow(1, 1, 2))}, kMetadata);
  CheckpointReader reader(folder());
  EXPECT_TRUE(same_bits(read_back(reader, "t", {4, 3}, at::kFloat), base.t()));
  EXPECT_TRUE(same_bits(read_back(reader, "slice", {3, 2}, at::kFloat), base.narrow(1, 1, 2)));
}

TEST_F(CheckpointTest, ReadingConvertsToTheDtypeOfTheDestination) {
  const Tensor values = at::tensor({1.0 + 1.0 / 3, -2.0e-3, 1e30});
  write_checkpoint(folder(), {whole("w", values.to(at::kDouble)), whole("h", values.to(at::kBFloat16))},
                   kMetadata);
  CheckpointReader reader(folder());
  EXPECT_TRUE(same_bits(read_back(reader, "w", {3}, at::kFloat), values.to(at::kDouble).to(at::kFloat)));
  EXPECT_TRUE(
      same_bits(read_back(reader, "w", {3}, at::kBFloat16), values.to(at::kDouble).to(at::kBFloat16)));
  EXPECT_TRUE(same_bits(read_back(reader, "h", {3}, at::kDouble), values.to(at::kBFloat16).to(at::kDouble)));
}

// A manifest of two writers, made by hand: the columns of `w` are cut between two files.
TEST_F(CheckpointTest, BoxesOfTwoFilesAreReadAsOneTensorAndInParts) {
  const Tensor w = at::arange(24, at::kFloat).view({4, 6});
  Manifest manifest;
  StoredTensor stored{.name = "w", .dtype = FileDtype::kF32, .shape = {4, 6}, .boxes = {}};
  make_directories(folder());
  for (const int64_t rank : {0, 1}) {
    const Box box = rank == 0 ? Box{{0, 0}, {4, 2}} : Box{{0, 2}, {4, 6}};
    const std::string name = "part" + std::to_string(rank) + ".safetensors";
    SafetensorsWriter writer(folder() + "/" + name, {{"w.part", FileDtype::kF32, box.shape()}});
    writer.write("w.part", bytes_of(view_of(w, box).contiguous()));
    const WrittenFile written = writer.commit();
    manifest.files.push_back({name, written.size, written.checksum});
    stored.boxes.push_back({box, name, "w.part"});
  }
  manifest.tensors.push_back(stored);
  write_manifest(folder(), manifest);

  CheckpointReader reader(folder());
  EXPECT_TRUE(same_bits(read_back(reader, "w", {4, 6}, at::kFloat), w));
  EXPECT_TRUE(same_bits(reader.read_whole("w", {4, 6}), w));
  const Box middle{{1, 1}, {3, 5}};  // straddles the cut
  const Tensor part = at::zeros({2, 4});
  reader.read({"w", {4, 6}, middle, part});
  EXPECT_TRUE(same_bits(part, view_of(w, middle)));
}

TEST_F(CheckpointTest, AnotherShapeNamesTensorAndBothShapes) {
  save_one();
  CheckpointReader reader(folder());
  const Error error = error_of([&] { read_back(reader, "w", {3, 3}, at::kFloat); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("tensor 'w': got the shape [2, 3]; needed [3, 3]"), HasSubstr(folder())));
}

TEST_F(CheckpointTest, AMissingTensorIsNamed) {
  save_one();
  CheckpointReader reader(folder());
  EXPECT_FALSE(reader.contains("v"));
  const Error error = error_of([&] { read_back(reader, "v", {2, 3}, at::kFloat); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), HasSubstr("no tensor 'v' among its 1"));
}

TEST_F(CheckpointTest, AFlippedByteIsAChecksumErrorThatNamesTheFile) {
  save_one();
  flip_byte(data_file(), 5);
  const Error error = error_of([&] { CheckpointReader reader(folder()); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), AllOf(HasSubstr(data_file()), HasSubstr("got the checksum")));
  CheckpointReader trusting(folder(), /*verify_checksums=*/false);  // the flip itself is well-formed
}

TEST_F(CheckpointTest, ATruncatedFileIsFoundWithAndWithoutChecksums) {
  save_one();
  std::filesystem::resize_file(data_file(), std::filesystem::file_size(data_file()) - 4);
  for (const bool verify : {true, false}) {
    const Error error = error_of([&] { CheckpointReader reader(folder(), verify); });
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("rank_00000.safetensors: got "), HasSubstr("bytes, as the manifest says")));
  }
}

TEST_F(CheckpointTest, AMissingFileIsAnIoErrorThatNamesIt) {
  save_one();
  std::filesystem::remove(data_file());
  for (const bool verify : {true, false}) {
    const Error error = error_of([&] { CheckpointReader reader(folder(), verify); });
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr(data_file()));
  }
}

// The sizes agree, so only a look at the header can tell.
TEST_F(CheckpointTest, AFileOfTheRightSizeWithAnotherTensorInItIsRefused) {
  save_one();
  SafetensorsWriter writer(data_file(), {{"w", FileDtype::kF32, {3, 2}}});
  writer.write("w", bytes_of(at::zeros({3, 2})));
  writer.commit();
  CheckpointReader reader(folder(), /*verify_checksums=*/false);
  const Error error = error_of([&] { read_back(reader, "w", {2, 3}, at::kFloat); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), HasSubstr("tensor 'w': got F32 of shape [3, 2]; needed F32 of shape [2, 3]"));
}

TEST_F(CheckpointTest, ANewerVersionIsRefusedByNumber) {
  save_one();
  testing::edit_json(folder() + "/manifest.json", [](Json& json) { json["version"] = 7; });
  const Error error = error_of([&] { CheckpointReader reader(folder()); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("format version 7"), HasSubstr("a newer phalanx wrote it")));
}

TEST_F(CheckpointTest, ExtraFilesTravelInTheirOwnFolder) {
  write_checkpoint(folder(), {whole("w", at::ones({2}))}, kMetadata,
                   {{"tokenizer/vocab.json", "{}"}, {"note.txt", "hi"}});
  EXPECT_EQ(read_file(folder() + "/tokenizer/vocab.json"), "{}");
  EXPECT_EQ(read_file(folder() + "/note.txt"), "hi");
}

TEST_F(CheckpointTest, OnlyNumberedFoldersWithAManifestAreSteps) {
  for (const char* name : {"step_5", "step_20", "step_100"}) {
    write_checkpoint(folder(name), {whole("w", at::ones({1}))}, kMetadata);
  }
  make_directories(folder("step_200"));  // no manifest
  for (const char* name : {"step_300.tmp.1", "step_x", "step_", "best"}) {
    make_directories(folder(name));
    testing::write_text(folder(name) + "/manifest.json", "{}");
  }
  EXPECT_THAT(complete_steps(directory_.path()), ElementsAre(5, 20, 100));
  EXPECT_EQ(newest_step(directory_.path()), 100);
  EXPECT_EQ(newest_step(directory_.path() + "/none"), std::nullopt);
}

TEST_F(CheckpointTest, WeightsOfAModelLoadIntoOneOfAnotherDtype) {
  testing::TestModel from(tiny_llama(), at::kFloat, 1);
  write_checkpoint(folder(), weight_boxes(from.model), {{"config", model_section(tiny_llama())}});
  CheckpointReader reader(folder());
  EXPECT_EQ(stored_model_config(reader), tiny_llama());
  EXPECT_EQ(stored_weight_dtype(reader), at::kFloat);
  for (const at::ScalarType dtype : {at::kDouble, at::kBFloat16, at::kFloat}) {
    testing::TestModel to(tiny_llama(), dtype, 2);
    load_weights(reader, to.model);
    const auto sources = from.model.parameters();
    const auto targets = to.model.parameters();
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_TRUE(same_bits(targets[i]->data, sources[i]->data.to(dtype))) << sources[i]->name;
    }
  }
}

// A bf16 run stores masters beside the rounded weights: a wide model takes the masters, a bf16 one its own weights.
TEST_F(CheckpointTest, AWideModelTakesTheMasters) {
  testing::TestModel rounded(tiny_llama(), at::kBFloat16, 1);
  testing::TestModel exact(tiny_llama(), at::kFloat, 2);
  std::vector<TensorBox> boxes = weight_boxes(rounded.model);
  const size_t prefix = std::string(kWeightPrefix).size();
  for (TensorBox box : weight_boxes(exact.model)) {
    box.name = kMasterPrefix + box.name.substr(prefix);
    boxes.push_back(box);
  }
  write_checkpoint(folder(), boxes, {{"config", model_section(tiny_llama())}});
  CheckpointReader reader(folder());
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat, at::kDouble}) {
    testing::TestModel to(tiny_llama(), dtype, 3);
    load_weights(reader, to.model);
    const auto sources = dtype == at::kBFloat16 ? rounded.model.parameters() : exact.model.parameters();
    const auto targets = to.model.parameters();
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_TRUE(same_bits(targets[i]->data, sources[i]->data.to(dtype))) << sources[i]->name;
    }
  }
}

// A run in fp32 stored its weights once; a bf16 run that goes on from it takes them as masters.
TEST_F(CheckpointTest, MastersComeFromTheWeightsWhereThatIsAllThereIs) {
  testing::TestModel from(tiny_llama(), at::kFloat, 1);
  Optimizer wide(from.model.parameters(), {}, at::kFloat);
  std::vector<TensorBox> boxes = weight_boxes(from.model);
  for (const TensorBox& box : optimizer_boxes(wide)) boxes.push_back(box);
  write_checkpoint(folder(), boxes, {{"config", model_section(tiny_llama())}});
  CheckpointReader reader(folder());
  testing::TestModel to(tiny_llama(), at::kBFloat16, 2);
  Optimizer narrow(to.model.parameters(), {}, at::kFloat);
  load_weights(reader, to.model);
  load_optimizer(reader, narrow);
  const auto sources = from.model.parameters();
  size_t logical = 0;
  for (const Parameter* p : sources) logical += p->segments.size();
  ASSERT_EQ(narrow.state().size(), logical);
  for (const Optimizer::State& state : narrow.state()) {
    const auto same = std::find_if(sources.begin(), sources.end(),
                                   [&](const Parameter* p) { return p->name == state.parameter->name; });
    ASSERT_NE(same, sources.end());
    const Tensor expected = view_of((*same)->data, state.segment->local_box);
    EXPECT_TRUE(same_bits(state.master, expected)) << state.segment->name;
  }
}

TEST_F(CheckpointTest, AModelOfAnotherWidthIsRefusedByItsFirstTensor) {
  testing::TestModel from(tiny_llama());
  write_checkpoint(folder(), weight_boxes(from.model), kMetadata);
  ModelConfig wide = tiny_llama();
  wide.vocab_size = 12;
  testing::TestModel to(wide);
  CheckpointReader reader(folder());
  const Error error = error_of([&] { load_weights(reader, to.model); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(),
              HasSubstr("tensor 'model.embedding.token.weight': got the shape [10, 8]; needed [12, 8]"));
}

TEST_F(CheckpointTest, MetadataWithoutAModelIsNamed) {
  save_one();
  CheckpointReader reader(folder());
  EXPECT_THAT(error_of([&] { stored_model_config(reader); }).what(), HasSubstr("config"));
  const Error error = error_of([&] { stored_weight_dtype(reader); });
  EXPECT_THAT(error.what(), HasSubstr("got no weights; needed tensors named model.NAME"));
}

}  // namespace
}  // namespace phalanx
