// Drawn timelines: what stands where, that nothing overlaps, that they stay small, that they are legible.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "phalanx/pipeline/test_render.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// Tags balance, attributes are quoted, & only starts an entity. Names the first thing that is wrong.
std::string xml_fault(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      const std::string entity = xml.substr(at, xml.find(';', at) - at + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;")
        return "entity " + entity;
    }
    if (xml[at] == '>') return "a lone > at " + std::to_string(at);
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    const size_t close = xml.find('>', at);
    if (close == std::string::npos) return "an open tag";
    const std::string tag = xml.substr(at + 1, close - at - 1);
    if (tag.find('<') != std::string::npos) return "< inside <" + tag;
    if (count(tag, "\"") % 2 != 0) return "a quote in <" + tag;
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != tag) return "<" + tag + ">";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = close + 1;
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

double attribute(const std::string& tag, const std::string& name) {
  const size_t at = tag.find(" " + name + "=\"");
  return at == std::string::npos ? std::nan("") : std::stod(tag.substr(at + name.size() + 3));
}

// All elements of one name, up to their closing bracket, and what stands behind it up to the next one.
struct Element {
  std::string tag;
  std::string words;
};
std::vector<Element> elements(const std::string& svg, const std::string& name) {
  std::vector<Element> all;
  for (size_t at = svg.find("<" + name + " "); at != std::string::npos;
       at = svg.find("<" + name + " ", at + 1)) {
    const size_t close = svg.find('>', at);
    all.push_back({svg.substr(at, close - at), svg.substr(close + 1, svg.find('<', close) - close - 1)});
  }
  return all;
}

void expect_texts_apart(const std::string& svg, const std::string& what) {
  struct Box {
    double left, right, bottom, top;
    std::string words;
  };
  const std::string root = svg.substr(0, svg.find('>'));
  std::vector<Box> boxes;
  for (const auto& [tag, words] : elements(svg, "text")) {
    double size = attribute(tag, "font-size");
    if (std::isnan(size)) size = tag.find("title") != std::string::npos ? 17 : 12;
    const double width = text_width(words, size);
    double left = attribute(tag, "x");
    if (tag.find(" mid") != std::string::npos || tag.find("num ") != std::string::npos) left -= width / 2;
    if (tag.find(" end") != std::string::npos) left -= width;
    const double y = attribute(tag, "y");
    boxes.push_back({left, left + width, y + 2, y - 0.7 * size, words});
  }
  for (size_t i = 0; i < boxes.size(); ++i) {
    const Box& a = boxes[i];
    EXPECT_GE(a.left, 0) << what << ": " << a.words;
    EXPECT_LE(a.right, attribute(root, "width")) << what << ": " << a.words;
    EXPECT_LE(a.bottom, attribute(root, "height")) << what << ": " << a.words;
    for (size_t j = 0; j < i; ++j) {
      const Box& b = boxes[j];
      const bool apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
      EXPECT_TRUE(apart) << what << ": '" << a.words << "' over '" << b.words << "'";
    }
  }
}

TEST(RenderSvg, SaysWhatItShows) {
  const Case c = one_f_one_b(4, 8);
  const std::string svg = c.svg();
  for (const char* words :
       {">Pipeline schedule 1f1b<", "p = 4 ranks", "v = 1 chunk ", "m = 8 micro-batches", "33 ticks",
        "bubble 37.5% (9 idle / 24 busy)", ">rank 0<", ">rank 3<", ">27.3% idle<", ">peak 4<", ">peak 1<",
        ">F forward<", ">BW backward<", ">idle<", ">time in ticks<", "prefers-color-scheme:dark"}) {
    EXPECT_THAT(svg, HasSubstr(words));
  }
  EXPECT_THAT(svg, Not(HasSubstr("gradient of the weights")));  // what does not occur is not explained
  EXPECT_EQ(svg, c.svg());
  EXPECT_EQ(svg, one_f_one_b(4, 8).svg());
}

TEST(RenderSvg, IsXmlWhateverTheTitle) {
  EXPECT_EQ(xml_fault("<a><b c=\"1\"/></a>"), "");
  EXPECT_EQ(xml_fault("<a><b></a></b>"), "</a>");
  EXPECT_EQ(xml_fault("<a>x & y</a>"), "entity & y</a>");
  EXPECT_EQ(xml_fault("<a>"), "<a> stays open");
  Case c = one_f_one_b(2, 3, {.forward_link = {1}});
  c.schedule.kind = "a<b>&\"c\"";
  EXPECT_EQ(xml_fault(render_svg(c.schedule, c.timeline, "x < y & \"z\" ]]>")), "");
  EXPECT_THAT(c.svg(), HasSubstr("a&lt;b&gt;&amp;&quot;c&quot;"));
  EXPECT_EQ(xml_fault(render_svg(c.schedule, c.timeline, "")), "");
  EXPECT_EQ(xml_fault(sequential(3, 20, 3).svg()), "");
  EXPECT_EQ(xml_fault(one_f_one_b(40, 200).svg()), "");
}

