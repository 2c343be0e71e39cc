// `phalanx data tokenize` and its neighbours as a user runs them: bytes, messages, exit codes, kill -9 at any moment.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "phalanx/base/clock.h"
#include "phalanx/base/json.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/data/verify_corpus.h"
#include "tests/program.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;
using testing::run_program;
using ::testing::UnorderedElementsAre;

constexpr const char* kBytes = " --tokenizer-type ByteTokenizer --append-eod ";

std::string json_lines(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string out;
  while (out.size() < bytes) {
    std::string text;
    for (size_t i = random() % 200; i > 0; --i) text += "word" + std::to_string(random() % 1000) + " ";
    out += Json{{"id", random()}, {"text", text}, {"title", text.substr(0, 20)}}.dump() + "\n";
  }
  return out;
}

class Tokenize : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& bytes) {
    make_directories(fs::path(at(name)).parent_path().string());
    std::ofstream(at(name), std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  Ran run(const std::string& arguments, const std::string& prefix = "") const {
    return run_program("data " + arguments, folder_.path(), prefix);
  }
  std::string pair(const std::string& prefix) const {
    return read_file(at(prefix + ".bin")) + "|" + read_file(at(prefix + ".idx"));
  }
  // Everything there but the files of run_program and the inputs.
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename();
      if (!name.starts_with('.') && name != "in") names.push_back(name);
    }
    return names;
  }
  TemporaryDirectory folder_;
};

