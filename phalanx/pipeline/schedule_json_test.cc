#include "phalanx/pipeline/schedule_json.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/test_schedules.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSmall = R"({"version":1,"kind":"1f1b","pp":2,"chunks":1,"micro_batches":1,)"
                               "\n"
                               R"("placement":[[0],[1]],)"
                               "\n"
                               R"("ranks":[)"
                               "\n"
                               R"([{"op":"F","mb":0,"chunk":0},{"op":"send_f","mb":0,"chunk":0,"peer":1},)"
                               R"({"op":"recv_b","mb":0,"chunk":0,"peer":1},{"op":"BW","mb":0,"chunk":0}],)"
                               "\n"
                               R"([{"op":"recv_f","mb":0,"chunk":0,"peer":0},{"op":"F","mb":0,"chunk":0},)"
                               R"({"op":"BW","mb":0,"chunk":0},{"op":"send_b","mb":0,"chunk":0,"peer":0}])"
                               "\n"
                               R"(],)"
                               "\n"
                               R"("peak_stash":[1,1]})";

std::string refused(const std::string& text) {
  return refusal([&] { schedule_from_json(text, "mine.json"); });
}

Json small() {
  return parse_json(kSmall, "small");
}

TEST(ScheduleJson, IsTheFormOfTheHeader) {
  EXPECT_EQ(schedule_to_json(generate_1f1b(2, 1, 1)), kSmall);
  EXPECT_EQ(schedule_from_json(kSmall, "x"), generate_1f1b(2, 1, 1));
  const std::string forward = schedule_to_json(forward_only(generate_1f1b(2, 1, 1)));
  EXPECT_THAT(forward, HasSubstr("\"micro_batches\":1,\"forward_only\":true,\n\"placement\""));
}

TEST(ScheduleJson, EveryKindComesBack) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    for (const bool forward : {false, true}) {
      for (const int pp : {1, 2, 5}) {
        const int chunks = kind.max_chunks == 1 ? 1 : 2;
        const Schedule schedule = make_schedule({.kind = std::string(kind.name),
                                                 .pp = pp,
                                                 .chunks = chunks,
                                                 .micro_batches = 7,
                                                 .forward_only = forward});
        const std::string text = schedule_to_json(schedule);
        EXPECT_EQ(schedule_from_json(text, "x"), schedule) << kind.name;
        EXPECT_EQ(schedule_to_json(schedule_from_json(text, "x")), text);
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), pp + 4);  // an action list a line
      }
    }
  }
}

TEST(ScheduleJson, AnyNameComesBack) {
  Schedule schedule = generate_1f1b(1, 1, 1);
  for (const std::string kind : {"", "a \"quoted\" \\ one", "line\nbreak", "\xc3\xa9t\xc3\xa9"}) {
    schedule.kind = kind;
    EXPECT_EQ(schedule_from_json(schedule_to_json(schedule), "x").kind, kind);
  }
  schedule.kind = "no \xff text";
  EXPECT_EQ(schedule_from_json(schedule_to_json(schedule), "x").kind, "no \xef\xbf\xbd text");
}

TEST(ScheduleJson, OrderOfKeysAndSpaceDoNotMatter) {
  const std::string text = R"( { "peak_stash" : [ 0 ], "ranks" : [ [ { "chunk":0, "mb":0, "op":"F" } ] ],
      "placement":[[0]], "forward_only":true, "micro_batches":1, "chunks":1, "pp":1, "kind":"k", "version":1 } )";
  EXPECT_EQ(schedule_from_json(text, "x").ranks, (std::vector<ActionList>{{F(0)}}));
}

TEST(ScheduleJson, WhatIsNoJsonIsRefusedWithItsLine) {
  const std::string text = kSmall;
  EXPECT_THAT(refused(text.substr(0, text.find("\"peer\":0"))), HasSubstr("line 5"));
  EXPECT_THAT(refused(""), HasSubstr("mine.json"));
  EXPECT_THAT(refused(std::string(1000, '[')), HasSubstr("nested deeper than 128"));
  EXPECT_EQ(refused("[1, 2]"),
            "mine.json: got a list of 2; needed an object: a schedule. Fix: correct the file at that place");
}

TEST(ScheduleJson, Versions) {
  Json json = small();
  json["version"] = 99;
  json["from the future"] = 1;
  EXPECT_EQ(
      refused(json.dump()),
      "mine.json: version: got 99; needed 1. Fix: read it with the version of phalanx that wrote it, or write it "
      "again");
  json["version"] = 0;
  EXPECT_THAT(refused(json.dump()), HasSubstr("mine.json: version: got 0; needed 1"));
  json.erase("version");
  EXPECT_THAT(refused(json.dump()), HasSubstr("mine.json: got no \"version\""));
}

TEST(ScheduleJson, UnknownAndMissingKeys) {
  for (const char* key : {"kind", "pp", "chunks", "micro_batches", "placement", "ranks", "peak_stash"}) {
    Json json = small();
    json.erase(key);
    EXPECT_EQ(
        refused(json.dump()),
        fmt::format("mine.json: got no \"{}\"; needed the field. Fix: correct the file at that place", key));
  }
  for (const char* key : {"op", "mb", "chunk", "peer"}) {
    Json json = small();
    json["ranks"][1][3].erase(key);
    EXPECT_THAT(refused(json.dump()), HasSubstr(fmt::format("mine.json: ranks[1][3]: got no \"{}\"", key)));
  }
  Json json = small();
  json["microbatches"] = 4;
  EXPECT_EQ(
      refused(json.dump()),
      "mine.json: got the unknown key \"microbatches\"; needed no other than version, kind, pp, chunks, "
      "micro_batches, forward_only, placement, ranks, peak_stash. Fix: did you mean \"micro_batches\"?");
  json = small();
  json["ranks"][0][2]["colour"] = "red";
  EXPECT_EQ(
      refused(json.dump()),
      "mine.json: ranks[0][2]: got the unknown key \"colour\"; needed no other than op, mb, chunk, peer. Fix: take "
      "it out");
}

