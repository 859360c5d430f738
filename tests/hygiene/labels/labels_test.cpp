// SPDX-License-Identifier: Apache-2.0
// Two steps of a tiny run under the ears of Kokkos Tools: every kernel, region and allocation has a name that begins with its room,
// and the second step allocates nothing. Kokkos' own names are exempt.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "base/random.hpp"
#include "comm/loopback/loopback.hpp"
#include "tests/support/kokkos_listener.hpp"
#include "train/step.hpp"

namespace {

using support::KokkosListener;

bool of_kokkos(const std::string &name) { return name.rfind("Kokkos::", 0) == 0; }

// The names that are neither Kokkos' own nor room::path; "Kokkos::View::initialization [name]" carries the name of a view.
std::set<std::string> strangers(const std::vector<std::string> &names) {
  static const std::regex path("(tensor|numerics|comm|layers|model|optim|train|checkpoint|infer|"
                               "data)(::[a-z][a-z0-9_]*)*::[A-Za-z0-9_]+");
  static const std::regex view("Kokkos::View::(initialization|destruction) \\[(.*)\\].*");
  std::set<std::string> found;
  for (const std::string &name : names) {
    std::smatch parts;
    const std::string own = std::regex_match(name, parts, view) ? parts[2].str() : name;
    if (!of_kokkos(own) && !std::regex_match(own, path)) found.insert(name);
  }
  return found;
}
std::vector<std::string> ours(const std::vector<std::string> &names) {
  std::vector<std::string> list;
  for (const std::string &name : names)
    if (!of_kokkos(name)) list.push_back(name);
  return list;
}

class RandomTokens : public data::SampleSource {
public:
  std::vector<data::Sample> next(data::Cursor &cursor, const std::int64_t count) const override {
    std::vector<data::Sample> samples(static_cast<std::size_t>(count));
    for (auto &sample : samples) {
      for (std::uint64_t i = 0; i <= 16; ++i)
        sample.tokens.push_back(static_cast<data::Token>(
            base::random::bits(1, base::random::Purpose::test,
                               static_cast<std::uint64_t>(cursor.next_sample), i) %
            31));
      sample.segments = {0, 5};
      ++cursor.next_sample;
    }
    return samples;
  }
  void skip(data::Cursor &cursor, const std::int64_t count) const override {
    cursor.next_sample += count;
  }
};

const std::string kDeck = R"(
[[data.source]]
name = "x"
paths = ["x"]
[model]
vocabulary = 31
dim = 16
layers = 2
dense_layers = 1
dense_hidden = 16
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
depth = 2
[batch]
sequence = 16
micro_batch = 2
global_batch = 4
[run]
reproducible = "any_layout"
[parallel]
shards = 2
[average]
beta = 0.5
)";

// Listens to the building of a trainer and its first step, then to its second step.
template <class A> void listen(const std::vector<std::string> &overrides) {
  deck::Deck deck = deck::Deck::parse(kDeck, "labels.toml", overrides);
  const train::Options options = train::read_options(deck);
  const RandomTokens source;
  const auto world = comm::loopback::alone(std::make_shared<comm::Terms>());
  KokkosListener listener;
  const train::Ranks ranks(options, *world);
  const model::Layout layout(options.dims, ranks.share());
  train::State state(options, ranks, layout);
  train::Trainer<A> trainer(options, ranks, state, source);
  state.initialise(trainer.context(), 1);
  trainer.weights_changed();
  ASSERT_EQ(trainer.step().verdict, train::Verdict::good);
  EXPECT_EQ(strangers(listener.kernels()), std::set<std::string>());
  EXPECT_EQ(strangers(listener.regions()), std::set<std::string>());
  EXPECT_EQ(strangers(listener.allocations()), std::set<std::string>());
  EXPECT_GT(ours(listener.allocations()).size(), 5U);
  listener.forget();
  ASSERT_EQ(trainer.step().verdict, train::Verdict::good);
  EXPECT_EQ(strangers(listener.kernels()), std::set<std::string>());
  EXPECT_EQ(ours(listener.allocations()), std::vector<std::string>());
  const auto kernels = ours(listener.kernels());
  const std::set<std::string> names(kernels.begin(), kernels.end());
  for (const char *room :
       {"layers::attention::", "layers::mla::", "layers::router::", "layers::experts::",
        "layers::mtp::", "model::block::", "optim::adamw", "train::gradients::"})
    EXPECT_TRUE(std::any_of(names.begin(), names.end(),
                            [&](const std::string &name) { return name.rfind(room, 0) == 0; }))
        << room << " was not heard";
}

TEST(Labels, StepInF32) { listen<float>({}); }
TEST(Labels, StepInF32Recomputed) {
  listen<float>({"recompute.norms=true", "recompute.up_projections=true", "recompute.swiglu=true",
                 "model.attention.q_rank=0"});
}
TEST(Labels, StepInBf16) {
  listen<numerics::bf16>({"optimizer.moments=bf16", "model.attention.q_rank=8"});
}

// The ears work: what has no name, or one of no room, is found.
TEST(LabelsMeta, UnlabelledKernelsAndAllocationsAreFound) {
  KokkosListener listener;
  const Kokkos::View<float *> named("train::example", 3);
  EXPECT_EQ(strangers(listener.allocations()), std::set<std::string>());
  const Kokkos::RangePolicy<tensor::Exec> range(0, 3);
  Kokkos::parallel_for(
      "train::example::fill", range, KOKKOS_LAMBDA(const long i) { named(i) = 1; });
  EXPECT_EQ(strangers(listener.kernels()), std::set<std::string>());
  Kokkos::parallel_for(
      range, KOKKOS_LAMBDA(const long i) { named(i) = 2; });
  EXPECT_EQ(strangers(listener.kernels()).size(), 1U);
  float sum = 0;
  Kokkos::parallel_reduce(
      "Sum", range, KOKKOS_LAMBDA(const long i, float &s) { s += named(i); }, sum);
  EXPECT_EQ(strangers(listener.kernels()).count("Sum"), 1U);
  EXPECT_EQ(sum, 6);
  const Kokkos::View<float *> nameless("", 3), elsewhere("garage::example", 3);
  EXPECT_EQ(strangers(listener.allocations()), (std::set<std::string>{"", "garage::example"}));
  Kokkos::Profiling::pushRegion("somewhere");
  Kokkos::Profiling::popRegion();
  EXPECT_EQ(strangers(listener.regions()).count("somewhere"), 1U);
}

} // namespace
