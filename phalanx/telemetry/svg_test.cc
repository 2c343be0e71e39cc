#include "phalanx/telemetry/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "phalanx/base/fs.h"
#include "phalanx/telemetry/svg_text.h"
#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

PlotSeries falling(const std::string& name, int points, double smoothing = 0) {
  PlotSeries series{.name = name, .smoothing = smoothing};
  for (int i = 1; i <= points; ++i) {
    series.x.push_back(i);
    series.y.push_back(2 + 3 * std::exp(-5.0 * i / points) + 0.05 * std::sin(i));
  }
  return series;
}

LinePlot plot_of(std::vector<PlotSeries> series) {
  return {.title = "Training loss", .x_label = "step", .y_label = "nats", .series = std::move(series)};
}

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

struct TextBox {
  double left, right, bottom, top;
  std::string words;
};

double attribute(const std::string& tag, const std::string& name) {
  return std::stod(tag.substr(tag.find(" " + name + "=\"") + name.size() + 3));
}

// The boxes of all <text> elements, by the library's own estimate of widths.
std::vector<TextBox> text_boxes(const std::string& svg) {
  std::vector<TextBox> boxes;
  for (size_t at = svg.find("<text "); at != std::string::npos; at = svg.find("<text ", at + 1)) {
    const size_t close = svg.find('>', at);
    const std::string tag = svg.substr(at, close - at);
    std::string words = svg.substr(close + 1, svg.find("</text>", at) - close - 1);
    for (size_t open = words.find('<'); open != std::string::npos; open = words.find('<')) {
      words.erase(open, words.find('>', open) - open + 1);
    }
    const double size = tag.find("title") != std::string::npos ? 17 : 12;
    const double width = text_width(words, size);
    double left = attribute(tag, "x");
    if (tag.find(" mid") != std::string::npos) left -= width / 2;
    if (tag.find(" end") != std::string::npos) left -= width;
    const double y = attribute(tag, "y");
    boxes.push_back({left, left + width, y + 2, y - 0.7 * size, words});
  }
  return boxes;
}

void expect_no_overlap(const LinePlot& plot) {
  const std::vector<TextBox> boxes = text_boxes(render_svg(plot));
  for (size_t i = 0; i < boxes.size(); ++i) {
    const TextBox& a = boxes[i];
    EXPECT_GE(a.left, 0) << a.words;
    EXPECT_LE(a.right, plot.width) << a.words;
    EXPECT_LE(a.bottom, plot.height) << a.words;
    for (size_t j = 0; j < i; ++j) {
      const TextBox& b = boxes[j];
      const bool apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
      EXPECT_TRUE(apart) << "'" << a.words << "' over '" << b.words << "'";
    }
  }
}

TEST(Svg, HasItsParts) {
  LinePlot plot = plot_of({falling("train", 100, 0.9), falling("validation", 5)});
  plot.subtitle = "12M parameters";
  plot.references = {{3.5, "bigram model"}};
  const std::string svg = render_svg(plot);
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 880 500\""));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  for (const char* words : {">Training loss<", ">12M parameters<", ">nats<", ">step<", ">train<",
                            ">validation<", ">0<", ">100<", ">bigram model <tspan class=\"strong\">3.500<"}) {
    EXPECT_THAT(svg, HasSubstr(words));
  }
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(svg, HasSubstr("<rect class=\"bg\""));
  EXPECT_EQ(count(svg, "<path class=\"raw s0\""), 1u);
  EXPECT_EQ(count(svg, "<path class=\"curve s0\""), 2u);  // legend and average
  EXPECT_EQ(count(svg, "<path class=\"curve s1\""), 2u);
  EXPECT_EQ(count(svg, "<path class=\"ref\""), 1u);
  EXPECT_EQ(count(svg, "<circle class=\"f1\""), 5u);  // few points get dots
  EXPECT_EQ(svg, render_svg(plot));
  EXPECT_THAT(svg, Not(ContainsRegex("nan|inf,|,inf")));
}

TEST(Svg, AHigherValueIsDrawnHigherAndLaterIsFurtherRight) {
  const std::string svg = render_svg(plot_of({{.x = {1, 2}, .y = {5, 3}}}));
  const size_t at = svg.find("class=\"curve s0\" d=\"M") + 20;
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  ASSERT_EQ(std::sscanf(svg.c_str() + at, "M%lf,%lfL%lf,%lf", &x1, &y1, &x2, &y2), 4);
  EXPECT_LT(x1, x2);
  EXPECT_LT(y1, y2);
}

TEST(Svg, GapsAreMarkedAndLonePointsSeen) {
  PlotSeries series = falling("train", 100);
  series.y[40] = std::nan("");
  series.y[42] = INFINITY;  // point 41 stands alone
  const std::string svg = render_svg(plot_of({series}));
  EXPECT_EQ(count(svg, "<path class=\"curve s0\""), 3u);  // legend and two pieces
  EXPECT_EQ(count(svg, "<circle"), 1u);
  EXPECT_EQ(count(svg, "<path class=\"bad\""), 2u);
  EXPECT_THAT(svg, Not(ContainsRegex("nan|inf")));
}

