// File: phalanx/plan/paper_checks.h
//
// Purpose: the time model against the measurements of papers 1 to 3: what was published, what we compute, how far apart.
// Contract: nothing is fitted here. Table 1 has three rows on which the cluster's shares were fitted (`fitted`); the
//   others, tables 2, 4, 5 and the figures are predictions. A check that misses its bar says so and stays.
//   Figures were drawn, not tabulated: an order that they show is a check of its own, `published` and `ours` are then the
//   two sides of an inequality and `met` its truth.
// Units: each check's own.
// Source: phalanx/plan/published.h.
#pragma once

#include <string>
#include <vector>

#include "phalanx/plan/cluster.h"

namespace phalanx {

struct PaperCheck {
  std::string table;
  std::string row;
  std::string unit;
  double published = 0;
  double ours = 0;
  double bar = 0;  // percent, or points of `unit` where `points`
  bool points = false;
  bool fitted = false;
  bool met = false;

  double off() const;  // in the bar's measure
};

std::vector<PaperCheck> table_1_checks(const Cluster& cluster);  // TFLOP/s a GPU
std::vector<PaperCheck> table_2_checks(const Cluster& cluster);  // PTD and ZeRO-3
std::vector<PaperCheck> table_4_checks(const Cluster& cluster);  // overheads of one layer, percent
std::vector<PaperCheck> table_5_checks(const Cluster& cluster);  // seconds a step
std::vector<PaperCheck> mt_nlg_checks(const Cluster& cluster);   // seconds a step, TFLOP/s
std::vector<PaperCheck> figure_checks(const Cluster& cluster);   // figures 7 and 11 to 18 of paper 1
std::vector<PaperCheck> paper_checks(const Cluster& cluster);    // all of them

// A table for a terminal: row, published, ours, difference, bar, whether it is met.
std::string to_text(const std::vector<PaperCheck>& checks);

}  // namespace phalanx
