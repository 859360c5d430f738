// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "schedule/draw.hpp"

namespace schedule {
namespace {

// All lengths in pixels.
constexpr double kLeft = 66, kRight = 24, kTop = 84, kRow = 30, kCell = 26, kAxis = 46;
constexpr double kDigit = 6; // of the numbers in the boxes, 11 pixels high

// Fill and text of F, B, W by the first and the second direction (or chunk of the V). Told apart by lightness, too: they print in
// grey and serve the colour-blind.
struct Colour {
  const char *fill, *text;
};
constexpr std::array<std::array<Colour, 2>, 3> kColours = {
    {{{{"#f6c35b", "#3a2a00"}, {"#fbe6b4", "#3a2a00"}}},
     {{{"#2f7f8f", "#ffffff"}, {"#8cc6cf", "#062a30"}}},
     {{{"#7a5ba6", "#ffffff"}, {"#c9b8e0", "#241338"}}}}};
constexpr std::array<const char *, 3> kVerbs = {"F", "B", "W"};

struct Canvas {
  double scale = 1; // pixels of a unit of time
  std::string body;

  void text(double x, double y, const std::string &words, const char *anchor, double size,
            const char *fill = "#222222", const char *weight = "normal") {
    body += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.3g}\" text-anchor=\"{}\" "
                        "fill=\"{}\" font-weight=\"{}\">{}</text>\n",
                        x, y, size, anchor, fill, weight, words);
  }
  // Fill and colour of the text come from the style sheet, by the name of the verb and 0 or 1.
  void box(double x, double y, double width, double height, std::size_t verb, int chunk) {
    body += fmt::format("<rect class=\"{}{}\" x=\"{:.6g}\" y=\"{:.6g}\" width=\"{:.6g}\" "
                        "height=\"{:.6g}\"/>\n",
                        kVerbs[verb], chunk, x, y, width, height);
  }
  void line(double x0, double y0, double x1, double y1, const char *stroke) {
    body += fmt::format("<line x1=\"{:.2f}\" y1=\"{:.1f}\" x2=\"{:.2f}\" y2=\"{:.1f}\" "
                        "stroke=\"{}\" stroke-width=\"1\"/>\n",
                        x0, y0, x1, y1, stroke);
  }
  // A box with a number, where there is room for it.
  void numbered(double x, double y, double width, double height, std::size_t verb,
                const Piece &piece) {
    const int chunk = piece.chunk == 1 ? 1 : 0;
    box(x, y, width, height, verb, chunk);
    const std::string number = fmt::format("{}", piece.micro_batch);
    if (static_cast<double>(number.size()) * kDigit <= width)
      body += fmt::format("<text class=\"{}{}\" x=\"{:.6g}\" y=\"{:.6g}\">{}</text>\n",
                          kVerbs[verb], chunk, x + width / 2, y + height / 2 + 4, number);
  }
};

// B and W of a whole backward, side by side in the ratio of their costs.
void backward(Canvas &canvas, double x, double y, double width, double height,
              const StageCosts &costs, const Piece &piece) {
  const double both = costs.backward_input + costs.backward_weight;
  const double first = both > 0 ? width * costs.backward_input / both : width;
  canvas.numbered(x, y, first, height, 1, piece);
  if (width > first) canvas.numbered(x + first, y, width - first, height, 2, piece);
}

void action_box(Canvas &canvas, const Program &program, const Costs &costs, int rank,
                const Span &span, const Action &action) {
  const double x = kLeft + span.begin * canvas.scale;
  const double width = (span.end - span.begin) * canvas.scale;
  const double y = kTop + rank * kRow + (kRow - kCell) / 2;
  const auto &stage = costs.of(program.stage_of(rank, action.at.chunk));
  switch (action.verb) {
  case Verb::forward: canvas.numbered(x, y, width, kCell, 0, action.at); break;
  case Verb::backward_input: canvas.numbered(x, y, width, kCell, 1, action.at); break;
  case Verb::backward_weight: canvas.numbered(x, y, width, kCell, 2, action.at); break;
  case Verb::backward: backward(canvas, x, y, width, kCell, stage, action.at); break;
  case Verb::overlap:
    canvas.numbered(x, y, width, kCell / 2, 0, action.at);
    backward(canvas, x, y + kCell / 2, width, kCell / 2,
             costs.of(program.stage_of(rank, action.with.chunk)), action.with);
    break;
  case Verb::post:
  case Verb::receive:
  case Verb::send: break;
  }
}

