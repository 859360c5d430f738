// SPDX-License-Identifier: Apache-2.0
#pragma once
// A timeline as text and as a picture. Messages are not drawn; where a rank waits for one, the line is empty.
#include <string>

#include "schedule/simulate.hpp"

namespace schedule {

struct TextOptions {
  int columns = 160; // characters of a line; what goes beyond is left out, with a note
};
// One line a rank, one column a unit of time: the largest that all borders are multiples of, or a quarter of the shortest
// computation, to which they are rounded then. F3, B3, W3, BW3, F8&BW3; small
// letters: the second chunk of the rank.
std::string draw_text(const Program &program, const Timeline &line,
                      const TextOptions &options = {});

// A complete SVG file: a row a rank, colours by verb and direction (in the V: by chunk), numbers of the micro-batches, legend,
// axis.
std::string draw_svg(const Program &program, const Timeline &line, const Costs &costs);

} // namespace schedule
