// The picture of a search: what is drawn and where, that it stays small, that its words are legible.
#include "phalanx/plan/search_svg.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "phalanx/plan/published.h"
#include "phalanx/plan/search_svg_points.h"
#include "phalanx/plan/test_search_svg.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SearchSvg, SaysWhatItShows) {
  const SearchResult result = result_of(
      {candidate(2, 40, true, "zb-v"), candidate(2.5, 30, true), candidate(4, 20), candidate(5, 60)},
      {candidate(0, 81), candidate(0, 95)});
  const std::string svg = draw(result);
  for (const char* words :
       {">A search<",
        "16 GPUs of a100-selene",
        "1.05M tokens a step",
        "6 layouts looked at",
        "4 fit",
        "2 simulated",
        ">zb-v<",
        ">1f1b<",
        ">simulated<",
        ">estimated<",
        ">least memory for its time<",
        ">capacity 80.0 GB<",
        ">do not fit<",
        ">81.0 GB<",
        ">95.0 GB<",
        "15.0 GB too much",
        ">tokens/s a GPU<",
        ">best:</tspan> tp 2, pp 4, dp 2, zb-v, b 1<",
        ">bubble<",
        ">tensor-parallel communication<",
        ">1. tp 2, pp 4, dp 2, zb-v, b 1<",
        ">2.00 s<",
        ">2.50 s, +25.0 %: matrix products +17.5 %, bubble +5.0 %<",
        "prefers-color-scheme:dark",
        "1. tp 2 pp 4 dp 2, zb-v, micro-batch 1 x 8\n2.00 s, 40.0 GB, 32.8k tokens/s a GPU, simulated"}) {
    EXPECT_THAT(svg, HasSubstr(words));
  }
  EXPECT_THAT(svg, Not(HasSubstr(">interleaved<")));  // what does not occur is not explained
  EXPECT_THAT(svg, Not(HasSubstr(">recomputation<")));
  EXPECT_THAT(svg, Not(HasSubstr("not drawn")));
  EXPECT_EQ(svg, draw(result));
}

TEST(SearchSvg, IsXmlWhateverTheNames) {
  EXPECT_EQ(xml_fault("<a><b c=\"1\"/>&lt;</a>"), "");
  EXPECT_EQ(xml_fault("<a><b></a></b>"), "</a");
  EXPECT_EQ(xml_fault("<a>&b;</a>"), "&b;");
  SearchResult result =
      result_of({candidate(2, 40, true, "<a>&\"b\".json"), candidate(3, 30)}, {candidate(0, 90)});
  result.misfits[0].layout.schedule = "x<y&z";
  const std::string svg = draw(result, "x < y & \"z\" \xff ]]>");
  EXPECT_EQ(xml_fault(svg), "");
  EXPECT_THAT(svg, HasSubstr("&lt;a&gt;&amp;&quot;b&quot;.json"));
  EXPECT_THAT(svg, HasSubstr("x&lt;y&amp;z"));
  EXPECT_THAT(svg, HasSubstr("x &lt; y &amp; &quot;z&quot; \uFFFD ]]&gt;"));
  Cluster cluster;
  cluster.name = "<mine>";
  EXPECT_EQ(xml_fault(search_svg(result, cluster, "", 0)), "");
}