TEST(ScheduleJson, WrongTypesAreRefusedAtTheirPlace) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = small();
    json[Json::json_pointer(pointer)] = value;
    return refused(json.dump());
  };
  EXPECT_THAT(with("/version", "1"), HasSubstr("mine.json: version: got \"1\"; needed a whole number"));
  EXPECT_THAT(with("/pp", 2.0),
              HasSubstr("mine.json: pp: got 2.0; needed a whole number of at most 31 bits"));
  EXPECT_THAT(with("/pp", true), HasSubstr("mine.json: pp: got true"));
  EXPECT_THAT(with("/chunks", nullptr), HasSubstr("mine.json: chunks: got null"));
  EXPECT_THAT(with("/micro_batches", int64_t{1} << 31),
              HasSubstr("mine.json: micro_batches: got 2147483648"));
  EXPECT_THAT(with("/micro_batches", std::numeric_limits<uint64_t>::max()),
              HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(with("/micro_batches", -(int64_t{1} << 40)), HasSubstr("got -1099511627776"));
  EXPECT_THAT(with("/kind", 4), HasSubstr("mine.json: kind: got 4; needed a text"));
  EXPECT_THAT(with("/forward_only", 1), HasSubstr("mine.json: forward_only: got 1; needed true or false"));
  EXPECT_THAT(with("/placement", Json::object()),
              HasSubstr("mine.json: placement: got an object of 0 fields; needed a list"));
  EXPECT_THAT(with("/placement/1", 1), HasSubstr("mine.json: placement[1]: got 1; needed a list"));
  EXPECT_THAT(with("/placement/1/0", "one"), HasSubstr("mine.json: placement[1][0]: got \"one\""));
  EXPECT_THAT(with("/ranks", 3), HasSubstr("mine.json: ranks: got 3; needed a list"));
  EXPECT_THAT(with("/ranks/0", "F"), HasSubstr("mine.json: ranks[0]: got \"F\"; needed a list"));
  EXPECT_THAT(with("/ranks/0/1", Json::array()),
              HasSubstr("mine.json: ranks[0][1]: got a list of 0; needed an object"));
  EXPECT_THAT(
      with("/ranks/0/1/op", "forward"),
      HasSubstr(
          "mine.json: ranks[0][1].op: got \"forward\"; needed F, B, W, BW, send_f, recv_f, send_b or recv_b"));
  EXPECT_THAT(with("/ranks/0/1/op", 1), HasSubstr("mine.json: ranks[0][1].op: got 1"));
  EXPECT_THAT(with("/ranks/0/1/mb", "0"), HasSubstr("mine.json: ranks[0][1].mb: got \"0\""));
  EXPECT_THAT(with("/ranks/0/1/peer", Json::array({1})),
              HasSubstr("mine.json: ranks[0][1].peer: got a list of 1"));
  EXPECT_THAT(with("/ranks/0/0/peer", 1),
              HasSubstr("mine.json: ranks[0][0].peer: got 1; needed no peer: F is no message"));
  EXPECT_THAT(with("/peak_stash/1", false), HasSubstr("mine.json: peak_stash[1]: got false"));
  EXPECT_LT(with("/kind", Json::array({std::string(100000, 'x')})).size(), 200u);
  EXPECT_LT(with("/ranks/0/1/op", std::string(100000, 'x')).size(), 250u);
  EXPECT_LT(with("/ranks/0/1/op", std::string(100000, '\x01')).size(), 250u);
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "\xc3\xa9";
  EXPECT_THAT(with("/ranks/0/1/op", accents),
              HasSubstr("got \"\\u00e9\\u00e9"));  // never cut within a letter
}

class ScheduleFile : public testing::Test {
 protected:
  std::string put(const std::string& text) const {
    write_file_atomic(folder_.path() + "/mine.json", text);
    return folder_.path() + "/mine.json";
  }
  TemporaryDirectory folder_;
};

TEST_F(ScheduleFile, IsVerified) {
  EXPECT_EQ(read_schedule_file(put(kSmall)), generate_1f1b(2, 1, 1));
  Json json = small();
  std::swap(json["ranks"][1][1], json["ranks"][1][2]);
  const std::string path = put(json.dump());
  EXPECT_THAT(refusal([&] { read_schedule_file(path); }),
              HasSubstr(path + ": got an illegal schedule\n  data: rank 1, action 1 (BW mb 0 chunk 0)"));
}

TEST_F(ScheduleFile, ClaimsOfHugeNumbersCostNothing) {
  for (const int64_t pp : {int64_t{1}, int64_t{3}, int64_t{1} << 12, int64_t{2147483647}}) {
    for (const int64_t m : {int64_t{1} << 12, int64_t{1} << 23, int64_t{2147483647}}) {
      Json json = small();
      json["pp"] = pp;
      json["chunks"] = 2147483647;
      json["micro_batches"] = m;
      EXPECT_THAT(refusal([&] { read_schedule_file(put(json.dump())); }), HasSubstr("shape:"));
    }
  }
  Json json = small();
  json["micro_batches"] = 1 << 23;
  EXPECT_THAT(refusal([&] { read_schedule_file(put(json.dump())); }), HasSubstr("never runs F mb 1 chunk 0"));
}

TEST(ScheduleFileErrors, AMissingFileIsAnIoError) {
  try {
    read_schedule_file("no/such/file.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
  }
}

}  // namespace
}  // namespace phalanx
