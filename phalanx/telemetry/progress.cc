#include "phalanx/telemetry/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

// At most `columns` code points; a longer text ends in "...".
std::string fit(std::string_view text, int columns) {
  const auto starts_code_point = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const auto cut = [&](int keep) {
    size_t i = 0;
    for (; i < text.size(); ++i) {
      if (starts_code_point(text[i]) && keep-- == 0) break;
    }
    return text.substr(0, i);
  };
  if (cut(columns).size() == text.size()) return std::string(text);
  return std::string(cut(std::max(0, columns - 3))) + "...";
}

std::string bar(double fraction, int width) {
  const int full = std::clamp(static_cast<int>(std::floor(fraction * width)), 0, width);
  return "[" + std::string(static_cast<size_t>(full), '#') +
         std::string(static_cast<size_t>(width - full), '.') + "]";
}

std::string loss_text(const StepMetrics& metrics) {
  std::string text = fmt::format("loss {:.4f}", metrics.loss);
  if (metrics.valid_loss) text += fmt::format(", valid {:.4f}", *metrics.valid_loss);
  return text;
}

}  // namespace

LiveLine::LiveLine(Terminal terminal, TextSink sink, Clock clock)
    : terminal_(terminal), sink_(std::move(sink)), clock_(std::move(clock)), start_(clock_()) {}

bool LiveLine::due() const {
  const double now = clock_();
  return terminal_.is_terminal && now - start_ >= kShowAfter &&
         (!visible_ || now - last_draw_ >= kRedrawEvery);
}

// One column is kept free: a full line would make some terminals wrap. ESC [ K erases what a longer line left
// behind.
void LiveLine::put(std::string_view text) {
  sink_("\r" + fit(text, std::max(1, terminal_.columns - 1)) + "\x1b[K");
  last_draw_ = clock_();
  drawn_ = visible_ = true;
}

void LiveLine::draw(std::string_view text) {
  if (due()) put(text);
}

void LiveLine::clear() {
  if (!visible_) return;
  sink_("\r\x1b[K");
  visible_ = false;
}

void LiveLine::finish(std::string_view text) {
  if (!drawn_) return;
  put(text);
  sink_("\n");
  drawn_ = visible_ = false;
}

ProgressLine::ProgressLine(ProgressLineOptions options, TextSink sink, Clock clock)
    : options_(options), clock_(clock), line_(options.terminal, std::move(sink), clock) {
  PHALANX_CHECK(options_.log_interval > 0, "log_interval counts steps and starts at 1");
  rate_.add(clock_(), static_cast<double>(options_.first_step - 1));
}

void ProgressLine::update(const StepMetrics& metrics) {
  rate_.add(clock_(), static_cast<double>(metrics.step));
  last_ = metrics;
  updated_ = true;
  if (line_.due()) line_.draw(text(metrics));
}

void ProgressLine::finish() {
  if (updated_) line_.finish(text(last_));
}

bool ProgressLine::log_due(int64_t step) const {
  return step == options_.first_step || step == options_.total_steps || step % options_.log_interval == 0;
}

std::string ProgressLine::text(const StepMetrics& metrics) const {
  const double fraction = static_cast<double>(metrics.step) / static_cast<double>(options_.total_steps);
  return fmt::format("step {}/{} {} {}  {}  {} tokens/s  MFU {}  {} left", metrics.step, options_.total_steps,
                     bar(fraction, 16), human_percent(fraction), loss_text(metrics),
                     human_count(metrics.tokens_per_s), human_percent(metrics.mfu),
                     human_duration(seconds_left()));
}

std::string ProgressLine::log_line(const StepMetrics& metrics) const {
  std::string line = fmt::format(
      "step {}/{} | {} | grad norm {:.3f} | lr {:.3e} | {} tokens/s | {:.3g} TFLOP/s | MFU {} | {} a step | "
      "{} left",
      metrics.step, options_.total_steps, loss_text(metrics), metrics.grad_norm, metrics.lr,
      human_count(metrics.tokens_per_s), metrics.tflops, human_percent(metrics.mfu),
      human_duration(metrics.seconds), human_duration(seconds_left()));
  if (metrics.loss_scale) line += fmt::format(" | loss scale {:.0f}", *metrics.loss_scale);
  if (metrics.data_stall.value_or(0) >= 0.01)
    line += " | waiting for data " + human_percent(*metrics.data_stall);
  if (metrics.skipped.value_or(false)) line += " | update skipped";
  return line;
}

ProgressBar::ProgressBar(ProgressBarOptions options, TextSink sink, Clock clock)
    : options_(std::move(options)),
      clock_(clock),
      line_(options_.terminal, std::move(sink), clock),
      start_(clock_()) {
  rate_.add(start_, 0);
}

void ProgressBar::update(double done) {
  done_ = done;
  rate_.add(clock_(), done);
  if (line_.due()) line_.draw(text());
}

void ProgressBar::finish() {
  finished_ = true;
  line_.finish(text());
}

std::string ProgressBar::text() const {
  const bool bytes = options_.unit == ProgressUnit::kBytes;
  const auto amount = [bytes](double value) { return bytes ? human_bytes(value) : human_count(value); };
  std::string line = options_.title;
  if (options_.total > 0) {
    const double fraction = done_ / options_.total;
    line += fmt::format(" {} {}  {} of {}", bar(fraction, 24), human_percent(fraction), amount(done_),
                        amount(options_.total));
  } else {
    line += "  " + amount(done_);
  }
  // The last line tells the mean speed and how long it all took.
  const double elapsed = clock_() - start_;
  const double speed = finished_ ? (elapsed > 0 ? done_ / elapsed : 0) : rate_.per_second();
  line += fmt::format("  {}/s", amount(speed));
  if (finished_) {
    line += "  in " + human_duration(elapsed);
  } else if (options_.total > 0) {
    line += fmt::format("  {} left", human_duration(rate_.seconds_left(options_.total)));
  }
  return line;
}

}  // namespace phalanx
