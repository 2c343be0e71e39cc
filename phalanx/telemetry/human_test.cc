#include "phalanx/telemetry/human.h"

#include <gtest/gtest.h>

#include <cmath>

namespace phalanx {
namespace {

TEST(Human, Counts) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(7), "7");
  EXPECT_EQ(human_count(8.5), "8.50");
  EXPECT_EQ(human_count(950), "950");
  EXPECT_EQ(human_count(999.4), "999");
  EXPECT_EQ(human_count(999.5), "1.00k");
  EXPECT_EQ(human_count(12345), "12.3k");
  EXPECT_EQ(human_count(99960), "100k");
  EXPECT_EQ(human_count(999600), "1.00M");
  EXPECT_EQ(human_count(7.89e9), "7.89B");
  EXPECT_EQ(human_count(5e18), "5000000T");
  EXPECT_EQ(human_count(-1500), "-1.50k");
  EXPECT_EQ(human_count(std::nan("")), "--");
  EXPECT_EQ(human_count(INFINITY), "--");
}

TEST(Human, Bytes) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1500), "1.50 kB");
  EXPECT_EQ(human_bytes(2.5e9), "2.50 GB");
  EXPECT_EQ(human_bytes(123e12), "123 TB");
}

TEST(Human, Durations) {
  EXPECT_EQ(human_duration(0), "0.00s");
  EXPECT_EQ(human_duration(0.42), "0.42s");
  EXPECT_EQ(human_duration(7.54), "7.5s");
  EXPECT_EQ(human_duration(42), "42s");
  EXPECT_EQ(human_duration(59.6), "1m00s");
  EXPECT_EQ(human_duration(185), "3m05s");
  EXPECT_EQ(human_duration(3599.7), "1h00m");
  EXPECT_EQ(human_duration(8041), "2h14m");
  EXPECT_EQ(human_duration(86399), "1d00h");
  EXPECT_EQ(human_duration(273600), "3d04h");
  EXPECT_EQ(human_duration(-1), "--");
  EXPECT_EQ(human_duration(std::nan("")), "--");
  EXPECT_EQ(human_duration(INFINITY), "--");
}

TEST(Human, Percents) {
  EXPECT_EQ(human_percent(0.431), "43.1%");
  EXPECT_EQ(human_percent(0.005), "0.5%");
  EXPECT_EQ(human_percent(0.9994), "99.9%");
  EXPECT_EQ(human_percent(0.99951), "100%");
  EXPECT_EQ(human_percent(std::nan("")), "--");
}

}  // namespace
}  // namespace phalanx