TEST(SearchSvg, APointStandsWhereItsLayoutIs) {
  const SearchResult result = result_of({candidate(2, 70), candidate(3, 20), candidate(6, 55)});
  const std::string svg = draw(result);
  const std::vector<Element> dots = elements(svg, "<path class=\"est s");
  ASSERT_EQ(dots.size(), 3u);
  const auto place = [](const Element& dot) {
    const std::string d = dot.tag.substr(dot.tag.find(" d=\"M") + 5);
    return PlotPoint{std::stod(d), std::stod(d.substr(d.find(',') + 1))};
  };
  const auto capacity = elements(svg, "<path class=\"ref\"");
  ASSERT_EQ(capacity.size(), 1u);
  // From the slowest to the first of the ranking: 6 s, 3 s, 2 s.
  const PlotPoint a = place(dots[0]), b = place(dots[1]), c = place(dots[2]);
  EXPECT_NEAR((a.x - b.x) / (c.x - b.x), 35.0 / 50, 0.003);
  EXPECT_NEAR((b.y - a.y) / (c.y - a.y), std::log(2) / std::log(3), 0.003);
  const std::string ref = capacity[0].tag.substr(capacity[0].tag.find(" d=\"M") + 5);
  EXPECT_NEAR((std::stod(ref) - c.x) / (c.x - b.x), 10.0 / 50, 0.005);
}

TEST(SearchSvg, FilledWhenSimulated) {
  EXPECT_EQ(count(draw(random_result(50, 20, 3)), "<path class=\"sim f"), 20u);
  EXPECT_EQ(count(draw(random_result(50, 20, 3)), "<path class=\"est s"), 30u);
  const std::string none = draw(random_result(50, 0, 3));
  EXPECT_EQ(count(none, "<path class=\"sim "), 0u);
  EXPECT_THAT(none, Not(HasSubstr(">simulated<")));
  EXPECT_THAT(none, HasSubstr(", estimated<"));  // bars say it too
  EXPECT_THAT(draw(random_result(50, 50, 3)), Not(HasSubstr(">estimated<")));
}

TEST(SearchSvg, SchedulesAreToldApartWithoutColour) {
  std::vector<Candidate> all;
  for (const char* name : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "v-half", "own.json"}) {
    all.push_back(candidate(2, 40, true, name));
  }
  all.push_back(candidate(2, 40, true));
  all.back().layout.pp = 1;
  const std::string svg = draw(result_of(all));
  std::set<std::string> shapes, classes;
  for (const Element& dot : elements(svg, "<path class=\"sim f")) {
    if (dot.words.empty()) continue;
    classes.insert(dot.tag.substr(0, dot.tag.find(" d=")));
    const size_t from = dot.tag.find(" d=\"M") + 5;
    shapes.insert(dot.tag.substr(dot.tag.find_first_of("alhv", from)));
  }
  EXPECT_EQ(shapes.size(), 8u);
  EXPECT_EQ(classes.size(), 8u);
  for (const char* name : {">gpipe<", ">v-half<", ">no pipeline<", ">other schedule<"})
    EXPECT_THAT(svg, HasSubstr(name));
}

TEST(SearchSvg, TheFrontIsWhatNothingBeats) {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    const SearchResult result = random_result(400, 30, seed);
    const DotChoice choice = choose_dots(result);
    ASSERT_EQ(choice.dots.size(), 400u);
    std::set<size_t> front(choice.front.begin(), choice.front.end());
    for (size_t i = 0; i < choice.dots.size(); ++i) {
      const Dot& dot = choice.dots[i];
      const bool beaten = std::any_of(choice.dots.begin(), choice.dots.end(), [&](const Dot& other) {
        return other.memory() <= dot.memory() && other.seconds() <= dot.seconds() && other.rank != dot.rank;
      });
      EXPECT_EQ(front.count(i) == 1, !beaten) << seed << ": " << i;
      EXPECT_EQ(dot.front, !beaten);
    }
    const std::vector<size_t> named = named_dots(choice);
    EXPECT_EQ(named.size(), 1 + kNamedFrontDots);
    EXPECT_EQ(named[0], 0u);
    EXPECT_EQ(std::set<size_t>(named.begin(), named.end()).size(), named.size());
    for (size_t i = 1; i < named.size(); ++i) EXPECT_EQ(front.count(named[i]), 1u);
  }
}

