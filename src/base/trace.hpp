// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one rank did when: spans on a lane for computing and one for communicating, as a file that Perfetto and Chrome's trace viewer
// open (Trace Event Format, JSON). Times are of the monotonic clock, in seconds; zero(t) names the common start.
#include <string>
#include <vector>

namespace base {

enum class Lane { compute, communication, waiting };

class Trace {
public:
  static double now(); // seconds, monotonic
  // name: a literal. micro_batch -1: belongs to none. bytes 0: none.
  void span(Lane lane, const char *name, double begin, double end, long micro_batch = -1,
            long layer = -1, double bytes = 0);
  // Of messages: seconds between post and landing; of these, seconds in which the rank did nothing but wait.
  struct Hidden {
    double in_flight = 0, exposed = 0;
    double share() const { return in_flight > 0 ? 1 - exposed / in_flight : 1; }
  };
  Hidden hidden() const;
  void clear();
  // Errors E072 when the file cannot be written.
  void write(const std::string &path, int rank, const std::string &name, double zero) const;

private:
  struct Span {
    Lane lane;
    const char *name;
    double begin, end;
    long micro_batch, layer;
    double bytes;
  };
  std::vector<Span> spans_;
};

} // namespace base
