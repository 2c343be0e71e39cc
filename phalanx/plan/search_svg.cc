#include "phalanx/plan/search_svg.h"

#include <vector>

#include "phalanx/plan/search_svg_parts.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/svg_axis.h"

namespace phalanx {
namespace {

using namespace svg_style;

std::string counted(size_t n, std::string_view what, std::string_view more = "s") {
  const auto value = static_cast<double>(n);
  return fmt::format("{} {}{}", tick_labels({value}, 1)[0], what, n == 1 ? "" : more);
}

std::vector<std::string> facts(const SearchResult& result, const Cluster& cluster, const DotChoice& choice,
                               int64_t tokens_per_step) {
  std::vector<std::string> pieces;
  const std::vector<Candidate>& any = result.ranked.empty() ? result.misfits : result.ranked;
  if (!any.empty()) {
    pieces.push_back(fmt::format("{} of {}", counted(static_cast<size_t>(any.front().layout.world()), "GPU"),
                                 cluster.name));
  }
  if (tokens_per_step > 0) {
    pieces.push_back(human_count(static_cast<double>(tokens_per_step)) + " tokens a step");
  }
  pieces.push_back(counted(result.looked_at, "layout") + " looked at");
  pieces.push_back(counted(result.ranked.size(), "fit", ""));
  pieces.push_back(counted(result.simulated, "simulated", ""));
  if (choice.left_out > 0) pieces.push_back(counted(choice.left_out, "slower one") + " not drawn");
  return pieces;
}

void draw_header(Sheet& sheet, const std::string& title, const std::vector<std::string>& pieces) {
  const double room = sheet.right() - sheet.left();
  if (!title.empty()) {
    sheet.text(sheet.left(), sheet.y + 12, "title", fit_text(title, kBold * kTitleSize, room));
    sheet.y += 26;
  }
  const std::string all = fmt::format("{}", fmt::join(pieces, "  \u00b7  "));
  sheet.text(sheet.left(), sheet.y + 9, "note", fit_text(all, kTextSize, room));
  sheet.y += kLineHeight + 2;
}

std::string page_rules(std::string_view page, std::string_view ink, std::string_view soft) {
  return fmt::format(
      ".sim,.halo,.hatch{{stroke:{0}}}.inseg{{fill:{0}}}.front,.ring,.ink{{stroke:{1}}}.misfit,.idle{{fill:{2}}}",
      page, ink, soft);
}

}  // namespace

std::string search_style() {
  return ".est{fill:none;stroke-width:1.1;stroke-opacity:.6}.sim{stroke-width:.8}"
         ".front{fill:none;stroke-width:1.5;stroke-opacity:.7}.ring{fill:none;stroke-width:1.6}"
         ".halo{stroke-width:3.5;stroke-linejoin:round;paint-order:stroke}.inseg{font-size:11px}"
         ".idle{stroke-width:1}.over{fill:url(#search-hatch)}.hatch{stroke-width:1.4;stroke-opacity:.55}" +
         page_rules("#ffffff", "#1b1f24", "#f3f5f7") + "@media (prefers-color-scheme:dark){" +
         page_rules("#0f141a", "#e6edf3", "#1a212a") + "}";
}

std::string search_defs() {
  return "<defs><pattern id=\"search-hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
         "patternTransform=\"rotate(45)\"><path class=\"hatch\" d=\"M0.7,0V5\"/></pattern></defs>\n";
}

std::string search_svg(const SearchResult& result, const Cluster& cluster, const std::string& title,
                       int64_t tokens_per_step) {
  const DotChoice choice = choose_dots(result);
  Sheet sheet;
  draw_header(sheet, title, facts(result, cluster, choice, tokens_per_step));
  draw_scatter(sheet, result, choice, tokens_per_step);
  draw_time_bars(sheet, choice);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
             "height=\"{1:.0f}\" role=\"img\" aria-label=\"{2}\">\n<style>{3}{4}</style>\n{5}"
             "<rect class=\"bg\" width=\"{0:.0f}\" height=\"{1:.0f}\"/>\n",
             sheet.width, sheet.y + kOuter, xml_escape(title), style_sheet(), search_style(), search_defs()) +
         sheet.out + "</svg>\n";
}

}  // namespace phalanx
