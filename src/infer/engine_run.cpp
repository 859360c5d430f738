// SPDX-License-Identifier: Apache-2.0
// A list of requests to its end, on all ranks: each replica takes its share, and all are told all results.
#include <algorithm>

#include "base/hash.hpp"
#include "infer/engine_impl.hpp"
#include "infer/portions.hpp"
#include "infer/wire.hpp"

namespace infer {

using base::UserError;
using tensor::Context;

namespace {

void write(wire::Writer &to, const Request &r) {
  to.list(r.prompt), to.list(r.stop_tokens), to.list(r.choices), to.texts(r.stop_strings);
  to.number(r.samples), to.number(r.stream), to.number(r.score_from);
  to.number(r.sampling.temperature), to.number(r.sampling.top_p), to.number(r.sampling.seed);
  to.number(r.sampling.max_tokens);
}

void write(wire::Writer &to, const Result &result) {
  to.list(result.prompt), to.list(result.choices), to.number(result.answers.size());
  for (const Answer &answer : result.answers) {
    to.list(answer.tokens), to.list(answer.logprobs), to.text(answer.text);
    to.number(answer.finish);
  }
}

// Behind what earlier replicas have of the same request.
void append(wire::Reader &from, Result &result) {
  Result part;
  from.list(part.prompt), from.list(part.choices);
  part.answers.resize(from.number<std::size_t>());
  for (Answer &answer : part.answers) {
    from.list(answer.tokens), from.list(answer.logprobs), from.text(answer.text);
    from.number(answer.finish);
  }
  const auto move = [](auto &more, auto &to) {
    std::move(more.begin(), more.end(), std::back_inserter(to));
  };
  move(part.prompt, result.prompt), move(part.choices, result.choices);
  move(part.answers, result.answers);
}

int size_of(const comm::Communicator *axis) { return axis ? axis->size() : 1; }
int rank_of(const comm::Communicator *axis) { return axis ? axis->rank() : 0; }

// The ranks of a group must have been given the same.
void require_alike(const std::vector<Request> &requests, const Group &group) {
  wire::Writer all;
  for (const Request &r : requests) write(all, r);
  const auto mine = static_cast<std::int64_t>(base::hash64(all.bytes()));
  for (comm::Communicator *axis : {group.replicas, group.pipeline}) {
    if (!axis) continue;
    const auto hashes = axis->all_gather_number(mine, {"comparison of requests"});
    HADAL_CHECK(std::count(hashes.begin(), hashes.end(), mine) == axis->size(),
                "{} requests here, others on other ranks of axis {}", requests.size(),
                axis->axis());
  }
}

// The furthest from rest counts for all.
enum class State : std::int64_t { done, at_work, fault };
State together(comm::Communicator *axis, State mine) {
  if (!axis) return mine;
  std::int64_t state[] = {static_cast<std::int64_t>(mine)};
  axis->all_reduce_max(state, {"generation goes on"});
  return static_cast<State>(state[0]);
}

// All replicas meet every so many steps: who has ended waits no longer than that for the others, and a fault ends all.
constexpr int kMeeting = 64;

// Steps until all replicas have ended, or one has found a fault. Replicas that share experts make each step together.
template <class A>
std::optional<UserError> finish(Context &ctx, Engine<A> &engine, const Group &group,
                                const std::vector<RequestId> &ids) {
  std::optional<UserError> fault;
  const auto ended = [&](const RequestId id) { return engine.finished(id); };
  for (int round = 0;; ++round) {
    const bool done = std::all_of(ids.begin(), ids.end(), ended);
    const State mine = fault ? State::fault : done ? State::done : State::at_work;
    const bool all = round % kMeeting == 0 || !group.replicas;
    const State state = together(all ? group.replicas : group.experts.ep, mine);
    if (all && state != State::at_work) return fault;
    const bool goes_on = group.experts.ep ? state == State::at_work : mine == State::at_work;
    if (!goes_on) continue;
    HADAL_CHECK(done || fault || !engine.idle(), "{} requests, nobody runs or waits", ids.size());
    try {
      engine.step(ctx);
    } catch (const comm::Overdue &) { // of this rank alone
      throw;
    } catch (const UserError &error) {
      fault = error;
    }
  }
}

// A replica's results with the numbers of their requests, or its fault.
void write(wire::Writer &to, const std::vector<Portion> &mine, const std::vector<Result> &results,
           const std::optional<UserError> &fault) {
  to.number(fault.has_value());
  if (fault) wire::write(to, *fault);
  to.number(results.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    to.number(mine[i].request);
    write(to, results[i]);
  }
}

void append(wire::Reader &from, std::vector<Result> &results) {
  if (from.number<bool>()) throw wire::read_fault(from);
  for (auto left = from.number<std::size_t>(); left > 0; --left)
    append(from, results[from.number<std::size_t>()]);
}

} // namespace

template <class A>
std::vector<Result> Engine<A>::run(Context &ctx, const std::vector<Request> &requests) {
  const Group &group = impl_->group;
  for (const Request &request : requests) impl_->check(request);
  if (!group.alone()) require_alike(requests, group);
  const auto mine = portions(requests, rank_of(group.replicas), size_of(group.replicas));
  std::vector<RequestId> ids;
  for (const Portion &portion : mine)
    ids.push_back(add(request_of(requests[portion.request], portion)));
  std::optional<UserError> fault;
  try {
    fault = finish<A>(ctx, *this, group, ids);
  } catch (...) {
    for (const RequestId id : ids) cancel(id);
    throw;
  }
  std::vector<Result> results;
  for (const RequestId id : ids) {
    if (finished(id))
      results.push_back(take(id));
    else
      cancel(id);
  }
  wire::Writer said;
  write(said, mine, results, fault);
  std::vector<std::string> all = {said.bytes()};
  if (group.replicas) all = group.replicas->all_gather_text(said.bytes(), {"results"});
  results.assign(requests.size(), {});
  for (const std::string &one : all) {
    wire::Reader told(one);
    append(told, results);
  }
  return results;
}

template std::vector<Result> Engine<float>::run(Context &, const std::vector<Request> &);
template std::vector<Result> Engine<numerics::bf16>::run(Context &, const std::vector<Request> &);

} // namespace infer
