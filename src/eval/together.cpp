// SPDX-License-Identifier: Apache-2.0
#include "eval/together.hpp"

#include <chrono>
#include <thread>

#include "infer/wire.hpp"

namespace eval {

namespace wire = infer::wire;
using base::UserError;

namespace {

enum class Kind : std::int8_t { likelihoods, texts, end, fault };
constexpr int kTag = 11;

void write(wire::Writer &to, const Continuation &c) { to.list(c.context), to.list(c.continuation); }
void read(wire::Reader &from, Continuation &c) { from.list(c.context), from.list(c.continuation); }
void write(wire::Writer &to, const Prompt &p) {
  to.list(p.tokens), to.texts(p.stop);
  to.number(p.max_tokens), to.number(p.temperature), to.number(p.top_p), to.number(p.seed);
}
void read(wire::Reader &from, Prompt &p) {
  from.list(p.tokens), from.texts(p.stop);
  from.number(p.max_tokens), from.number(p.temperature), from.number(p.top_p), from.number(p.seed);
}

template <class T> std::string message_of(Kind kind, const std::vector<T> &all) {
  wire::Writer to;
  to.number(kind), to.number(all.size());
  for (const T &one : all) write(to, one);
  return to.bytes();
}
template <class T> std::vector<T> list_of(wire::Reader &from) {
  std::vector<T> all(from.number<std::size_t>());
  for (T &one : all) read(from, one);
  return all;
}

// From rank 0 to all others.
void tell(comm::Communicator &world, const std::string &bytes) {
  const auto size = static_cast<std::int64_t>(bytes.size());
  for (int rank = 1; rank < world.size(); ++rank)
    world.send(rank, kTag, &size, sizeof(size), {"evaluation goes on"});
  std::string copy = bytes;
  world.broadcast(0, copy.data(), copy.size(), {"questions"});
}

std::string hear(comm::Communicator &world) {
  std::int64_t size = 0;
  comm::Request coming = world.irecv(0, kTag, &size, sizeof(size), {"evaluation goes on"});
  // Rank 0 may be judging for long: there is no deadline, unless somebody wants an end.
  for (int polls = 0; !comm::test(coming) && !world.terms().stopped(); ++polls)
    std::this_thread::sleep_for(std::chrono::microseconds(polls < 1000 ? 50 : 2000));
  comm::wait(coming);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  world.broadcast(0, bytes.data(), bytes.size(), {"questions"});
  return bytes;
}

// The model as rank 0 sees it.
class Leader final : public Model {
public:
  Leader(comm::Communicator &world, Model &mine) : world_(world), mine_(mine) {}
  const data::Tokenizer &tokenizer() const override { return mine_.tokenizer(); }
  std::int64_t longest() const override { return mine_.longest(); }
  std::vector<Likelihood> log_likelihoods(const std::vector<Continuation> &requests) override {
    return ask(Kind::likelihoods, requests, [&] { return mine_.log_likelihoods(requests); });
  }
  std::vector<Generated> generate(const std::vector<Prompt> &prompts) override {
    return ask(Kind::texts, prompts, [&] { return mine_.generate(prompts); });
  }
  bool left() const { return left_; } // the others know of the end

private:
  template <class T, class F>
  auto ask(Kind kind, const std::vector<T> &requests, const F &answer) -> decltype(answer()) {
    tell(world_, message_of(kind, requests));
    left_ = true; // an error of the model is thrown on all ranks
    auto answers = answer();
    left_ = false;
    return answers;
  }
  comm::Communicator &world_;
  Model &mine_;
  bool left_ = false;
};

void follow(comm::Communicator &world, Model &mine) {
  for (;;) {
    const std::string bytes = hear(world);
    wire::Reader from(bytes);
    switch (from.number<Kind>()) {
    case Kind::likelihoods: mine.log_likelihoods(list_of<Continuation>(from)); break;
    case Kind::texts: mine.generate(list_of<Prompt>(from)); break;
    case Kind::end: return;
    case Kind::fault: throw wire::read_fault(from);
    }
  }
}

} // namespace

void together(comm::Communicator &world, Model &mine, const std::function<void(Model &)> &work) {
  if (world.rank() > 0) return follow(world, mine);
  if (world.size() == 1) return work(mine);
  Leader leader(world, mine);
  wire::Writer last;
  try {
    work(leader);
  } catch (const UserError &fault) {
    if (!leader.left()) {
      last.number(Kind::fault), wire::write(last, fault);
      tell(world, last.bytes());
    }
    throw;
  }
  last.number(Kind::end);
  tell(world, last.bytes());
}

} // namespace eval
