// SPDX-License-Identifier: Apache-2.0
#include "comm/loopback/loopback.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <list>
#include <map>
#include <thread>
#include <tuple>

namespace comm::loopback {
namespace {

// A message or a wish for one, until both have met.
struct Post {
  int source = 0, destination = 0, context = 0, tag = 0;
  std::size_t bytes = 0;
  const void *from = nullptr;
  void *to = nullptr;
  std::vector<char> copy;
  std::size_t sent_bytes = 0; // what the sender said
  std::atomic<bool> done{false};

  bool fits(const Post &other) const {
    return source == other.source && destination == other.destination && context == other.context &&
           tag == other.tag;
  }
};

using Shelf = std::list<std::shared_ptr<Post>>;

class World {
public:
  std::shared_ptr<Post> send(std::shared_ptr<Post> post) {
    const std::lock_guard lock(mutex_);
    if (const auto wish = take(wishes_, *post)) {
      deliver(*post, *wish);
    } else {
      if (post->bytes <= kEager) {
        const char *bytes = static_cast<const char *>(post->from);
        post->copy.assign(bytes, bytes + post->bytes);
        post->from = post->copy.data();
        post->done = true;
      }
      sent_.push_back(post);
    }
    return post;
  }

  std::shared_ptr<Post> receive(std::shared_ptr<Post> post) {
    const std::lock_guard lock(mutex_);
    if (const auto message = take(sent_, *post))
      deliver(*message, *post);
    else
      wishes_.push_back(post);
    return post;
  }

  // What is not done must not be touched any more.
  void withdraw(const std::shared_ptr<Post> &post) {
    const std::lock_guard lock(mutex_);
    if (post->done) return;
    sent_.remove(post);
    wishes_.remove(post);
  }

  // The same number for all ranks that bring the same key.
  int context(int parent, int count, int colour) {
    const std::lock_guard lock(mutex_);
    const auto found = contexts_.try_emplace({parent, count, colour}, next_context_);
    if (found.second) ++next_context_;
    return found.first->second;
  }

private:
  static std::shared_ptr<Post> take(Shelf &shelf, const Post &like) {
    const auto found =
        std::find_if(shelf.begin(), shelf.end(), [&](const auto &p) { return p->fits(like); });
    if (found == shelf.end()) return nullptr;
    auto post = *found;
    shelf.erase(found);
    return post;
  }

  static void deliver(Post &message, Post &wish) {
    wish.sent_bytes = message.bytes;
    if (message.bytes && message.bytes == wish.bytes)
      std::memcpy(wish.to, message.from, wish.bytes);
    message.done = true;
    wish.done = true;
  }

  std::mutex mutex_;
  Shelf sent_, wishes_;
  std::map<std::tuple<int, int, int>, int> contexts_;
  int next_context_ = 1;
};

class LoopbackPending : public Pending {
public:
  LoopbackPending(std::shared_ptr<const Place> place, const Envelope &envelope,
                  std::shared_ptr<World> world, std::shared_ptr<Post> post)
      : Pending(std::move(place), envelope), world_(std::move(world)), post_(std::move(post)) {}
  ~LoopbackPending() override {
    if (!post_->done) world_->withdraw(post_);
  }

  bool poll() override {
    if (!post_->done) return false;
    HADAL_CHECK(envelope().sending || post_->sent_bytes == post_->bytes,
                "{}: {} bytes expected from {}, {} came", envelope().what.operation, post_->bytes,
                place().name(envelope().peer), post_->sent_bytes);
    return true;
  }

private:
  std::shared_ptr<World> world_;
  std::shared_ptr<Post> post_;
};

class Loopback : public Communicator {
public:
  Loopback(Place place, std::shared_ptr<World> world, int context)
      : Communicator(std::move(place)), world_(std::move(world)), context_(context) {}

protected:
  std::unique_ptr<Pending> begin_send(const Envelope &e, const void *data) override {
    auto message = post(e);
    message->from = data;
    return pending(e, world_->send(std::move(message)));
  }
  std::unique_ptr<Pending> begin_receive(const Envelope &e, void *data) override {
    auto wish = post(e);
    wish->to = data;
    return pending(e, world_->receive(std::move(wish)));
  }
  std::unique_ptr<Communicator> subgroup(int colour, const std::vector<int> &,
                                         Place place) override {
    const int count = splits_++;
    if (colour < 0) return nullptr;
    const int context = world_->context(context_, count, colour);
    return std::make_unique<Loopback>(std::move(place), world_, context);
  }

private:
  // Posts carry world ranks, so that one shelf serves all axes.
  std::shared_ptr<Post> post(const Envelope &e) const {
    auto post = std::make_shared<Post>();
    const int peer = place().world_ranks[static_cast<std::size_t>(e.peer)];
    post->source = e.sending ? place().world_rank() : peer;
    post->destination = e.sending ? peer : place().world_rank();
    post->context = context_, post->tag = e.tag, post->bytes = e.bytes;
    return post;
  }
  std::unique_ptr<Pending> pending(const Envelope &e, std::shared_ptr<Post> post) const {
    return std::make_unique<LoopbackPending>(shared_place(), e, world_, std::move(post));
  }

  std::shared_ptr<World> world_;
  int context_;
  int splits_ = 0;
};

std::unique_ptr<Communicator> member(std::shared_ptr<World> world, std::shared_ptr<Terms> terms,
                                     const std::string &axis, int rank, int ranks) {
  Place place{axis, rank, ranks, {}, std::move(terms)};
  for (int r = 0; r < ranks; ++r) place.world_ranks.push_back(r);
  return std::make_unique<Loopback>(std::move(place), std::move(world), 0);
}

bool is_overdue(const std::exception_ptr &error) {
  try {
    std::rethrow_exception(error);
  } catch (const Overdue &) {
    return true;
  } catch (...) {
    return false;
  }
}

} // namespace

std::unique_ptr<Communicator> alone(std::shared_ptr<Terms> terms, const std::string &axis) {
  return member(std::make_shared<World>(), std::move(terms), axis, 0, 1);
}

void run(int ranks, const Options &options, const std::function<void(Communicator &)> &f) {
  const auto world = std::make_shared<World>();
  std::vector<std::shared_ptr<Terms>> terms;
  for (int r = 0; r < ranks; ++r) terms.push_back(std::make_shared<Terms>(options));
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      try {
        const auto mine = member(world, terms[static_cast<std::size_t>(r)], "world", r, ranks);
        f(*mine);
      } catch (...) {
        errors[static_cast<std::size_t>(r)] = std::current_exception();
        for (const auto &other : terms) other->ask_to_stop();
      }
    });
  for (std::thread &thread : threads) thread.join();
  std::exception_ptr first;
  for (const auto &error : errors)
    if (error && (!first || (is_overdue(first) && !is_overdue(error)))) first = error;
  if (first) std::rethrow_exception(first);
}

} // namespace comm::loopback