TEST_F(Tokenize, IsTheSameForEveryNumberOfWorkersAndSaysSoInJson) {
  put("in/1.jsonl", json_lines(1'500'000, 1));
  put("in/2.txt", "a text");
  put("in/3.jsonl", json_lines(200'000, 2) + "broken\n\n{\"title\": \"t\"}\n");
  const std::string command = "tokenize --input in --json-keys text title --output-prefix out/";
  std::vector<std::string> bytes;
  for (const std::string workers : {"1", "2", "5"}) {
    const Ran ran = run(command + workers + kBytes + "--json --workers " + workers);
    ASSERT_EQ(ran.code, 0) << ran.err;
    const Json summary = parse_json(ran.out, "stdout");
    EXPECT_EQ(summary.at("files"), 3);
    EXPECT_EQ(summary.at("rejected"), 2);
    EXPECT_EQ(summary.at("rejected_reasons").at("broken_json"), 1);
    EXPECT_EQ(summary.at("rejected_reasons").at("missing_key"), 1);
    EXPECT_THAT(summary.at("rejected_examples").at(0).at("where").get<std::string>(),
                HasSubstr("in/3.jsonl:"));
    EXPECT_EQ(summary.at("outputs").size(), 2u);
    EXPECT_THAT(ran.err, HasSubstr("rejected: no key 'text'"));
    EXPECT_THAT(ran.err, Not(HasSubstr("\r"))) << "no progress bar in a pipe";
    bytes.push_back(pair("out/" + workers + "_text_document") + pair("out/" + workers + "_title_document"));
  }
  EXPECT_TRUE(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
}

TEST_F(Tokenize, InspectVerifyAndMergeReadWhatItWrote) {
  put("a.jsonl", "{\"text\": \"hello\"}\n{\"text\": \"\"}\n");
  put("b.jsonl", "{\"text\": \"h\\u00e9 \\ud83d\\ude00\"}\n");
  ASSERT_EQ(run("tokenize --input a.jsonl --output-prefix a" + std::string(kBytes)).code, 0);
  ASSERT_EQ(run("tokenize --input b.jsonl --output-prefix b" + std::string(kBytes)).code, 0);
  ASSERT_EQ(run("tokenize --input a.jsonl b.jsonl --output-prefix ab" + std::string(kBytes)).code, 0);
  Ran ran = run("merge --input a_text_document b_text_document --output-prefix merged --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(parse_json(ran.out, "stdout").at("documents"), 3);
  EXPECT_EQ(pair("merged"), pair("ab_text_document"));
  ran = run("verify merged --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(parse_json(ran.out, "stdout").at("checksums"), true);
  ran = run("inspect merged --json --first 3 --tokenizer-type ByteTokenizer");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json seen = parse_json(ran.out, "stdout");
  EXPECT_EQ(seen.at("first_documents").at(0).at("text"), "hello");
  EXPECT_EQ(seen.at("first_documents").at(1).at("text"), "");
  EXPECT_EQ(seen.at("first_documents").at(2).at("text"), "h\u00e9 \U0001F600");
  EXPECT_EQ(seen.at("empty_documents"), 1);
  EXPECT_EQ(seen.at("lengths").at("max"), 9);
  ran = run("inspect merged --tokenizer-type ByteTokenizer");
  EXPECT_THAT(ran.out, HasSubstr("document 0, 6 tokens: hello"));
  EXPECT_THAT(ran.out, HasSubstr("4-7            1  33.3%  ####"));
  ran = run("inspect merged --first 4");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("--first: got 4; needed at most 3"));
  std::string bin = read_file(at("merged.bin"));
  bin[0] ^= 1;
  put("merged.bin", bin);
  ran = run("verify merged");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("checksum of .bin"));
}

TEST_F(Tokenize, MistakesGetOneMessageAndLeaveNothing) {
  put("in/a.txt", "text");
  put("in/broken.jsonl", "x\ny\n{\"text\": \"a\"}\n");
  put("in/empty/.hidden", "");
  put("in/cut.jsonl.gz", std::string("\x1f\x8b\x08\x00\x00", 5));
  struct Mistake {
    std::string arguments;
    int code;
    std::string words;
  };
  const std::string to = std::string(" --output-prefix y") + kBytes;
  const std::vector<Mistake> mistakes = {
      {"tokenize --input in/a.txt --output-prefix y", 2, "no --tokenizer-type"},
      {"tokenize --input in/a.txt --tokenizer-type ByteTokenizer", 2, "no --output-prefix"},
      {"tokenize --output-prefix y --tokenizer-type ByteTokenizer", 2, "--input"},
      {"tokenize --inputs in/a.txt" + to, 2, "--inputs"},
      {"tokenize --input in/a.txt --split-sentences" + to, 2, "--split-sentences"},
      {"tokenize --input in/a.txt --workers two" + to, 2, "--workers"},
      {"tokenize --input in/a.txt --max-rejected -3%" + to, 2, "--max-rejected"},
      {"tokenize --input in/a.txt --max-document-mb 0" + to, 2, "--max-document-mb"},
      {"tokenize --input in/a.txt --json-keys text text" + to, 2, "'text' twice"},
      {"tokenize --input in/a.txt --input-format xml" + to, 2, "'xml'"},
      {"tokenize stray --input in/a.txt" + to, 2, "'stray'"},
      {"tokenize --input in/no.txt" + to, 4, "in/no.txt"},
      {"tokenize --input in/empty" + to, 3, "a folder without files"},
      {"tokenize --input in/broken.jsonl --max-rejected 1" + to, 3, "2 of 3 lines"},
      {"tokenize --input in/broken.jsonl --json-keys other" + to, 3, "no token for 'other'"},
      {"tokenize --input in/cut.jsonl.gz" + to, 3, "inside gzip data"},
      {"tokenize --input in/a.txt --output-prefix in/a.txt/y" + std::string(kBytes), 4, "in/a.txt"},
      {"tokenize --input in/a.txt --output-prefix y --tokenizer-type NullTokenizer --vocab-size 9", 3,
       "no token"},
      {"merge --input in --output-prefix y", 3, "without a .bin/.idx pair"},
      {"merge --input in/no --output-prefix y", 4, "in/no.idx"},
      {"merge --output-prefix y", 2, "no --input"},
      {"inspect", 2, "no PREFIX"},
      {"verify in/no", 4, "in/no.idx"},
      {"verify in/no more", 2, "more than one PREFIX"},
  };
  for (const Mistake& mistake : mistakes) {
    const Ran ran = run(mistake.arguments);
    EXPECT_EQ(ran.code, mistake.code) << mistake.arguments << "\n" << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(mistake.words)) << mistake.arguments;
    EXPECT_THAT(ran.err, HasSubstr("error: ")) << mistake.arguments;
    EXPECT_EQ(ran.out, "") << mistake.arguments;
    if (mistake.arguments.find("max-rejected 1") == std::string::npos) {
      EXPECT_THAT(left(), UnorderedElementsAre()) << mistake.arguments;
    }
    fs::remove_all(at("y_parts"));
  }
}

TEST_F(Tokenize, AFullDiskIsSaidAndARerunCompletes) {
  put("in/1.jsonl", json_lines(1'500'000, 1));
  const std::string command = "tokenize --input in --output-prefix y" + std::string(kBytes);
  // A limit on file size stands in for a full disk: the write fails half way.
  Ran ran = run(command, "trap '' XFSZ; ulimit -f 1000;");
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("write failed"));
  EXPECT_THAT(left(), UnorderedElementsAre());
  ran = run(command);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string good = pair("y_text_document");
  // A second run that fails leaves the first one's output alone.
  put("in/2.jsonl", json_lines(1'500'000, 2));
  ran = run(command, "trap '' XFSZ; ulimit -f 4000;");
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_TRUE(pair("y_text_document") == good);
  verify_corpus(at("y_text_document"), 0, 1);
}

TEST_F(Tokenize, ALineOfManyMegabytesIsReadOrRejected) {
  put("in/long.jsonl",
      "{\"text\": \"a\"}\n{\"text\": \"" + std::string(5 << 20, 'x') + "\"}\n{\"text\": \"b\"}\n");
  Ran ran = run("tokenize --input in --output-prefix y --json" + std::string(kBytes));
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(parse_json(ran.out, "stdout").at("tokens"), (5 << 20) + 5);
  ran = run("tokenize --input in --output-prefix y --json --max-document-mb 4" + std::string(kBytes));
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(parse_json(ran.out, "stdout").at("tokens"), 4);
  EXPECT_EQ(parse_json(ran.out, "stdout").at("rejected_reasons").at("too_long"), 1);
  EXPECT_THAT(ran.err, HasSubstr("in/long.jsonl:2: rejected: 5242893 bytes"));
}

TEST_F(Tokenize, LogLinesOnlyWhenAskedFor) {
  put("in/1.jsonl", json_lines(3'000'000, 1));
  const std::string command = "tokenize --input in --output-prefix y" + std::string(kBytes);
  EXPECT_EQ(run(command).err, "");
  EXPECT_THAT(run(command + "--log-interval 100").err, HasSubstr(" documents, "));
}

// A job in the background that can be killed.
class Background {
 public:
  Background(const std::string& folder, const std::vector<std::string>& arguments) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    std::vector<char*> words = {const_cast<char*>(PHALANX_BINARY)};
    for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(nowhere, fd);
    if (::chdir(folder.c_str()) == 0) ::execv(PHALANX_BINARY, words.data());
    ::_exit(127);
  }
  ~Background() {
    if (pid_ > 0) kill_now();
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  bool running() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
  }
  // Whether it was still running.
  bool kill_now() {
    if (!running()) return false;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    return WIFSIGNALED(status_);
  }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
};

