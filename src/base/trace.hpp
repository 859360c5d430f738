// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one rank did when: spans on a lane for computing and one for communicating, as a file that Perfetto and Chrome's trace viewer
// open (Trace Event Format, JSON). Times are of the monotonic clock, in seconds; a file counts from a start that its caller gives.
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
  // in_flight: seconds in which at least one message was between post and landing, however many there were; exposed: those of them
  // in which the rank did nothing but wait, for whatever. In words: the union of the communication spans, and its common part with
  // the union of the waiting spans.
  struct Hidden {
    double in_flight = 0, exposed = 0;
    double share() const { return in_flight > 0 ? 1 - exposed / in_flight : 1; }
  };
  Hidden hidden() const;
  bool empty() const { return spans_.empty(); }
  void clear();
  // A process named `name` with the number `rank`; microseconds since `zero`. Errors E072 when the file cannot be written.
  void write(const std::string &path, int rank, const std::string &name, double zero) const;
  std::string json(int rank, const std::string &name, double zero) const;

private:
  struct Span {
    Lane lane;
    const char *name;
    double begin, end;
    long micro_batch, layer;
    double bytes;
  };
  static std::string event(const Span &span, int rank, int thread, double zero);
  void add_lane(std::vector<std::string> &events, Lane lane, int rank, double zero) const;
  std::vector<Span> spans_;
};

} // namespace base
