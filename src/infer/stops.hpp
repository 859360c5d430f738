// SPDX-License-Identifier: Apache-2.0
#pragma once
// Stop strings on a stream of bytes: they are found wherever the borders of tokens lie, and nothing that may still become one is let out.
#include <string>
#include <string_view>
#include <vector>

namespace infer {

class StopText {
public:
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // What may be shown now. Once a stop string is complete: what stands before the first of them, and nothing from then on.
  std::string push(std::string_view bytes);
  bool found() const { return found_; }
  std::string rest(); // what was held back, when the text ends otherwise; empties the stream

private:
  std::vector<std::string> stops_;
  std::string held_; // the longest end of the text that begins a stop string
  bool found_ = false;
};

} // namespace infer
