// SPDX-License-Identifier: Apache-2.0
// Buckets of gradients on their way: sums of all replicas equal the tree, whoever is ahead; starting never waits.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/train/virtual_ranks.hpp"
#include "train/exchange.hpp"

namespace {

using namespace train_test;
using tensor::Index;
using tensor::Vec;

// What a rank adds to element i of a tensor's use, of experts for each source: a whole number, so that sums are exact.
float part(int rank, const model::Slot &slot, Index use, Index source, Index i) {
  return static_cast<float>((rank * 37 + slot.order * 11 + use * 5 + source * 3 + i) % 1009);
}

struct Replica {
  model::Layout layout;
  train::Ownership ownership;
  std::vector<train::Gradients> gradients;
  train::Exchange exchange;
  tensor::Arena arena = tensor::Arena::counting("test");
  tensor::Context ctx{tensor::Exec(), arena};

  Replica(const train::Options &o, const train::Ranks &ranks)
      : layout(o.dims, ranks.share()), ownership(ranks, layout, false),
        gradients(gradients_of(o, ranks, layout)), exchange(ranks, layout, ownership, gradients) {}
  static std::vector<train::Gradients>
  gradients_of(const train::Options &o, const train::Ranks &ranks, const model::Layout &layout) {
    std::vector<train::Gradients> all;
    for (const train::Chunk &chunk : ranks.chunks())
      all.emplace_back(layout, chunk.part, ranks.shards(o));
    return all;
  }
  // Writes an accumulator wherever the gradients lie.
  static void fill(float *to, int rank, const model::Slot &slot, Index use, Index source) {
    for (Index i = 0; i < slot.size; ++i) to[i] += part(rank, slot, use, source, i);
  }
};

// Adds one micro-batch of values to everything that is open. The views of the model are by layer; their memory is that of the slots.
void add_values(Replica &replica, int rank, const model::Grads &g) {
  for (const model::Slot &slot : replica.layout.slots()) {
    const auto layer = static_cast<std::size_t>(
        std::max<std::int16_t>(0, static_cast<std::int16_t>(slot.spec.layer)));
    const std::string name = slot.spec.name.substr(slot.spec.name.rfind('.') + 1);
    if (slot.spec.name == "head" || slot.spec.name == "embedding") {
      const auto &uses = slot.spec.name == "head" ? g.head_WD : g.embedding_WD;
      for (std::size_t use = 0; use < uses.size(); ++use)
        Replica::fill(uses[use].data(), rank, slot, static_cast<Index>(use), 0);
    } else if (slot.spec.name == "final_norm") {
      Replica::fill(g.final_norm_D.data(), rank, slot, 0, 0);
    } else if (name == "attention_norm") {
      Replica::fill(g.blocks[layer].attention_norm_D.data(), rank, slot, 0, 0);
    } else if (name == "w_o") {
      Replica::fill(g.blocks[layer].mla.w_o_DU.data(), rank, slot, 0, 0);
    } else if (slot.spec.name.ends_with("experts.w_up")) {
      for (std::size_t source = 0; source < g.blocks[layer].experts.size(); ++source)
        Replica::fill(g.blocks[layer].experts[source].w_up_EFD.data(), rank, slot, 0,
                      static_cast<Index>(source));
    }
  }
}

class ExchangeOnHost : public ::testing::Test {
protected:
  void SetUp() override {
    if constexpr (!tensor::kOnHost) GTEST_SKIP() << "the test writes the accumulators itself";
  }
  // dp replicas on one stage, one micro-batch each.
  void make(const std::vector<std::string> &overrides) {
    options_ = options_of(kSmall, overrides);
    ranks_ = std::make_unique<VirtualRanks>(options_);
    for (int r = 0; r < ranks_->count(); ++r)
      replicas_.push_back(std::make_unique<Replica>(options_, ranks_->at(r)));
  }
  void TearDown() override {
    replicas_.clear();
    ranks_.reset();
  }
  Replica &at(int r) { return *replicas_[static_cast<std::size_t>(r)]; }
  // All passes of one micro-batch in each shard.
  void pass(int r) {
    Replica &replica = at(r);
    replica.exchange.begin_step();
    train::Gradients &g = replica.gradients[0];
    const std::int64_t shards = ranks_->at(r).shards(options_);
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      g.for_forward(replica.ctx);
      add_values(replica, r, g.for_backward(replica.ctx));
      g.close_forward(replica.ctx);
      for (Index layer = options_.dims.layers + options_.dims.mtp_depth; layer-- > 0;)
        g.close_layer(replica.ctx, layer);
      g.close_backward(replica.ctx);
    }
  }
  // Owned pieces against the sum written out. Sources of experts: every rank of the group has all of them here.
  void check(int r) {
    Replica &replica = at(r);
    const int n = ranks_->count();
    const auto ep = static_cast<int>(options_.parallel.ep);
    const auto shards = static_cast<float>(ranks_->at(r).shards(options_));
    Index checked = 0;
    for (const train::Owned &piece : replica.ownership.pieces()) {
      const model::Slot &slot = *piece.slot;
      const std::string &name = slot.spec.name;
      const bool table = name == "head" || name == "embedding";
      const bool experts = name.ends_with("experts.w_up");
      if (!table && !experts && name != "final_norm" && !name.ends_with("attention_norm") &&
          !name.ends_with("w_o"))
        continue;
      const Vec<float> got = replica.exchange.gradient(piece);
      for (Index i = 0; i < piece.size(); ++i, ++checked) {
        float expected = 0;
        for (int other = 0; other < n; ++other) {
          if (experts && other % ep != r % ep) continue;
          for (Index use = 0; use < (table ? replica.layout.uses() : 1); ++use)
            for (Index source = 0; source < (experts ? ep : 1); ++source)
              expected += part(other, slot, use, source, piece.begin + i);
        }
        ASSERT_EQ(got(i), shards * expected) << name << " " << i;
      }
    }
    EXPECT_GT(checked, 0);
  }