TEST(Svg, ALogAxisDropsWhatIsNotPositive) {
  LinePlot plot = plot_of({{.x = {1, 2, 3, 4, 5}, .y = {10, 1, 0, -1, 0.1}}});
  plot.log_y = true;
  plot.references = {{0, "nothing"}, {1, "one"}};
  const std::string svg = render_svg(plot);
  EXPECT_EQ(count(svg, "<path class=\"ref\""), 1u);
  EXPECT_EQ(count(svg, "<path class=\"bad\""), 0u);
  EXPECT_EQ(count(svg, "<circle"), 3u);
  EXPECT_THAT(svg, Not(HasSubstr("nothing")));
}

TEST(Svg, ALogXAxisHasEqualStepsForEqualFactors) {
  LinePlot plot = plot_of({{.x = {0, 1, 10, 100}, .y = {9, 1, 2, 3}}});
  plot.log_x = true;
  const std::string svg = render_svg(plot);
  std::vector<double> x;
  for (size_t at = svg.find("cx=\""); at != std::string::npos; at = svg.find("cx=\"", at + 1))
    x.push_back(std::stod(svg.substr(at + 4)));
  ASSERT_EQ(x.size(), 3u) << "nothing at 0";
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.11);
  EXPECT_THAT(svg, HasSubstr(">100<"));
}

TEST(Svg, PlotsWithoutDataSaySo) {
  for (const LinePlot& plot : {plot_of({}), plot_of({{.name = "train"}}),
                               plot_of({{.name = "train", .x = {1, 2}, .y = {NAN, INFINITY}}})}) {
    EXPECT_THAT(render_svg(plot), HasSubstr("no data yet"));
  }
}

TEST(Svg, LabelsNeverOverlap) {
  for (const int points : {1, 2, 5, 100, 2000}) expect_no_overlap(plot_of({falling("train", points, 0.9)}));
  PlotSeries constant{.name = "lr", .x = {0, 5e6, 12e6}, .y = {6e-4, 6e-4, 6e-4}};
  expect_no_overlap(plot_of({constant}));
  LinePlot crowded = plot_of({});
  for (int i = 0; i < 8; ++i)
    crowded.series.push_back(falling("run with a long name " + std::to_string(i), 50));
  crowded.references = {
      {2.0, "bigram model"}, {2.01, "gzip"}, {1.99, std::string(200, 'w')}, {4.9, "unigram"}};
  crowded.title = std::string(300, 't');
  crowded.subtitle = std::string(300, 's');
  expect_no_overlap(crowded);
  crowded.width = 480;
  crowded.height = 400;
  expect_no_overlap(crowded);
}

TEST(Svg, TheFileStaysSmallWithManyPoints) {
  std::mt19937 random(1);
  PlotSeries series{.name = "train", .smoothing = 0.99};
  for (int i = 0; i < 300000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::normal_distribution<double>(3, 0.2)(random));
  }
  EXPECT_LT(render_svg(plot_of({series})).size(), 150000u);
}

TEST(Svg, NamesAreEscaped) {
  LinePlot plot = plot_of({falling("a<b>&\"c\"", 5)});
  plot.title = "</svg><script>";
  const std::string svg = render_svg(plot);
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;&amp;&quot;c&quot;"));
  EXPECT_EQ(count(svg, "</svg>"), 1u);
}

TEST(Svg, WritesAtomicallyAndReportsFailure) {
  const TemporaryDirectory folder;
  const LinePlot plot = plot_of({falling("train", 5)});
  write_svg(folder.path() + "/loss.svg", plot);
  EXPECT_EQ(read_file(folder.path() + "/loss.svg"), render_svg(plot));
  const Error error = error_of([&] { write_svg(folder.path() + "/no/loss.svg", plot); });
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), HasSubstr("/no/loss.svg: got create failed: No such file or directory"));
}

TEST(SvgDeathTest, SeriesOfUnequalLengthAreABug) {
  EXPECT_DEATH(render_svg(plot_of({{.name = "train", .x = {1, 2}, .y = {1}}})), "one y for each x: train");
}

// Any numbers, any bytes as text: valid structure, finite coordinates.
TEST(Svg, FuzzAnyInputGivesAPlot) {
  std::mt19937_64 random(11);
  const double specials[] = {0, -0.0, NAN, INFINITY, -INFINITY, 1e308, -1e308, 5e-324, 1, -1, 1e15};
  for (int round = 0; round < 3000; ++round) {
    LinePlot plot{.log_y = random() % 2 == 0,
                  .width = 200 + static_cast<int>(random() % 800),
                  .height = 150 + static_cast<int>(random() % 500)};
    const auto number = [&] {
      return random() % 3 == 0 ? specials[random() % std::size(specials)] : std::bit_cast<double>(random());
    };
    const auto words = [&] {
      std::string text(random() % 40, ' ');
      for (char& c : text) c = static_cast<char>(random());
      return text;
    };
    plot.title = words();
    plot.y_label = words();
    for (uint64_t s = random() % 4; s > 0; --s) {
      PlotSeries series{.name = words(), .smoothing = random() % 2 == 0 ? 0.0 : 0.9};
      for (uint64_t i = random() % 60; i > 0; --i) {
        series.x.push_back(number());
        series.y.push_back(number());
      }
      plot.series.push_back(series);
    }
    for (uint64_t r = random() % 3; r > 0; --r) plot.references.push_back({number(), words()});
    const std::string svg = render_svg(plot);
    ASSERT_TRUE(svg.ends_with("</svg>\n"));
    ASSERT_EQ(count(svg, "<text"), count(svg, "</text>"));
    for (const char* broken : {"\"nan", ",nan", "\"inf", ",inf", "-nan"}) {
      ASSERT_THAT(svg, Not(HasSubstr(broken))) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace phalanx