TEST(SearchSvg, WhatLooksAlikeIsDrawnOnce) {
  SearchResult result =
      result_of({candidate(2, 40, true), candidate(2, 40, true), candidate(2, 40, true, "zb-h1"),
                 candidate(2, 41, true), candidate(2, 40, true)});
  result.ranked[1].layout.recompute = PlanRecompute::kSelective;
  const DotChoice choice = choose_dots(result);
  ASSERT_EQ(choice.dots.size(), 3u);
  EXPECT_EQ(choice.dots[0].alike, 2u);
  EXPECT_EQ(choice.dots[1].rank, 3u);
  EXPECT_EQ(choice.left_out, 0u);
  EXPECT_THAT(draw(result), HasSubstr("2 more like it"));
}

TEST(SearchSvg, StaysSmall) {
  const SearchResult many = random_result(100'000, 64, 5);
  const std::string svg = draw(many);
  EXPECT_LT(svg.size(), 800'000u);
  EXPECT_EQ(svg, draw(many));
  EXPECT_EQ(count(svg, " tokens/s a GPU, "), kMaxDots);
  EXPECT_THAT(svg, HasSubstr("98,000 slower ones not drawn"));
  EXPECT_EQ(xml_fault(svg), "");
  // The front is kept although its slow end is not among the fastest.
  const DotChoice choice = choose_dots(many);
  EXPECT_EQ(choice.dots.size(), kMaxDots);
  EXPECT_GT(choice.dots.back().rank, kMaxDots);
  EXPECT_EQ(choice.dots[100].rank, 101u);

  std::vector<Candidate> line;
  for (int i = 0; i < 100'000; ++i) line.push_back(candidate(3 + 1e-5 * i, 79 - 5e-4 * i));
  const SearchResult all_front = result_of(line);
  EXPECT_LE(choose_dots(all_front).front.size(), kMaxFrontDots);
  EXPECT_LT(draw(all_front).size(), 800'000u);
}

TEST(SearchSvg, WhatIsMuchSlowerIsLeftOut) {
  const SearchResult result =
      result_of({candidate(2, 40), candidate(7.9, 30), candidate(8.1, 20), candidate(900, 5)});
  const DotChoice choice = choose_dots(result);
  EXPECT_EQ(choice.dots.size(), 2u);
  EXPECT_EQ(choice.left_out, 2u);
  EXPECT_THAT(draw(result), HasSubstr("2 slower ones not drawn"));
}

TEST(SearchSvg, WordsAreApartAndInside) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const size_t n = std::vector<size_t>{1, 2, 7, 300}[seed % 4];
    const double spread = std::vector<double>{1e-4, 0.3, 8}[seed % 3];
    const double largest = seed % 5 == 0 ? 6 : 79;
    const std::string what = fmt::format("seed {} n {} spread {}", seed, n, spread);
    const SearchResult result = random_result(n, seed * 3, seed, spread, largest);
    expect_words_apart(draw(result, "A title " + std::string(200, 'x')), what);
    expect_words_apart(draw(result, "", seed % 2 == 0 ? 0 : 1 << 30), what);
  }
  const WeakScalingRow& row = weak_scaling_rows()[0];
  Cluster cluster = load_cluster("a100-selene");
  cluster.nodes = 2;
  const SearchResult real = search(model_of(row), cluster, find_software("megatron-2021"),
                                   {.gpus = 16, .global_batch = 512, .max_chunks = 4}, {.simulate_best = 8});
  expect_words_apart(search_svg(real, cluster, "Real", 512 * kPaperSequence), "real");
}

TEST(SearchSvg, NamesStandByTheirPoints) {
  std::mt19937 random(7);
  const LabelBox frame{50, 100, 850, 550};
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<LabelWish> wishes;
    LabelScene scene{.frame = frame, .points = {}, .line = {{60, 110}, {60, 300}, {800, 300}}};
    for (int i = 0; i < 6; ++i) {
      wishes.push_back({{60 + static_cast<double>(random() % 780), 110 + static_cast<double>(random() % 380)},
                        100 + static_cast<double>(random() % 300)});
    }
    for (int i = 0; i < 300; ++i) {
      scene.points.push_back(
          {50 + static_cast<double>(random() % 800), 100 + static_cast<double>(random() % 300)});
    }
    const std::vector<PlacedLabel> placed = place_labels(wishes, scene);
    ASSERT_EQ(placed.size(), wishes.size());
    for (size_t i = 0; i < placed.size(); ++i) {
      ASSERT_TRUE(placed[i].shown) << trial;
      const LabelBox box = label_box(placed[i], wishes[i].width);
      EXPECT_TRUE(box.left >= 50 && box.right <= 850 && box.top >= 100 && box.bottom <= 550) << trial;
      for (size_t j = 0; j < placed.size(); ++j) {
        const PlotPoint& p = wishes[j].point;
        EXPECT_FALSE(overlap(box, {p.x - 7, p.y - 7, p.x + 7, p.y + 7})) << trial;
        if (j == i) continue;
        EXPECT_FALSE(overlap(box, label_box(placed[j], wishes[j].width))) << trial;
        if (!placed[j].has_leader) continue;
        const double to = placed[j].leader_y;
        EXPECT_FALSE(overlap(box, {p.x - 1, std::min(p.y, to), p.x + 1, std::max(p.y, to)})) << trial;
      }
    }
  }
  // With all room in the world it stands beside its point; without any it is not there.
  const PlacedLabel free = place_labels({{{400, 300}, 100}}, {.frame = frame, .points = {}, .line = {}})[0];
  EXPECT_FALSE(free.has_leader);
  EXPECT_NEAR(free.baseline, 304, 1e-9);
  EXPECT_FALSE(place_labels({{{400, 300}, 900}}, {.frame = frame, .points = {}, .line = {}})[0].shown);
}

TEST(SearchSvg, NamesAlongAFrontKeepOutOfTheCrowdBehindIt) {
  const std::vector<LabelWish> wishes = {
      {{766, 461}, 360}, {{194, 353}, 350}, {{398, 449}, 265}, {{330, 392}, 420}, {{247, 385}, 280}};
  LabelScene scene{.frame = {54, 120, 860, 570}, .points = {}, .line = {{194, 120}}};
  for (const size_t i : {1u, 4u, 3u, 2u, 0u}) {
    const PlotPoint& p = wishes[i].point;
    scene.line.push_back({p.x, scene.line.back().y});
    scene.line.push_back(p);
    const double right = i == 0 ? 860 : wishes[i == 1 ? 4 : i == 4 ? 3 : i == 3 ? 2 : 0].point.x;
    for (double x = p.x + 5; x < right; x += 9) {
      for (double y = 125; y < p.y - 3; y += 9) scene.points.push_back({x, y});
    }
  }
  scene.line.push_back({860, 461});
  const std::vector<PlacedLabel> placed = place_labels(wishes, scene);
  for (size_t i = 0; i < placed.size(); ++i) {
    ASSERT_TRUE(placed[i].shown);
    const LabelBox box = label_box(placed[i], wishes[i].width);
    const bool crowded = std::any_of(scene.points.begin(), scene.points.end(), [&](const PlotPoint& p) {
      return overlap(box, {p.x - 3, p.y - 3, p.x + 3, p.y + 3});
    });
    EXPECT_FALSE(crowded) << i << " at " << box.left << ", " << box.top;
  }
}

TEST(SearchSvg, MemoryFarBelowTheCapacityIsOnALogAxis) {
  EXPECT_THAT(draw(random_result(100, 5, 1, 1, 79)), HasSubstr(">memory of a GPU, GB<"));
  EXPECT_THAT(draw(random_result(100, 5, 1, 1, 10)), HasSubstr(">memory of a GPU, GB (log scale)<"));
}

TEST(SearchSvg, OneLayoutOrNone) {
  const std::string one = draw(result_of({candidate(0.003, 1)}));
  EXPECT_EQ(count(one, "<path class=\"est s"), 1u);
  EXPECT_THAT(one, HasSubstr("1 layout looked at"));
  EXPECT_THAT(one, HasSubstr(">Where the time goes<"));
  EXPECT_THAT(one, Not(HasSubstr("do not fit")));
  expect_words_apart(one, "one");

  const std::string none = draw(result_of({}, {candidate(0, 90), candidate(0, 300)}));
  EXPECT_THAT(none, HasSubstr(">no layout that fits<"));
  EXPECT_THAT(none, HasSubstr(">300 GB<"));
  EXPECT_THAT(none, Not(HasSubstr("Where the time goes")));
  EXPECT_EQ(xml_fault(none), "");
  expect_words_apart(none, "none");
  EXPECT_EQ(xml_fault(draw(SearchResult{})), "");
}

TEST(SearchSvg, WhatIsNoTimeIsLeftOut) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinite = std::numeric_limits<double>::infinity();
  const std::string svg = draw(result_of({candidate(nan, 40), candidate(infinite, 40), candidate(0, 40),
                                          candidate(-1, 40), candidate(2, 0), candidate(3, 30)}));
  EXPECT_EQ(count(svg, "<path class=\"est s"), 1u);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_EQ(choose_dots(result_of({candidate(nan, 40), candidate(3, 30)})).dots[0].rank, 2u);
  EXPECT_EQ(choose_dots(result_of({candidate(infinite, 40)})).dots.size(), 0u);
}

