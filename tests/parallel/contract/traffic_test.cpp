// SPDX-License-Identifier: Apache-2.0
// What is counted as sent: by axis, operation and class of link, and summed over the ranks.
#include "comm/mesh.hpp"
#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;
using comm::Link;

TEST(Traffic, CountsByLink) {
  on_all_bodies([](Communicator &world) {
    if (world.size() % 2) return;
    const int n = world.size();
    const comm::Mesh mesh = comm::make_mesh(world, {n, n, 1, 2}); // nodes of two ranks
    comm::Traffic &traffic = world.terms().traffic;
    traffic.clear();
    // Ten bytes to everybody, myself included.
    const auto each =
        comm::Blocks::packed(std::vector<std::size_t>(static_cast<std::size_t>(n), 10));
    Buffer<unsigned char> out(each.bytes.size() * 10), in(out.size());
    mesh.dp->all_to_all_v(out.data(), each, in.data(), each, {"ten bytes"});
    const auto row = traffic.total("dp", "ten bytes");
    EXPECT_EQ(row[Link::same_rank].bytes, 10);
    EXPECT_EQ(row[Link::same_rank].messages, 0);
    EXPECT_EQ(row[Link::same_node].bytes, 10);
    EXPECT_EQ(row[Link::other_node].bytes, 10 * (n - 2));
    EXPECT_EQ(row[Link::other_node].messages, n - 2);
    EXPECT_EQ(traffic.total("ep").of_link[1].messages, 0);

    if (world.rank() == 0)
      mesh.dp->send(n - 1, 3, out.data(), 5, {"five bytes"});
    else if (world.rank() == n - 1)
      mesh.dp->recv(0, 3, in.data(), 5, {"five bytes"});
    const comm::Traffic all = comm::traffic_of_all(world);
    const auto ten = all.total("dp", "ten bytes"), five = all.total("", "five bytes");
    EXPECT_EQ(ten[Link::other_node].messages, n * (n - 2));
    EXPECT_EQ(ten[Link::same_node].bytes, n * 10);
    EXPECT_EQ(five[n == 2 ? Link::same_node : Link::other_node].messages, 1);
    EXPECT_EQ(five[n == 2 ? Link::same_node : Link::other_node].bytes, 5);
    const std::string table = comm::traffic_table(all, true);
    EXPECT_NE(table.find("five bytes"), std::string::npos) << table;
    EXPECT_EQ(comm::traffic_table(all, false).find("five bytes"), std::string::npos);
    EXPECT_NE(table.find("other nodes"), std::string::npos);
  });
}

} // namespace
