// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"
#include "schedule/draw.hpp"

namespace schedule {
namespace {

constexpr double kResolution = 1000; // costs are drawn to a thousandth
constexpr long kMostCells =
    4; // of the shortest computation: costs without a common unit would fill the line

long ticks(double time) { return std::lround(time * kResolution); }

std::string small(std::string text) {
  for (char &letter : text)
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return text;
}

std::string name(const Action &action) {
  Action half = action;
  half.verb = action.verb == Verb::overlap ? Verb::forward : action.verb;
  const std::string first = label(half);
  const std::string text = action.at.chunk == 1 ? small(first) : first;
  if (action.verb != Verb::overlap) return text;
  const std::string back = label({Verb::backward, action.with});
  return text + "&" + (action.with.chunk == 1 ? small(back) : back);
}

struct Grid {
  long unit = 1;  // ticks of a column
  long width = 1; // characters of a column: every label fits into its cell, with a space behind it
  long columns = 0; // of the whole timeline
  bool rounded = false;
};

long cell_of(double time, const Grid &grid) { return (ticks(time) + grid.unit / 2) / grid.unit; }

Grid grid_of(const Program &program, const Timeline &line) {
  Grid grid;
  long common = 0, shortest = ticks(line.makespan);
  for (const auto &spans : line.spans)
    for (const Span &span : spans) {
      common = std::gcd(std::gcd(common, ticks(span.begin)), ticks(span.end));
      const long length = ticks(span.end) - ticks(span.begin);
      if (length > 0) shortest = std::min(shortest, length);
    }
  grid.unit = std::max({common, shortest / kMostCells, 1L});
  grid.rounded = grid.unit > common;
  grid.columns = cell_of(line.makespan, grid);
  for (std::size_t rank = 0; rank < line.spans.size(); ++rank)
    for (const Span &span : line.spans[rank]) {
      const long cells = cell_of(span.end, grid) - cell_of(span.begin, grid);
      const auto &action = program.actions[rank][static_cast<std::size_t>(span.action)];
      const long letters = static_cast<long>(name(action).size()) + 1;
      if (cells > 0) grid.width = std::max(grid.width, (letters + cells - 1) / cells);
    }
  return grid;
}

std::string row(const Program &program, const Timeline &line, std::size_t rank, const Grid &grid,
                long shown) {
  std::string text;
  for (long column = 0; column < shown; ++column)
    text += "." + std::string(static_cast<std::size_t>(grid.width - 1), ' ');
  for (const Span &span : line.spans[rank]) {
    const auto begin = static_cast<std::size_t>(cell_of(span.begin, grid) * grid.width);
    const auto end = static_cast<std::size_t>(cell_of(span.end, grid) * grid.width);
    if (end == begin || end > text.size()) continue;
    std::string cell = name(program.actions[rank][static_cast<std::size_t>(span.action)]);
    cell.resize(end - begin - 1, '=');
    text.replace(begin, end - begin, cell + " ");
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string axis(const Grid &grid, long shown) {
  const long step = grid.width >= 3 ? 5 : 10;
  std::string text;
  for (long column = 0; column < shown; column += step) {
    text.resize(static_cast<std::size_t>(column * grid.width), ' ');
    text += fmt::format("{:g}", static_cast<double>(column * grid.unit) / kResolution);
  }
  return text;
}

} // namespace

std::string draw_text(const Program &program, const Timeline &line, const TextOptions &options) {
  HADAL_CHECK(line.spans.size() == program.actions.size(), "{} rows, {} ranks", line.spans.size(),
              program.actions.size());
  const Grid grid = grid_of(program, line);
  const std::size_t margin = fmt::format("rank {}  ", program.ranks - 1).size();
  const long room = std::max<long>(options.columns - static_cast<long>(margin), grid.width);
  const long shown = std::min(grid.columns, room / grid.width);
  std::string text = fmt::format("{:<{}}{}\n", "time", margin, axis(grid, shown));
  for (std::size_t rank = 0; rank < line.spans.size(); ++rank)
    text += fmt::format("{:<{}}{}\n", fmt::format("rank {}", rank), margin,
                        row(program, line, rank, grid, shown));
  if (grid.rounded)
    text += fmt::format("(borders are rounded to {:g})\n",
                        static_cast<double>(grid.unit) / kResolution);
  if (shown < grid.columns)
    text += fmt::format("(the first {} of {} columns; all of them need {} characters)\n", shown,
                        grid.columns, grid.columns * grid.width + static_cast<long>(margin));
  return text;
}

} // namespace schedule
