// Timelines as text and as traces. The SVG has render_svg_test.cc.
#include "phalanx/pipeline/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/pipeline/render_raster.h"
#include "phalanx/pipeline/test_render.h"
#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(RenderText, Of1F1BWithTwoRanks) {
  const Case c = one_f_one_b(2, 2);
  EXPECT_EQ(render_text(c.schedule, c.timeline),
            "1f1b: 2 ranks x 1 chunk, 2 micro-batches; 9 ticks, bubble 50.0%\n"
            "        0\n"
            "rank 0 |01..aA.bB| peak 2\n"
            "rank 1 |.0aA1bB..| peak 1\n"
            "0-9 F, aA-jJ BW of micro-batch 0-9, . idle; a column is 1 tick\n");
}

TEST(RenderText, ChunksStandBeneathAndSplitBackwardsAreApart) {
  const Case c = sequential(1, 2, 2);
  const std::vector<std::string> lines = lines_of(render_text(c.schedule, c.timeline));
  EXPECT_EQ(lines[2], "rank 0 |00aaAA11bbBB| peak 2");
  EXPECT_EQ(lines[3], "chunk   011001011001");
  EXPECT_EQ(lines[4], "0-9 F, a-j B, A-J W of micro-batch 0-9; a column is 1 tick");
}

TEST(RenderText, ColumnsAreAsManyTicksAsItTakes) {
  // All times are multiples of 100: nothing is lost in columns of 100 ticks.
  const Case hundreds = one_f_one_b(2, 2, {.stages = {{100, 100, 100}}});
  std::string text = render_text(hundreds.schedule, hundreds.timeline);
  EXPECT_THAT(text, HasSubstr("rank 0 |01..aA.bB|"));
  EXPECT_THAT(text, HasSubstr("a column is 100 ticks\n"));
  const Case many = one_f_one_b(4, 60);
  text = render_text(many.schedule, many.timeline, 80);
  EXPECT_THAT(text, HasSubstr("(last digit)"));
  EXPECT_THAT(text, HasSubstr("a column is 3 ticks and shows one of the actions in it"));
  for (const std::string& line : lines_of(text)) {
    EXPECT_TRUE(!line.starts_with("rank") || line.size() <= 80) << line;
  }
  EXPECT_THAT(lines_of(text)[2], HasSubstr("peak 4"));
}

TEST(RenderText, MessagesShowWhereARankOnlyWaits) {
  const Case c = one_f_one_b(2, 1, {.forward_link = {2}, .backward_link = {1}});
  const std::vector<std::string> lines = lines_of(render_text(c.schedule, c.timeline));
  EXPECT_EQ(lines[2], "rank 0 |0~~...~aA| peak 1");
  EXPECT_EQ(lines[3], "rank 1 |.~~0aA~..| peak 1");
  EXPECT_THAT(lines[4], HasSubstr("~ only a message, . idle"));
}

TEST(RenderText, ForwardOnlyHasNoStash) {
  const Case c = case_of(forward_only(generate_1f1b(2, 1, 3)));
  const std::string text = render_text(c.schedule, c.timeline);
  EXPECT_THAT(text, HasSubstr("forward only"));
  EXPECT_THAT(text, HasSubstr("rank 1 |.012|\n"));
  EXPECT_THAT(text, Not(HasSubstr("peak")));
  EXPECT_THAT(c.svg(), Not(HasSubstr("class=\"stash\"")));
}

TEST(RenderRaster, AColumnShowsOneOfItsActions) {
  const auto span = [](Op op, int64_t begin, int64_t end) { return TimelineSpan{{.op = op}, begin, end}; };
  const std::vector<TimelineSpan> spans = {span(Op::kForward, 0, 2), span(Op::kSendForward, 2, 9),
                                           span(Op::kForward, 3, 4), span(Op::kBackward, 4, 9)};
  EXPECT_THAT(raster_spans(spans, 9, 1, takes_compute), ElementsAre(0, 0, -1, 2, 3, 3, 3, 3, 3));
  EXPECT_THAT(raster_spans(spans, 9, 3, takes_compute), ElementsAre(0, 3, 3));
  EXPECT_THAT(raster_spans(spans, 9, 4, takes_compute), ElementsAre(0, 3, 3));  // the last one is a tick long
  EXPECT_THAT(raster_spans(spans, 20, 5, takes_compute), ElementsAre(0, 3, -1, -1));
  EXPECT_THAT(raster_spans(spans, 9, 3, takes_message), ElementsAre(-1, 1, 1));
  EXPECT_THAT(raster_spans({span(Op::kForward, 0, 1), span(Op::kBackward, 1, 2)}, 2, 2, takes_compute),
              ElementsAre(0));
  EXPECT_THAT(raster_stash({{0, 0}, {2, 1}, {3, 4}, {4, 1}, {9, 0}}, 10, 3), ElementsAre(1, 4, 1, 0));
  EXPECT_EQ(
      timeline_grain({.ranks = {{span(Op::kForward, 0, 6), span(Op::kBackward, 9, 15)}}, .makespan = 15}), 3);
  EXPECT_EQ(timeline_grain({.ranks = {{}}, .makespan = 0}), 1);
}