class TokenizeKilled : public Tokenize {
 protected:
  TokenizeKilled() {
    for (int i = 1; i <= 4; ++i)
      put(fmt::format("in/{}.jsonl", i), json_lines(1'300'000, static_cast<unsigned>(i)));
    const double start = monotonic_seconds();
    EXPECT_EQ(run("tokenize --output-prefix good " + kRest).code, 0);
    seconds_ = monotonic_seconds() - start;
    good_ = pair("good_text_document") + pair("good_title_document");
  }
  std::vector<std::string> command() const {
    return {"data",
            "tokenize",
            "--output-prefix",
            "y",
            "--input",
            "in",
            "--json-keys",
            "text",
            "title",
            "--tokenizer-type",
            "ByteTokenizer",
            "--append-eod",
            "--workers",
            "2"};
  }
  void expect_nothing_looks_finished_that_is_not() {
    for (const char* key : {"text", "title"}) {
      const std::string prefix = fmt::format("y_{}_document", key);
      if (!path_exists(at(prefix + ".idx"))) continue;
      const VerifiedCorpus found = verify_corpus(at(prefix), 0, 1);
      EXPECT_EQ(found.documents, IndexedDataset(at(fmt::format("good_{}_document", key))).num_documents());
      EXPECT_TRUE(pair(prefix) == pair(fmt::format("good_{}_document", key)));
    }
  }
  Json rerun() {
    const Ran ran = run("tokenize --output-prefix y --json " + kRest);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_TRUE(pair("y_text_document") + pair("y_title_document") == good_);
    for (const std::string& name : left()) {
      EXPECT_THAT(name, Not(HasSubstr(".tmp.")));
      EXPECT_THAT(name, Not(HasSubstr("_parts")));
    }
    return parse_json(ran.out, "stdout");
  }
  void remove_output() {
    for (const std::string& name : left()) {
      if (name.starts_with('y')) fs::remove_all(at(name));
    }
  }
  // Kills one run after `delay` seconds; whether it was early enough to stop it.
  bool kill_after(double delay) {
    Background job(folder_.path(), command());
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    return job.kill_now();
  }

