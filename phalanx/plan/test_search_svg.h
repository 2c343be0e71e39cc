// File: phalanx/plan/test_search_svg.h
//
// Purpose: for tests of the picture of a search: results to draw, and the picture taken apart.
// Contract: `random_result` depends on its arguments alone; fastest first, the first `simulated` simulated.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/plan/search_svg.h"
#include "phalanx/plan/search_svg_labels.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {

inline constexpr int64_t kTokens = 1 << 20;

inline Candidate candidate(double seconds, double gigabytes, bool simulated = false,
                           const std::string& schedule = "1f1b") {
  Candidate c{.layout = {.tp = 2, .pp = 4, .dp = 2, .schedule = schedule, .global_batch = 16},
              .time = {.seconds = seconds},
              .memory = static_cast<int64_t>(gigabytes * 1e9)};
  c.time.simulated = simulated;
  c.time.work.product = 0.7 * seconds;
  c.time.work.tensor = 0.1 * seconds;
  c.time.bubble = 0.2 * seconds;
  return c;
}

inline SearchResult result_of(std::vector<Candidate> ranked, std::vector<Candidate> misfits = {}) {
  SearchResult result{.ranked = std::move(ranked), .misfits = std::move(misfits), .capacity = 80'000'000'000};
  result.looked_at = result.ranked.size() + result.misfits.size();
  for (const Candidate& c : result.ranked) result.simulated += c.time.simulated ? 1 : 0;
  return result;
}

// More memory makes faster, on the whole.
inline SearchResult random_result(size_t n, size_t simulated, uint32_t seed, double spread = 1,
                                  double largest = 79) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
  const std::vector<std::string> names = {"gpipe", "1f1b",   "interleaved", "zb-h1",
                                          "zb-v",  "v-half", "own.json"};
  std::vector<Candidate> all;
  for (size_t i = 0; i < n; ++i) {
    const double share = 0.02 + 0.98 * uniform();
    const double seconds = 3 * (1 + spread * (uniform() + 0.5 * (1 - share)));
    Candidate c = candidate(seconds, share * largest, false, names[random() % names.size()]);
    c.layout.tp = int64_t{1} << random() % 4;
    c.layout.sequence_parallel = random() % 2 == 0;
    c.layout.recompute = static_cast<PlanRecompute>(random() % 3);
    c.layout.zero = static_cast<int64_t>(random() % 4);
    if (random() % 7 == 0) c.layout.pp = 1;
    all.push_back(c);
  }
  std::sort(all.begin(), all.end(),
            [](const Candidate& a, const Candidate& b) { return a.time.seconds < b.time.seconds; });
  for (size_t i = 0; i < std::min(simulated, n); ++i) all[i].time.simulated = true;
  std::vector<Candidate> misfits;
  for (size_t i = 0; i < seed % 9; ++i) misfits.push_back(candidate(0, 80.1 + 3 * static_cast<double>(i)));
  return result_of(std::move(all), std::move(misfits));
}

inline std::string draw(const SearchResult& result, const std::string& title = "A search",
                        int64_t tokens = kTokens) {
  Cluster cluster;
  cluster.name = "a100-selene";
  return search_svg(result, cluster, title, tokens);
}

inline size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

inline double attribute(const std::string& tag, const std::string& name) {
  const size_t at = tag.find(" " + name + "=\"");
  return at == std::string::npos ? std::nan("") : std::stod(tag.substr(at + name.size() + 3));
}

struct Element {
  std::string tag;
  std::string words;  // up to the closing tag of the same name, tags within taken out
};
inline std::vector<Element> elements(const std::string& svg, const std::string& start) {
  std::vector<Element> all;
  const std::string closing = "</" + start.substr(1, start.find(' ') - 1) + ">";
  for (size_t at = svg.find(start); at != std::string::npos; at = svg.find(start, at + 1)) {
    const size_t open = svg.find('>', at);
    Element element{.tag = svg.substr(at, open - at), .words = ""};
    if (svg[open - 1] != '/') {
      bool inside = false;
      for (size_t i = open + 1; i < svg.find(closing, open); ++i) {
        if (svg[i] == '<') inside = true;
        if (!inside) element.words += svg[i];
        if (svg[i] == '>') inside = false;
      }
    }
    all.push_back(std::move(element));
  }
  return all;
}

// The first thing that keeps a text from being XML; empty: nothing.
inline std::string xml_fault(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size(); ++at) {
    if (xml[at] == '&') {
      const std::string entity = xml.substr(at, xml.find(';', at) - at + 1);
      if (std::set<std::string>{"&amp;", "&lt;", "&gt;", "&quot;"}.count(entity) == 0) return entity;
    }
    if (xml[at] != '<') continue;
    const size_t close = xml.find('>', at);
    const std::string tag = xml.substr(at + 1, close - at - 1);
    if (close == std::string::npos || tag.find('<') != std::string::npos) return "<" + tag;
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "<" + tag;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

inline void expect_words_apart(const std::string& svg, const std::string& what) {
  const std::string root = svg.substr(0, svg.find('>'));
  std::vector<std::pair<LabelBox, std::string>> boxes;
  for (const auto& [tag, words] : elements(svg, "<text ")) {
    const double size = tag.find("\"title") != std::string::npos ? 17
                        : tag.find("inseg") != std::string::npos ? 11
                                                                 : 12;
    const double width = text_width(words, size);
    double left = attribute(tag, "x");
    if (tag.find(" mid\"") != std::string::npos) left -= width / 2;
    if (tag.find(" end\"") != std::string::npos) left -= width;
    const double y = attribute(tag, "y");
    const LabelBox box{left, y - 0.75 * size, left + width, y + 2};
    EXPECT_GE(box.left, 0) << what << ": " << words;
    EXPECT_LE(box.right, attribute(root, "width")) << what << ": " << words;
    EXPECT_LE(box.bottom, attribute(root, "height")) << what << ": " << words;
    for (const auto& [other, other_words] : boxes) {
      EXPECT_FALSE(overlap(box, other)) << what << ": '" << words << "' over '" << other_words << "'";
    }
    boxes.emplace_back(box, words);
  }
}

}  // namespace phalanx