  train::Options options_;
  std::unique_ptr<VirtualRanks> ranks_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

// One rank has started all that it can, others have not begun: nobody waits. Messages are longer than what the transport buffers.
TEST_F(ExchangeOnHost, StartingNeverWaits) {
  make({"parallel.dp=4", "model.vocabulary=512"});
  for (int step = 0; step < 2; ++step) {
    for (const int r : {2, 0, 3, 1}) ranks_->only(r, [&] { pass(r); });
    ranks_->each([&](int r) { at(r).exchange.finish(at(r).ctx); });
    for (int r = 0; r < 4; ++r) check(r);
  }
}

// With both ranks at the same place messages come while layers are at work: the first buckets are summed before the last is whole.
TEST_F(ExchangeOnHost, BucketsComeWhileLayersAreAtWork) {
  make({"parallel.dp=2", "parallel.shards=2"});
  ASSERT_EQ(ranks_->at(0).shards(options_), 1);
  for (int r = 0; r < 2; ++r) {
    at(r).exchange.begin_step();
    train::Gradients &g = at(r).gradients[0];
    g.for_forward(at(r).ctx);
    add_values(at(r), r, g.for_backward(at(r).ctx));
  }
  EXPECT_FALSE(at(0).exchange.progress());
  ranks_->each([&](int r) { at(r).gradients[0].close_forward(at(r).ctx); });
  // The head is on its way; it comes without anybody finishing.
  const auto come = [&] {
    for (int tries = 0; tries < 10000; ++tries) {
      bool under_way[2] = {true, true};
      ranks_->each([&](int r) { under_way[r] = at(r).exchange.progress(); });
      if (!under_way[0] && !under_way[1]) return true;
    }
    return false;
  };
  EXPECT_TRUE(come());
  for (Index layer = options_.dims.layers + options_.dims.mtp_depth; layer-- > 0;) {
    ranks_->each([&](int r) { at(r).gradients[0].close_layer(at(r).ctx, layer); });
    EXPECT_TRUE(come()) << layer;
  }
  // Two buckets may still lie in the scratch; the head is summed long since.
  for (int r = 0; r < 2; ++r)
    for (const train::Owned &piece : at(r).ownership.pieces())
      if (piece.slot->spec.name == "head") {
        const Vec<float> got = at(r).gradients[0].total(*piece.slot, 0);
        for (Index i = piece.begin; i < piece.end; ++i)
          ASSERT_EQ(got(i), part(0, *piece.slot, 0, 0, i) + part(1, *piece.slot, 0, 0, i));
      }
  ranks_->each([&](int r) {
    at(r).gradients[0].close_backward(at(r).ctx);
    at(r).exchange.finish(at(r).ctx);
  });
  for (int r = 0; r < 2; ++r) check(r);
}

TEST_F(ExchangeOnHost, ExpertsOfAGroup) {
  make({"parallel.dp=4", "parallel.ep=2"});
  ranks_->each([&](int r) {
    pass(r);
    at(r).exchange.finish(at(r).ctx);
  });
  for (int r = 0; r < 4; ++r) check(r);
}

TEST_F(ExchangeOnHost, AnUnfinishedBackwardPassIsAFault) {
  make({"parallel.dp=2"});
  at(0).exchange.begin_step();
  EXPECT_THROW(at(0).exchange.finish(at(0).ctx), base::Fault);
}

// Pieces of all replicas are all of every tensor, once; no replica has much more than another.
TEST(Ownership, PiecesAreEveryTensorOnceAndEven) {
  for (const char *schedule : {"1f1b", "dualpipe"}) {
    const train::Options o = options_of(kSmall, {"parallel.dp=4", "parallel.ep=2", "parallel.pp=2",
                                                 "model.vocabulary=40000",
                                                 std::string("parallel.schedule=") + schedule});
    VirtualRanks ranks(o);
    std::map<std::string, std::set<std::pair<Index, Index>>> pieces;
    std::vector<Index> owned;
    for (int r = 0; r < ranks.count(); ++r) {
      const model::Layout layout(o.dims, ranks.at(r).share());
      const train::Ownership ownership(ranks.at(r), layout, true);
      for (const train::Owned &piece : ownership.pieces()) {
        const Index first = piece.slot->first + piece.begin;
        EXPECT_TRUE(pieces[piece.slot->spec.name].insert({first, first + piece.size()}).second);
      }
      owned.push_back(ownership.moments());
    }
    for (const auto &spec : arch::registry(o.dims)) {
      Index at = 0;
      for (const auto &[begin, end] : pieces[spec.name]) {
        EXPECT_EQ(begin, at) << spec.name;
        at = end;
      }
      EXPECT_EQ(at, spec.size()) << spec.name;
    }
    EXPECT_GT(pieces["embedding"].size(), 1U); // cut inside
    if (std::string(schedule) == "dualpipe") {
      const auto [least, most] = std::minmax_element(owned.begin(), owned.end());
      EXPECT_LE(*most - *least, 2 * train::kOwnBlock);
    }
  }
}

} // namespace