TEST(RenderRaster, EveryKindHasItsShareOfTheColumns) {
  const Case c = one_f_one_b(2, 500);  // rank 1: F and BW in turn, 500 of 1502 ticks and 1000
  for (const int64_t column : {2, 3, 5, 7, 30}) {
    std::map<Op, int64_t> shown;
    int64_t idle = 0;
    for (const int span : raster_spans(c.timeline.ranks[1], c.timeline.makespan, column, takes_compute)) {
      ++(span < 0 ? idle : shown[c.timeline.ranks[1][static_cast<size_t>(span)].action.op]);
    }
    EXPECT_NEAR(static_cast<double>(shown[Op::kForward] * column), 500, 2.0 * static_cast<double>(column));
    EXPECT_NEAR(static_cast<double>(shown[Op::kBackward] * column), 1000, 2.0 * static_cast<double>(column));
    EXPECT_LE(idle, 2);
  }
}

TEST(RenderTrace, HasEveryActionOnItsTrack) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/trace.json";
  const Case c = one_f_one_b(3, 4, {.forward_link = {2}, .backward_link = {1}});
  write_trace(path, c.schedule, c.timeline);
  const std::string bytes = read_file(path);
  write_trace(path, c.schedule, c.timeline);
  EXPECT_EQ(read_file(path), bytes);

  std::map<std::pair<int, int>, std::string> tracks;
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> times;
  size_t compute = 0, messages = 0;
  double most_stashed = 0;
  for (const Json& event : parse_json(bytes, path)) {
    const std::string kind = event.at("ph");
    const std::pair<int, int> track = {event.at("pid"), event.at("tid")};
    if (event.at("name") == "thread_name") tracks[track] = event.at("args").at("name");
    if (kind == "C") most_stashed = std::max(most_stashed, event.at("args").at("value").get<double>());
    if (kind != "X") continue;
    ++(event.at("cat") == "compute" ? compute : messages);
    times[track].push_back({event.at("ts"), event.at("ts").get<double>() + event.at("dur").get<double>()});
    EXPECT_EQ(event.at("args").at("stage"), track.first);
  }
  EXPECT_EQ(compute, 3u * 4 * 2);
  EXPECT_EQ(messages, 2u * 4 * 4);
  EXPECT_EQ(most_stashed, 3);
  EXPECT_EQ((tracks[{1, 7}]), "compute");
  EXPECT_EQ((tracks[{1, 20}]), "messages");
  for (const auto& [track, spans] : times) {
    EXPECT_EQ(tracks.count(track), 1u);
    for (size_t i = 1; i < spans.size(); ++i) EXPECT_GE(spans[i].first, spans[i - 1].second) << track.second;
  }
  EXPECT_THAT(bytes, HasSubstr("\"name\":\"BW 3\""));
}

TEST(RenderTrace, SplitBackwardsHaveATrackForWeights) {
  const TemporaryDirectory folder;
  const Case c = sequential(1, 1, 2);
  write_trace(folder.path() + "/t.json", c.schedule, c.timeline);
  const std::string bytes = read_file(folder.path() + "/t.json");
  EXPECT_THAT(bytes, HasSubstr("\"weight gradients\""));
  EXPECT_THAT(
      bytes,
      HasSubstr("{\"ph\":\"X\",\"name\":\"W 1\",\"cat\":\"compute\",\"pid\":0,\"tid\":8,\"ts\":5.000"));
}

TEST(RenderTrace, AppearsWholeOrNotAtAll) {
  const TemporaryDirectory folder;
  const Case c = one_f_one_b(2, 2);
  const auto write_to = [&](const std::string& path) {
    return error_of([&] { write_trace(path, c.schedule, c.timeline); });
  };
  Error error = write_to(folder.path() + "/no/trace.json");
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_EQ(error.parts().where, folder.path() + "/no/trace.json");
  EXPECT_THAT(error.what(), HasSubstr("No such file"));
  make_directories(folder.path() + "/taken/inside");
  error = write_to(folder.path() + "/taken");
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), HasSubstr("/taken: got rename failed: Is a directory"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(entry.path().filename(), "taken") << "a leftover";
  }
}

}  // namespace
}  // namespace phalanx
