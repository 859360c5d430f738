// SPDX-License-Identifier: Apache-2.0
#include "comm/reduce.hpp"

#include <algorithm>

#include "tensor/launch.hpp"

namespace comm {
namespace {

// Rank r's values of the piece that is added: those of others lie in the scratch, one behind the other, without ours.
struct Values {
  float *own;
  float *scratch;
  Index size;
  int me;
  KOKKOS_INLINE_FUNCTION float *of(int r) const {
    return r == me ? own : scratch + (r < me ? r : r - 1) * size;
  }
};

// (1) over blocks that stay in the cache through all levels; the sum ends in own.
void add_tree(tensor::Context &ctx, const Values &v, int ranks) {
  const Index blocks = (v.size + kCutBlock - 1) / kCutBlock;
  ctx.count("comm::reduce::add_tree", double(v.size) * (ranks - 1),
            4.0 * double(v.size) * (ranks + 1));
  tensor::for_rows(
      ctx, "comm::reduce::add_tree", blocks, KOKKOS_LAMBDA(const tensor::Row &row, Index block) {
        const Index lo = block * kCutBlock;
        const Index n = v.size - lo < kCutBlock ? v.size - lo : kCutBlock;
        for (int width = 1; width < ranks; width *= 2)
          for (int r = 0; r + width < ranks; r += 2 * width) {
            float *lower = v.of(r) + lo;
            const float *higher = v.of(r + width) + lo;
            tensor::row_for(row, n, [=](Index i) { lower[i] = lower[i] + higher[i]; });
          }
        if (v.me == 0) return;
        const float *sum = v.of(0) + lo;
        float *own = v.own + lo;
        tensor::row_for(row, n, [=](Index i) { own[i] = sum[i]; });
      });
}

// Tests the first that is not done: a body makes progress with all at any test, and this is called often.
bool all_done(std::vector<Request> &requests) {
  for (Request &request : requests)
    if (!test(request)) return false;
  return true;
}

void check_cut(const Cut &cut, const Communicator &comm, const What &what) {
  HADAL_CHECK(cut.begin.size() == static_cast<std::size_t>(comm.size()) + 1 &&
                  cut.begin.front() == 0 && std::is_sorted(cut.begin.begin(), cut.begin.end()),
              "{}: a cut of {} borders for {} ranks", what.operation, cut.begin.size(),
              comm.size());
}

char *at(void *data, Index element, std::size_t bytes) {
  return static_cast<char *>(data) + static_cast<std::size_t>(element) * bytes;
}

} // namespace

Cut cut_evenly(Index elements, int ranks, int first, Index block) {
  HADAL_CHECK(elements >= 0 && ranks > 0 && block > 0, "{} elements, {} ranks, blocks of {}",
              elements, ranks, block);
  const Index blocks = (elements + block - 1) / block;
  const Index each = blocks / ranks, more = blocks % ranks;
  Cut cut{{0}};
  Index at = 0;
  for (int r = 0; r < ranks; ++r) {
    at += each + ((r - first % ranks + ranks) % ranks < more ? 1 : 0);
    cut.begin.push_back(std::min(at * block, elements));
  }
  return cut;
}

Index ReduceScatter::scratch_elements(std::span<const Part> parts, int rank, int ranks) {
  Index elements = 0;
  for (const Part &part : parts) elements += part.cut.size(rank) * (ranks - 1);
  return elements;
}

void ReduceScatter::start(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
                          tensor::Vec<float> scratch, What what) {
  HADAL_CHECK(!active(), "{}: the sum before it is not finished", what.operation);
  const int n = comm.size(), me = comm.rank();
  HADAL_CHECK(static_cast<Index>(scratch.extent(0)) >= scratch_elements(parts, me, n),
              "{}: scratch of {} elements", what.operation, scratch.extent(0));
  comm_ = &comm, parts_ = std::move(parts), scratch_ = scratch;
  tensor::fence(ctx, "comm::reduce: the values are sent");
  float *place = scratch_.data();
  for (const Part &part : parts_) {
    check_cut(part.cut, comm, what);
    const int tag = comm.next_tag();
    const Index mine = part.cut.size(me);
    for (int r = 0; r < n; ++r)
      if (r != me && mine > 0) {
        requests_.push_back(
            comm.begin(false, r, tag, place, static_cast<std::size_t>(mine) * sizeof(float), what));
        place += mine;
      }
    for (int step = 1; step < n; ++step) {
      const int peer = (me + step) % n;
      const Index theirs = part.cut.size(peer);
      if (theirs > 0)
        requests_.push_back(comm.begin(true, peer, tag,
                                       part.data + part.cut.begin[static_cast<std::size_t>(peer)],
                                       static_cast<std::size_t>(theirs) * sizeof(float), what));
    }
  }
}

bool ReduceScatter::progress() { return all_done(requests_); }

void ReduceScatter::finish(tensor::Context &ctx) {
  if (!active()) return;
  wait_all(requests_);
  requests_.clear();
  const int n = comm_->size(), me = comm_->rank();
  float *place = scratch_.data();
  for (const Part &part : parts_) {
    const Index mine = part.cut.size(me);
    float *own = part.data + part.cut.begin[static_cast<std::size_t>(me)];
    if (n > 1) add_tree(ctx, {own, place, mine, me}, n);
    place += mine * (n - 1);
  }
  tensor::fence(ctx, "comm::reduce: the scratch is free again");
  comm_ = nullptr;
  parts_.clear();
}

void AllGather::start(tensor::Context &ctx, Communicator &comm, std::span<const Pieces> pieces,
                      What what) {
  HADAL_CHECK(requests_.empty(), "{}: the gathering before it is not finished", what.operation);
  tensor::fence(ctx, "comm::all_gather: the pieces are sent");
  const int n = comm.size(), me = comm.rank();
  for (const Pieces &p : pieces) {
    check_cut(p.cut, comm, what);
    const int tag = comm.next_tag();
    const auto bytes = [&](int r) { return static_cast<std::size_t>(p.cut.size(r)) * p.element; };
    const auto place = [&](int r) {
      return at(p.data, p.cut.begin[static_cast<std::size_t>(r)], p.element);
    };
    for (int step = 1; step < n; ++step) {
      const int from = (me + n - step) % n;
      if (bytes(from))
        requests_.push_back(comm.begin(false, from, tag, place(from), bytes(from), what));
    }
    for (int step = 1; step < n; ++step)
      if (bytes(me))
        requests_.push_back(comm.begin(true, (me + step) % n, tag, place(me), bytes(me), what));
  }
}

bool AllGather::progress() { return all_done(requests_); }

void AllGather::finish() {
  wait_all(requests_);
  requests_.clear();
}

void reduce_scatter(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
                    tensor::Vec<float> scratch, What what) {
  ReduceScatter sum;
  sum.start(ctx, comm, std::move(parts), scratch, what);
  sum.finish(ctx);
}

void all_gather(tensor::Context &ctx, Communicator &comm, std::span<const Pieces> pieces,
                What what) {
  AllGather gathering;
  gathering.start(ctx, comm, pieces, what);
  gathering.finish();
}

void all_reduce(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
                tensor::Vec<float> scratch, What what) {
  std::vector<Pieces> pieces;
  for (const Part &part : parts) pieces.push_back({part.data, sizeof(float), part.cut});
  reduce_scatter(ctx, comm, std::move(parts), scratch, what);
  all_gather(ctx, comm, pieces, what);
}

} // namespace comm