TEST(RenderSvg, ABlockStandsWhereItsActionRuns) {
  const Case c = one_f_one_b(3, 5);
  const std::string svg = c.svg();
  const std::vector<Element> blocks = elements(svg, "rect class=\"blk");
  ASSERT_EQ(blocks.size(), 3u * 5 * 2);
  EXPECT_EQ(count(svg, "class=\"num "), 3u * 5 * 2);
  size_t next = 0;
  const std::vector<Element> tracks = elements(svg, "rect class=\"track\"");
  ASSERT_EQ(tracks.size(), 4u);  // and the one of the legend
  for (size_t rank = 0; rank < 3; ++rank) {
    const double left = attribute(tracks[rank + 1].tag, "x");
    const double tick = attribute(tracks[rank + 1].tag, "width") / static_cast<double>(c.timeline.makespan);
    for (const TimelineSpan& span : c.timeline.ranks[rank]) {
      if (!is_compute(span.action.op)) continue;
      const std::string& tag = blocks[next++].tag;
      EXPECT_NEAR(attribute(tag, "x"), left + static_cast<double>(span.begin) * tick, 0.1);
      EXPECT_NEAR(attribute(tag, "width"), static_cast<double>(span.end - span.begin) * tick - 1, 0.1);
      EXPECT_EQ(attribute(tag, "y"), attribute(tracks[rank + 1].tag, "y"));
      EXPECT_THAT(tag, HasSubstr(span.action.op == Op::kForward ? "kf0" : "kd0"));
    }
  }
  EXPECT_THAT(svg, HasSubstr("<title>F mb 4 chunk 0: "));
}

TEST(RenderSvg, TheStashCurveStepsUpToItsPeak) {
  const Case c = one_f_one_b(2, 2);
  const std::string svg = c.svg();
  const auto curves = elements(svg, "path class=\"stash\"");
  ASSERT_EQ(curves.size(), 3u);  // the legend's and two
  const auto lowest = [](const std::string& tag) {
    double y = 0, least = 0;
    for (size_t at = tag.find(" d=\""); at < tag.size(); ++at) {
      if (tag[at] == 'v') least = std::min(least, y += std::stod(tag.substr(at + 1)));
    }
    EXPECT_EQ(y, 0) << "it ends where it began";
    return least;
  };
  EXPECT_EQ(lowest(curves[1].tag), 2 * lowest(curves[2].tag));  // peaks of 2 and 1, on one scale
}

TEST(RenderSvg, NothingOverlaps) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    for (const int pp : {1, 3, 8, 12}) {
      for (const int micro_batches : {1, 8, 33}) {
        const int chunks = std::max(kind.min_chunks, kind.max_chunks == 0 ? 3 : 1);
        const Case c =
            case_of(kind.generate(pp, chunks, micro_batches), {.stages = {{3, 3, 3}}, .forward_link = {1}});
        expect_texts_apart(c.svg(), fmt::format("{} p {} m {}", kind.name, pp, micro_batches));
      }
    }
  }
  expect_texts_apart(one_f_one_b(150, 300).svg(), "many ranks");
  expect_texts_apart(sequential(2, 40, 2).svg(), "many chunks");
  expect_texts_apart(one_f_one_b(2, 1200, {.stages = {{1000000, 999999, 1234567}}}).svg(), "long");
}

TEST(RenderSvg, StaysSmall) {
  const Case large = one_f_one_b(64, 512);
  std::string svg = large.svg();
  EXPECT_LT(svg.size(), 3'000'000u);
  EXPECT_EQ(count(svg, "class=\"blk"), 0u);
  EXPECT_EQ(count(svg, "class=\"run kf0\""), 64u);
  EXPECT_THAT(svg, Not(HasSubstr("one of the actions")));  // a tick is wide enough to be drawn
  // Lossy, and says so.
  svg = one_f_one_b(200, 2000).svg();
  EXPECT_LT(svg.size(), 3'000'000u);
  EXPECT_THAT(svg, HasSubstr("128 of 200 ranks drawn"));
  EXPECT_THAT(svg, ContainsRegex("a column is [0-9]+ ticks: one of the actions in it"));
  EXPECT_THAT(svg, HasSubstr(">rank 199<"));
  EXPECT_LT(
      one_f_one_b(64, 3000, {.stages = {{3, 3, 3}}, .forward_link = {2}, .backward_link = {2}}).svg().size(),
      3'000'000u);
  EXPECT_LT(one_f_one_b(128, 900, {.stages = {{1, 1, 1}}, .forward_link = {1}}).svg().size(), 3'000'000u);
  EXPECT_EQ(xml_fault(svg), "");
}

