// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks of a deck as threads of this process. Arrays are made by the main thread (Kokkos 3.4 allocates there only); what has to be done
// as a rank, messages above all, runs on its thread.
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/loopback/loopback.hpp"
#include "train/ranks.hpp"

namespace train_test {

inline train::Options options_of(const std::string &deck,
                                 const std::vector<std::string> &overrides) {
  deck::Deck read = deck::Deck::parse(deck, "test.toml", overrides);
  return train::read_options(read);
}

// A model in miniature with every kind of tensor.
inline const std::string kSmall = R"(
[[data.source]]
name = "x"
paths = ["x"]
[model]
vocabulary = 64
dim = 16
layers = 4
dense_layers = 1
dense_hidden = 32
expert_hidden = 8
[model.attention]
heads = 2
kv_rank = 8
nope_dim = 8
rope_dim = 4
value_dim = 8
[model.router]
experts = 8
chosen = 2
groups = 4
chosen_groups = 2
[mtp]
depth = 1
[batch]
sequence = 16
micro_batch = 1
global_batch = 16
[run]
reproducible = "any_layout"
[parallel]
shards = 8
)";

class VirtualRanks {
public:
  explicit VirtualRanks(const train::Options &options)
      : count_(static_cast<int>(options.parallel.dp * options.parallel.pp)),
        worlds_(static_cast<std::size_t>(count_)), ranks_(static_cast<std::size_t>(count_)) {
    thread_ = std::thread([this] {
      comm::loopback::run(count_, {30}, [this](comm::Communicator &world) { serve(world); });
    });
    each([&](int r) {
      const auto i = static_cast<std::size_t>(r);
      ranks_[i] = std::make_unique<train::Ranks>(options, *worlds_[i]);
    });
  }
  ~VirtualRanks() {
    each([&](int r) { ranks_[static_cast<std::size_t>(r)].reset(); });
    order({});
    thread_.join();
  }
  VirtualRanks(const VirtualRanks &) = delete;

  int count() const { return count_; }
  const train::Ranks &at(int r) const { return *ranks_[static_cast<std::size_t>(r)]; }
  // f(rank) on all threads at once; the first failure is thrown here.
  void each(const std::function<void(int)> &f) {
    order(f);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ == count_; });
    if (const auto failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
  }
  // f on one thread while the others do nothing.
  void only(int rank, const std::function<void()> &f) {
    each([&](int r) {
      if (r == rank) f();
    });
  }

private:
  void order(std::function<void(int)> f) {
    const std::lock_guard lock(mutex_);
    job_ = std::move(f), done_ = 0, ++number_;
    changed_.notify_all();
  }
  void serve(comm::Communicator &world) {
    worlds_[static_cast<std::size_t>(world.rank())] = &world;
    for (int seen = 0;;) {
      std::function<void(int)> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return number_ > seen; });
        seen = number_, job = job_;
      }
      if (!job) return;
      std::exception_ptr failure;
      try {
        job(world.rank());
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      if (failure && !failure_) failure_ = failure;
      ++done_;
      changed_.notify_all();
    }
  }

  int count_;
  std::vector<comm::Communicator *> worlds_;
  std::vector<std::unique_ptr<train::Ranks>> ranks_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void(int)> job_;
  int number_ = 0, done_ = 0;
  std::exception_ptr failure_;
};

} // namespace train_test
