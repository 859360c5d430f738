// SPDX-License-Identifier: Apache-2.0
#pragma once
// The messages of this rank that are under way while it computes: journeys of token copies between expert ranks, activations and
// gradients between stages. Polled after each launch (tensor::Background), so that they go on beside the kernels. Keeps how long they
// were under way and how long the rank did nothing but wait for them; where a trace is given, their spans too.
#include <functional>
#include <vector>

#include "base/trace.hpp"
#include "layers/dispatch/route.hpp"

namespace model {

using tensor::Context;

// What a span is about. name: a literal.
struct Label {
  const char *name;
  long micro_batch = -1, layer = -1;
  double bytes = 0;
};

class Flights : public tensor::Background {
public:
  using Flight = layers::dispatch::Flight;
  enum class Kind { experts, stages };

  ~Flights() override = default;
  // From here on it is polled, until it has landed. It and its context must stay where they are.
  void begin(Context &ctx, Flight &flight, const Label &label);
  void begin(comm::Request &message, const Label &label);
  // Waits; the others go on meanwhile.
  void land(Flight &flight);
  void land(comm::Request &message);
  // Something else to be polled (sums of gradients).
  void beside(std::function<void()> progress) { beside_ = std::move(progress); }
  // Since reset(): seconds in which a message of the kind was under way, and of these seconds waited for one.
  base::Trace::Hidden hidden(Kind kind) const { return of(kind).total; }
  void reset() { totals_[0].total = totals_[1].total = {}; }

  void set_trace(base::Trace *trace) { trace_ = trace; } // null: none
  base::Trace *trace() const { return trace_; }

private:
  struct Item {
    Context *ctx = nullptr;
    Flight *flight = nullptr; // one of the two
    comm::Request *message = nullptr;
    Label label;
    double begun = 0;
  };
  struct Total {
    base::Trace::Hidden total;
    int open = 0; // messages under way
    double since = 0;
  };
  void progress() override;
  void add(const Item &item);
  bool landed(Item &item);
  void land(const void *what);
  Item *find(const void *what);
  void finish(const Item &item);
  static Kind kind_of(const Item &item) { return item.flight ? Kind::experts : Kind::stages; }
  Total &of(Kind kind) { return totals_[static_cast<int>(kind)]; }
  const Total &of(Kind kind) const { return totals_[static_cast<int>(kind)]; }

  std::vector<Item> items_;
  std::function<void()> beside_;
  Total totals_[2];
  base::Trace *trace_ = nullptr;
};

// While it lives this rank computes what the label says. Without a trace it does nothing. On a device the span is that of the launches.
class Computing {
public:
  Computing(const Flights *flights, const Label &label)
      : trace_(flights ? flights->trace() : nullptr), label_(label),
        begin_(trace_ ? base::Trace::now() : 0) {}
  ~Computing() {
    if (trace_)
      trace_->span(base::Lane::compute, label_.name, begin_, base::Trace::now(), label_.micro_batch,
                   label_.layer);
  }
  Computing(const Computing &) = delete;

private:
  base::Trace *trace_;
  Label label_;
  double begin_;
};

} // namespace model
