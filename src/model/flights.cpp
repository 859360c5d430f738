// SPDX-License-Identifier: Apache-2.0
#include "model/flights.hpp"

#include <algorithm>

#include <sched.h>

#include "base/error.hpp"

namespace model {
namespace {

// A wait polls all flights so long; then it is left to the flight itself, which knows deadlines and what to tell.
constexpr double kPolled = 0.02;

} // namespace

void Flights::add(const Item &item) {
  Total &t = of(kind_of(item));
  if (t.open++ == 0) t.since = item.begun;
  items_.push_back(item);
}

void Flights::begin(Context &ctx, Flight &flight, const Label &label) {
  add({&ctx, &flight, nullptr, label, base::Trace::now()});
}

void Flights::begin(comm::Request &message, const Label &label) {
  if (!message.done()) add({nullptr, nullptr, &message, label, base::Trace::now()});
}

bool Flights::landed(Item &item) {
  return item.flight ? item.flight->progress(*item.ctx) : comm::test(*item.message);
}

void Flights::progress() {
  // In the order of their beginning: what is posted at a landing follows the same order on all ranks as far as it can.
  for (std::size_t i = 0; i < items_.size();) {
    if (!landed(items_[i])) {
      ++i;
      continue;
    }
    finish(items_[i]);
    items_.erase(items_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  if (beside_) beside_();
}

void Flights::finish(const Item &item) {
  const double now = base::Trace::now();
  Total &t = of(kind_of(item));
  if (--t.open == 0) t.total.in_flight += now - t.since;
  if (trace_)
    trace_->span(base::Lane::communication, item.label.name, item.begun, now,
                 item.label.micro_batch, item.label.layer, item.label.bytes);
}

Flights::Item *Flights::find(const void *what) {
  const auto it = std::find_if(items_.begin(), items_.end(), [&](const Item &item) {
    return item.flight == what || item.message == what;
  });
  return it == items_.end() ? nullptr : &*it;
}

void Flights::land(const void *what) {
  if (!find(what)) return; // it had landed
  poll();
  Item *item = find(what);
  if (!item) return;
  const Label label = item->label;
  const Kind kind = kind_of(*item);
  const double begin = base::Trace::now();
  while ((item = find(what)) && base::Trace::now() - begin < kPolled) {
    sched_yield(); // ranks may share a core
    poll();
  }
  if (item) {
    item->flight ? item->flight->finish(*item->ctx) : comm::wait(*item->message);
    poll();
    HADAL_CHECK(!find(what), "{} has not landed after a wait", label.name);
  }
  const double end = base::Trace::now();
  of(kind).total.exposed += end - begin;
  if (trace_)
    trace_->span(base::Lane::waiting, label.name, begin, end, label.micro_batch, label.layer);
}

void Flights::land(Flight &flight) { land(static_cast<const void *>(&flight)); }
void Flights::land(comm::Request &message) { land(static_cast<const void *>(&message)); }

} // namespace model