  const std::string kRest = "--input in --json-keys text title --workers 2" + std::string(kBytes);
  double seconds_ = 0;
  std::string good_;
};

TEST_F(TokenizeKilled, ARerunGoesOnWithTheFilesThatAreLeft) {
  {
    Background job(folder_.path(), command());
    const auto has_part = [&] {
      std::error_code ignored;
      for (const auto& entry : fs::directory_iterator(at("y_parts"), ignored)) {
        if (entry.path().extension() == ".json") return true;
      }
      return false;
    };
    while (job.running() && !has_part()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (!job.kill_now()) GTEST_SKIP() << "the job was done before the kill";
  }
  expect_nothing_looks_finished_that_is_not();
  if (!path_exists(at("y_parts"))) GTEST_SKIP() << "the kill came after the end of the work";
  const Json summary = rerun();
  EXPECT_GE(summary.at("parts_reused"), 1);
  EXPECT_EQ(summary.at("parts"), 4);
}

TEST_F(TokenizeKilled, AtAFewMoments) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 4; ++round) {
    const double delay = seconds_ * std::uniform_real_distribution(0.2, 1.1)(random);
    kill_after(delay);
    SCOPED_TRACE(fmt::format("killed after {} of {} s", delay, seconds_));
    expect_nothing_looks_finished_that_is_not();
    rerun();
    remove_output();
  }
}

TEST_F(TokenizeKilled, AtManyMomentsSlow) {
  std::mt19937 random(std::random_device{}());
  int killed = 0;
  int with_parts = 0;
  for (int round = 0; round < 80; ++round) {
    const double delay = seconds_ * std::uniform_real_distribution(0.1, 1.05)(random);
    killed += kill_after(delay) ? 1 : 0;
    SCOPED_TRACE(fmt::format("killed after {} of {} s", delay, seconds_));
    expect_nothing_looks_finished_that_is_not();
    with_parts += path_exists(at("y_parts")) ? 1 : 0;
    if (round % 3 != 0) continue;  // else the next run, killed too, starts from what is there
    rerun();
    if (round % 2 == 0) remove_output();  // else the next run writes over a finished output
  }
  EXPECT_GT(killed, 20);
  EXPECT_GT(with_parts, 5);
  rerun();
}

}  // namespace
}  // namespace phalanx