TEST(RenderSvg, RunsCoverWhatTheRankComputes) {
  const Case c = one_f_one_b(64, 100);
  std::vector<std::string> drawn(static_cast<size_t>(c.timeline.makespan));  // of rank 0, a class a tick
  int paths = 0;
  for (const auto& [tag, words] : elements(c.svg(), "path class=\"run")) {
    if (++paths > 2) break;
    double at_tick = 0;
    for (size_t at = tag.find(" d=\"M0,0") + 8; at < tag.size(); ++at) {
      if (tag[at] != 'm' && tag[at] != 'h') continue;
      const double length = std::stod(tag.substr(at + 1));
      for (double tick = at_tick; tag[at] == 'h' && tick < at_tick + length; ++tick) {
        std::string& there = drawn.at(static_cast<size_t>(tick));
        EXPECT_EQ(there, "") << tick;
        there = tag.substr(17, 3);
      }
      at_tick += length;
    }
  }
  std::vector<std::string> expected(drawn.size());
  for (const TimelineSpan& span : c.timeline.ranks[0]) {
    if (!is_compute(span.action.op)) continue;
    for (int64_t tick = span.begin; tick < span.end; ++tick) {
      expected[static_cast<size_t>(tick)] = span.action.op == Op::kForward ? "kf0" : "kd0";
    }
  }
  EXPECT_EQ(drawn, expected);
}

TEST(RenderSvg, NumbersAreLeftOutWhereTheyDoNotFit) {
  const std::string svg = one_f_one_b(2, 400).svg();
  EXPECT_EQ(count(svg, "class=\"blk "), 2u * 400 * 2);
  EXPECT_EQ(count(svg, "class=\"num "), 0u);
  const std::string wide = one_f_one_b(2, 400, {.stages = {{1, 40, 40}}}).svg();
  EXPECT_EQ(count(wide, "class=\"num "), 0u);
  const std::string uneven = one_f_one_b(2, 12, {.stages = {{1, 40, 40}}}).svg();
  EXPECT_EQ(count(uneven, "class=\"num "), 2u * 12);  // of BW alone
}

TEST(RenderSvg, NumbersAreLegibleOnEveryTone) {
  const auto luminance = [](const std::string& hex) {
    double sum = 0;
    const double weights[3] = {0.2126, 0.7152, 0.0722};
    for (size_t i = 0; i < 3; ++i) {
      const double c = std::stoi(hex.substr(2 * i, 2), nullptr, 16) / 255.0;
      sum += weights[i] * (c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
    }
    return sum;
  };
  const double paper = luminance("ffffff"), ink = luminance("000000");
  for (const int chunks : {1, 2, 3, 4, 8}) {
    Case c = sequential(1, chunks, 1);
    c.timeline.ranks[0].push_back(
        {{.op = Op::kBackward, .chunk = 0}, c.timeline.makespan, c.timeline.makespan + 2});
    c.timeline.makespan += 2;
    const std::string svg = c.svg();
    const auto blocks = elements(svg, "rect class=\"blk");
    const auto numbers = elements(svg, "text class=\"num");
    ASSERT_EQ(blocks.size(), numbers.size());
    for (size_t i = 0; i < blocks.size(); ++i) {
      const size_t at = blocks[i].tag.find(" k") + 1;
      const std::string css = blocks[i].tag.substr(at, blocks[i].tag.find('"', at) - at);
      const size_t rule = svg.find("." + css + "{color:#");
      ASSERT_NE(rule, std::string::npos) << css;
      const double block = luminance(svg.substr(rule + css.size() + 9, 6));
      const double text = numbers[i].tag.find("paper") != std::string::npos ? paper : ink;
      const double contrast = (std::max(block, text) + 0.05) / (std::min(block, text) + 0.05);
      EXPECT_GE(contrast, 4.5) << css << " of " << chunks << " chunks";
    }
  }
}

TEST(RenderSvg, NoTimeAtAllIsStillAPicture) {
  const Case c = one_f_one_b(2, 2, {.stages = {{0, 0, 0}}});
  ASSERT_EQ(c.timeline.makespan, 0);
  const std::string svg = c.svg();
  EXPECT_EQ(xml_fault(svg), "");
  EXPECT_THAT(svg, Not(ContainsRegex("nan|inf\"|[^a-z]inf")));
  EXPECT_THAT(render_text(c.schedule, c.timeline), HasSubstr("rank 1 ||"));
}

}  // namespace
}  // namespace phalanx
