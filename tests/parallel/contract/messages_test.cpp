// SPDX-License-Identifier: Apache-2.0
// Messages and blocks of bytes: the same source for every body.
#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Blocks;
using comm::Communicator;

constexpr comm::What kWhat{"contract test", 7};
const std::size_t kSizes[] = {1, 7, 4096, 4097, 100003, (std::size_t(3) << 20) + 5};

// Everybody to the next one on the ring, which is the rank itself in a world of one.
TEST(Messages, ReachTheNextRankWhole) {
  on_all_bodies([](Communicator &c) {
    const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
    for (const std::size_t bytes : kSizes) {
      Buffer<unsigned char> out(bytes), in(bytes);
      for (std::size_t i = 0; i < bytes; ++i) out[i] = mark(c.rank(), next, i);
      out.upload();
      comm::Request requests[] = {c.irecv(before, 5, in.data(), bytes, kWhat),
                                  c.isend(next, 5, out.data(), bytes, kWhat)};
      comm::wait_all(requests);
      in.download();
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < bytes; ++i) wrong += in[i] != mark(before, c.rank(), i);
      EXPECT_EQ(wrong, 0u) << bytes << " bytes at rank " << c.rank();
      EXPECT_TRUE(requests[0].done());
      EXPECT_TRUE(comm::test(requests[1]));
    }
  });
}

TEST(Messages, LongOnesGoInPieces) {
  comm::Options options{60};
  options.piece_bytes = 1000;
  on_all_bodies(
      [](Communicator &c) {
        const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
        for (const std::size_t bytes : {std::size_t(999), std::size_t(1000), std::size_t(1001),
                                        std::size_t(3000), std::size_t(70001)}) {
          Buffer<unsigned char> out(bytes), in(bytes);
          for (std::size_t i = 0; i < bytes; ++i) out[i] = mark(c.rank(), next, i);
          out.upload();
          comm::Request from = c.irecv(before, 1, in.data(), bytes, kWhat);
          comm::Request to = c.isend(next, 1, out.data(), bytes, kWhat);
          comm::wait(to);
          comm::wait(from);
          in.download();
          for (std::size_t i = 0; i < bytes; ++i)
            ASSERT_EQ(in[i], mark(before, c.rank(), i)) << i << " of " << bytes;
        }
      },
      options);
}

// The same pair and tag: in the order of sending. Another tag does not disturb it.
TEST(Messages, KeepTheirOrder) {
  on_all_bodies([](Communicator &c) {
    const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
    constexpr int kMany = 20;
    std::vector<std::unique_ptr<Buffer<int>>> out, in;
    std::vector<comm::Request> requests;
    for (int i = 0; i < kMany; ++i) {
      out.push_back(std::make_unique<Buffer<int>>(1, 100 * c.rank() + i));
      in.push_back(std::make_unique<Buffer<int>>(1, -1));
      const int tag = i % 2; // two streams
      requests.push_back(c.irecv(before, tag, in.back()->data(), sizeof(int), kWhat));
      requests.push_back(c.isend(next, tag, out.back()->data(), sizeof(int), kWhat));
    }
    comm::wait_all(requests);
    for (int i = 0; i < kMany; ++i) {
      in[static_cast<std::size_t>(i)]->download();
      EXPECT_EQ((*in[static_cast<std::size_t>(i)])[0], 100 * before + i);
    }
  });
}

#ifndef HADAL_CONTRACT_NCCL // NCCL has no messages without content, and does not compare sizes
TEST(Messages, MayBeEmpty) {
  on_all_bodies([](Communicator &c) {
    const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
    comm::Request from = c.irecv(before, 3, nullptr, 0, kWhat);
    c.send(next, 3, nullptr, 0, kWhat);
    comm::wait(from);
    EXPECT_TRUE(from.done());
  });
}

TEST(Messages, OfAnotherSizeAreAFault) {
  on_all_bodies([](Communicator &c) {
    for (const std::size_t expected : {std::size_t(8), std::size_t(24)}) {
      const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
      char out[32] = {}, in[32] = {};
      comm::Request to = c.isend(next, 9, out, 16, kWhat);
      comm::Request from = c.irecv(before, 9, in, expected, kWhat);
      EXPECT_THROW(comm::wait(from), base::Fault) << expected;
      comm::wait(to);
      c.barrier();
    }
  });
}

TEST(Messages, ToNobodyAreAFault) {
  on_all_bodies([](Communicator &c) {
    char byte = 0;
    EXPECT_THROW(c.isend(c.size(), 0, &byte, 1, kWhat), base::Fault);
    EXPECT_THROW(c.irecv(-1, 0, &byte, 1, kWhat), base::Fault);
    EXPECT_THROW(c.isend(0, comm::kTags, &byte, 1, kWhat), base::Fault);
  });
}
#endif

// Counts that all ranks can compute: many rows, few, none.
std::size_t rows(int from, int to, int round) {
  std::mt19937 random(static_cast<unsigned>(1000 * round + 50 * from + to));
  const std::size_t most[] = {0, 3, 40, 3000};
  return random() % (most[random() % 4] + 1);
}