TEST(SearchSvg, WithoutTokensNoRightAxis) {
  EXPECT_THAT(draw(random_result(20, 3, 2), "t", 0), Not(HasSubstr("tokens")));
}

TEST(SearchSvg, BarsAreAsLongAsTheirParts) {
  SearchResult result = result_of({candidate(4, 40, true), candidate(5, 30, true)});
  StepTime& time = result.ranked[1].time;
  time.work = {.product = 1, .core = 0.5, .pointwise = 0.25, .tensor = 0.5, .context = 0.25};
  time.recompute = 0.25;
  time.weights = time.messages = time.bubble = time.data = time.tied = time.optimizer = time.overhead = 0.25;
  time.data = 0.75;
  ASSERT_EQ(time_parts(time).size(), 13u);
  const std::string svg = draw(result);
  const double room = 1000 - 2 * 24.0;
  // Two bars of three and of thirteen parts, each in a group with its name.
  ASSERT_EQ(count(svg, "<g><title>"), 16u);
  std::set<std::string> looks;
  double x = 24;
  size_t at = svg.find("<g><title>matrix products: 1.00 s, 20.0 %<");
  ASSERT_NE(at, std::string::npos);
  for (const TimePart& part : time_parts(time)) {
    const size_t box = svg.find("<rect", at);
    const std::string tag = svg.substr(box, svg.find("/>", box) - box);
    const bool idle = part.name == "bubble";
    EXPECT_NEAR(attribute(tag, "x"), x + (idle ? 0.5 : 0), 0.02) << part.name;
    EXPECT_NEAR(attribute(tag, "width"), room * part.seconds / 5 - (idle ? 1.5 : 0.5), 0.02) << part.name;
    x += room * part.seconds / 5;
    const size_t end = svg.find("</g>", at);
    const bool hatched = svg.substr(at, end - at).find("\"over\"") != std::string::npos;
    EXPECT_EQ(hatched, part.name.find("communication") != std::string::npos ||
                           part.name == "gathering weights" || part.name == "pipeline messages" ||
                           part.name == "tied embeddings")
        << part.name;
    looks.insert(tag.substr(0, tag.find(" x=")));
    EXPECT_THAT(svg, HasSubstr(">" + part.name + "</text>"));
    at = svg.find("<g><title>", at + 1);
  }
  EXPECT_NEAR(x, 1000 - 24, 1e-6);
  EXPECT_EQ(looks.size(), 13u);
  expect_words_apart(svg, "bars");
}

}  // namespace
}  // namespace phalanx