// 1, 2 or 5 times a power of ten, so that ticks are at least 60 pixels apart.
double tick_step(double scale) {
  double step = std::pow(10.0, std::floor(std::log10(60 / scale)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (factor * step * scale >= 60) return factor * step;
  return 10 * step;
}

void draw_axis(Canvas &canvas, const Program &program, double makespan) {
  const double bottom = kTop + program.ranks * kRow + 6;
  const double step = tick_step(canvas.scale);
  for (int i = 0; i * step <= makespan * (1 + 1e-9); ++i) {
    const double x = kLeft + i * step * canvas.scale;
    canvas.line(x, kTop - 2, x, bottom, "#e3e3e3");
    canvas.text(x, bottom + 14, fmt::format("{:g}", i * step), "middle", 11, "#555555");
  }
  canvas.text(kLeft + makespan * canvas.scale / 2, bottom + 32, "time", "middle", 12, "#555555");
  for (int rank = 0; rank < program.ranks; ++rank)
    canvas.text(kLeft - 10, kTop + rank * kRow + kRow / 2 + 4, fmt::format("rank {}", rank), "end",
                12);
}

void draw_legend(Canvas &canvas, const Program &program) {
  const bool v = program.kind == Kind::dualpipev;
  const std::array<std::string, 2> groups = {v ? "on the way down" : "direction 0",
                                             v ? "on the way up" : "direction 1"};
  double x = kLeft;
  for (std::size_t chunk = 0; chunk < static_cast<std::size_t>(program.chunks); ++chunk) {
    if (program.chunks == 2) {
      canvas.text(x, 58, groups[chunk], "start", 12, "#555555");
      x += 12 + 7 * static_cast<double>(groups[chunk].size());
    }
    for (std::size_t verb = 0; verb < 3; ++verb) {
      canvas.box(x, 46, 16, 16, verb, static_cast<int>(chunk));
      canvas.text(x + 20, 58, kVerbs[verb], "start", 12);
      x += 42;
    }
    x += 16;
  }
  if (program.chunks == 2)
    canvas.text(x, 58, "one above the other: F&amp;B, overlapped", "start", 12, "#555555");
}

std::string style() {
  std::string text = "<style>rect{stroke:#fff;stroke-width:.8}\n";
  for (std::size_t verb = 0; verb < kVerbs.size(); ++verb)
    for (std::size_t chunk = 0; chunk < 2; ++chunk)
      text +=
          fmt::format("rect.{0}{1}{{fill:{2}}} text.{0}{1}{{fill:{3};font-size:11px;"
                      "text-anchor:middle}}\n",
                      kVerbs[verb], chunk, kColours[verb][chunk].fill, kColours[verb][chunk].text);
  return text + "</style>\n";
}

} // namespace

std::string draw_svg(const Program &program, const Timeline &line, const Costs &costs) {
  HADAL_CHECK(line.spans.size() == program.actions.size(), "{} rows, {} ranks", line.spans.size(),
              program.actions.size());
  double shortest = line.makespan;
  for (const auto &spans : line.spans)
    for (const Span &span : spans)
      if (span.end > span.begin) shortest = std::min(shortest, span.end - span.begin);
  Canvas canvas;
  const auto digits = static_cast<double>(fmt::format("{}", program.micro_batches - 1).size());
  // A cell holds its number; very long timelines are squeezed and lose the numbers.
  canvas.scale = shortest > 0 ? std::max(18.0, digits * kDigit + 4) / shortest : 1;
  canvas.scale = std::min(canvas.scale, line.makespan > 0 ? 16000 / line.makespan : 1);
  const double width =
      std::max(kLeft + line.makespan * canvas.scale + kRight, program.chunks == 2 ? 800.0 : 420.0);
  const double height = kTop + program.ranks * kRow + kAxis;
  draw_axis(canvas, program, line.makespan);
  for (int rank = 0; rank < program.ranks; ++rank)
    for (const Span &span : line.spans[static_cast<std::size_t>(rank)])
      action_box(
          canvas, program, costs, rank, span,
          program.actions[static_cast<std::size_t>(rank)][static_cast<std::size_t>(span.action)]);
  draw_legend(canvas, program);
  canvas.text(kLeft, 28, title(program), "start", 15, "#111111", "bold");
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" "
                     "height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
                     "font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n"
                     "{2}<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{3}</svg>\n",
                     width, height, style(), canvas.body);
}

} // namespace schedule