TEST(AllToAll, VariableCountsWithEmptyBlocks) {
  on_all_bodies([](Communicator &c) {
    for (int round = 0; round < 6; ++round) {
      std::vector<std::size_t> out_bytes, in_bytes;
      for (int r = 0; r < c.size(); ++r) {
        out_bytes.push_back(round == 5 ? 0 : 6 * rows(c.rank(), r, round));
        in_bytes.push_back(round == 5 ? 0 : 6 * rows(r, c.rank(), round));
      }
      const Blocks out = Blocks::packed(out_bytes), in = Blocks::packed(in_bytes);
      Buffer<unsigned char> sent(out.offsets.back() + out.bytes.back()),
          got(in.offsets.back() + in.bytes.back());
      for (int r = 0; r < c.size(); ++r)
        for (std::size_t i = 0; i < out_bytes[static_cast<std::size_t>(r)]; ++i)
          sent[out.offsets[static_cast<std::size_t>(r)] + i] = mark(c.rank(), r, i);
      sent.upload();
      c.all_to_all_v(sent.data(), out, got.data(), in, kWhat);
      got.download();
      std::size_t wrong = 0;
      for (int r = 0; r < c.size(); ++r)
        for (std::size_t i = 0; i < in_bytes[static_cast<std::size_t>(r)]; ++i)
          wrong += got[in.offsets[static_cast<std::size_t>(r)] + i] != mark(r, c.rank(), i);
      EXPECT_EQ(wrong, 0u) << "round " << round << " rank " << c.rank();
    }
  });
}

// Two under way at once, awaited in the other order.
TEST(AllToAll, SeveralUnderWay) {
  on_all_bodies([](Communicator &c) {
    const auto n = static_cast<std::size_t>(c.size());
    const Blocks blocks = Blocks::packed(std::vector<std::size_t>(n, 5000 * sizeof(int)));
    Buffer<int> out1(5000 * n, 1 + c.rank()), out2(5000 * n, -1 - c.rank()), in1(5000 * n),
        in2(5000 * n);
    auto first = c.start_all_to_all_v(out1.data(), blocks, in1.data(), blocks, kWhat);
    auto second = c.start_all_to_all_v(out2.data(), blocks, in2.data(), blocks, kWhat);
    comm::wait_all(second);
    comm::wait_all(first);
    in1.download(), in2.download();
    for (std::size_t i = 0; i < 5000 * n; ++i) {
      ASSERT_EQ(in1[i], 1 + static_cast<int>(i / 5000));
      ASSERT_EQ(in2[i], -1 - static_cast<int>(i / 5000));
    }
  });
}

TEST(AllGather, BlocksOfAnySize) {
  on_all_bodies([](Communicator &c) {
    std::vector<std::size_t> bytes;
    for (int r = 0; r < c.size(); ++r)
      bytes.push_back(r % 3 == 1 ? 0 : 10000u * static_cast<std::size_t>(r) + 3);
    const Blocks in = Blocks::packed(bytes);
    const auto me = static_cast<std::size_t>(c.rank());
    Buffer<unsigned char> mine(bytes[me]), all(in.offsets.back() + in.bytes.back());
    for (std::size_t i = 0; i < bytes[me]; ++i) mine[i] = mark(c.rank(), 0, i);
    mine.upload();
    c.all_gather_v(mine.data(), all.data(), in, kWhat);
    all.download();
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < bytes.size(); ++r)
      for (std::size_t i = 0; i < bytes[r]; ++i)
        wrong += all[in.offsets[r] + i] != mark(static_cast<int>(r), 0, i);
    EXPECT_EQ(wrong, 0u);
  });
}

TEST(Broadcast, FromEveryRoot) {
  on_all_bodies([](Communicator &c) {
    for (int root = 0; root < c.size(); ++root)
      for (const std::size_t bytes : {std::size_t(0), std::size_t(1), std::size_t(30001)}) {
        Buffer<unsigned char> data(bytes);
        for (std::size_t i = 0; i < bytes; ++i) data[i] = c.rank() == root ? mark(root, 1, i) : 0;
        data.upload();
        c.broadcast(root, data.data(), bytes, kWhat);
        data.download();
        for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], mark(root, 1, i));
      }
  });
}

TEST(Gather, ToEveryRoot) {
  on_all_bodies([](Communicator &c) {
    const auto n = static_cast<std::size_t>(c.size());
    for (int root = 0; root < c.size(); ++root) {
      Buffer<int> mine(3, 10 * c.rank() + root), all(3 * n, -1);
      c.gather(root, mine.data(), 3 * sizeof(int), all.data(), kWhat);
      all.download();
      for (std::size_t i = 0; i < 3 * n && c.rank() == root; ++i)
        EXPECT_EQ(all[i], 10 * static_cast<int>(i / 3) + root);
    }
  });
}

} // namespace
