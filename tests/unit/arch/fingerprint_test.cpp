// SPDX-License-Identifier: Apache-2.0
// Each field of Dims is either a shape or meaning: a shape changes no entry, meaning changes its own entry and no other.
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "arch/fingerprint.hpp"
#include "arch/options.hpp"
#include "base/error.hpp"

namespace {

using arch::Dims, arch::Fingerprint;
using Names = std::vector<std::string>;

// Everything is switched on, so that every entry is there.
Dims all_on() {
  Dims d;
  d.yarn.factor = 40, d.mtp_depth = 1;
  return d;
}

struct Field {
  const char *entry; // "": a shape
  std::function<void(Dims &)> change;
};

// In the order of the structs.
std::vector<Field> fields() {
  return {
      {"", [](Dims &d) { d.vocabulary /= 2; }},
      {"", [](Dims &d) { d.model /= 2; }},
      {"", [](Dims &d) { ++d.layers; }},
      {"", [](Dims &d) { ++d.dense_layers; }},
      {"", [](Dims &d) { d.dense_hidden /= 2; }},
      {"model.norm_eps", [](Dims &d) { d.norm_eps = 1e-5; }},
      {"", [](Dims &d) { d.init_std *= 2; }}, // no shape: it acts once, before the first step
      {"model.attention.heads", [](Dims &d) { d.heads /= 2; }},
      {"", [](Dims &d) { d.q_rank = 0; }},
      {"", [](Dims &d) { d.kv_rank /= 2; }},
      {"model.attention.nope_dim", [](Dims &d) { d.nope /= 2; }},
      {"model.attention.rope_dim", [](Dims &d) { d.rope /= 2; }},
      {"model.attention.value_dim", [](Dims &d) { d.value /= 2; }},
      {"model.rope.theta", [](Dims &d) { d.rope_theta = 50000; }},
      {"model.rope.factor", [](Dims &d) { d.yarn.factor = 39.999999999999993; }},
      {"model.rope.original", [](Dims &d) { d.yarn.original = 8192; }},
      {"model.rope.beta_fast", [](Dims &d) { d.yarn.beta_fast = 31; }},
      {"model.rope.beta_slow", [](Dims &d) { d.yarn.beta_slow = 2; }},
      {"model.rope.mscale", [](Dims &d) { d.yarn.mscale = 0.707; }},
      {"model.rope.mscale_all_dim", [](Dims &d) { d.yarn.mscale_all_dim = 0.707; }},
      {"", [](Dims &d) { d.experts /= 2; }},
      {"model.router.chosen", [](Dims &d) { d.chosen = 6; }},
      {"", [](Dims &d) { d.expert_hidden /= 2; }},
      {"", [](Dims &d) { d.shared = 2; }},
      {"model.router.groups", [](Dims &d) { d.groups = 16; }},
      {"model.router.chosen_groups", [](Dims &d) { d.chosen_groups = 3; }},
      {"model.router.score", [](Dims &d) { d.score = arch::Score::softmax; }},
      {"model.router.group_score", [](Dims &d) { d.group_score = arch::GroupScore::maximum; }},
      {"model.router.bias", [](Dims &d) { d.router_bias = false; }},
      {"model.router.normalise", [](Dims &d) { d.normalise = false; }},
      {"model.router.scale", [](Dims &d) { d.route_scale = 2.5000000000000004; }},
      {"mtp.depth", [](Dims &d) { d.mtp_depth = 2; }},
      {"",
       [](Dims &d) { d.head = arch::Head::reward; }}, // a tensor more, which the others do not see
      {"mtp.hidden", [](Dims &d) { d.mtp_hidden = arch::MtpHidden::pre_norm; }},
  };
}

Names names_of(const std::vector<arch::Difference> &list) {
  Names names;
  for (const auto &d : list) names.push_back(d.name);
  return names;
}

TEST(Fingerprint, EachFieldChangesItsEntryOrIsAShape) {
  for (const Field &field : fields()) {
    Dims changed = all_on();
    field.change(changed);
    const auto found =
        arch::differences(arch::fingerprint(all_on()), arch::fingerprint(changed), {});
    const Names expected = *field.entry != 0 ? Names{field.entry} : Names{};
    EXPECT_EQ(names_of(found.refused), expected) << field.entry;
    EXPECT_TRUE(found.accepted.empty() && found.not_told_by_us.empty() &&
                found.not_told_by_them.empty())
        << field.entry;
  }
}

TEST(Fingerprint, NoFieldOfDimsIsForgotten) {
  // Does not compile when a struct gets a field: then it belongs into fields() and into the fingerprint, or is a shape.
  [[maybe_unused]] const auto [a, b, c, d, e, f, g, h, i, j, k, l, m, n, yarn, o, p, q, r, s, t, u,
                               v, w, x, y, z, z1, last] = Dims();
  [[maybe_unused]] const auto [y1, y2, y3, y4, y5, y6] = yarn;
  EXPECT_EQ(fields().size(), 29u - 1u + 6u);
}

TEST(Fingerprint, NamesOfDeckKeysAreDeckKeys) {
  std::set<std::string> keys;
  for (const auto &[table, list] : arch::declared_keys())
    for (const auto &key : list) keys.insert(table + "." + key.name);
  std::set<std::string> seen;
  std::size_t of_the_deck = 0;
  for (const auto &name : arch::fingerprint_names()) {
    EXPECT_TRUE(seen.insert(name).second) << name << " stands twice";
    EXPECT_TRUE(!name.starts_with("model.") || keys.contains(name)) << name;
    of_the_deck += keys.contains(name) ? 1 : 0;
  }
  std::size_t meant = 0;
  for (const Field &field : fields()) {
    meant += *field.entry != 0 ? 1 : 0;
    EXPECT_TRUE(*field.entry == 0 || seen.contains(field.entry)) << field.entry;
  }
  EXPECT_EQ(of_the_deck, meant);
}

TEST(Fingerprint, WhatHasNoEffectDoesNotCount) {
  const auto same = [](const Dims &a, const Dims &b) {
    const auto found = arch::differences(arch::fingerprint(a), arch::fingerprint(b), {});
    return found.refused.empty() && found.not_told_by_us.empty() && found.not_told_by_them.empty();
  };
  Dims a, b;
  b.yarn.original = 1, b.yarn.beta_fast = 2, b.yarn.beta_slow = 3, b.yarn.mscale = 4,
  b.yarn.mscale_all_dim = 5;
  EXPECT_TRUE(same(a, b));
  b.yarn.factor = 0.5; // off as well
  EXPECT_TRUE(same(a, b));
  b = a, b.mtp_hidden = arch::MtpHidden::pre_norm;
  EXPECT_TRUE(same(a, b));
  a.groups = a.chosen_groups = 1, b = a, b.group_score = arch::GroupScore::maximum;
  EXPECT_TRUE(same(a, b));
  a.dense_layers = a.layers, b = a, b.chosen = 1, b.route_scale = 7;
  EXPECT_TRUE(same(a, b));
  a.mtp_depth = b.mtp_depth = 1; // its block has experts
  EXPECT_FALSE(same(a, b));
}

TEST(Fingerprint, SwitchedOnIsOneDifference) {
  const auto found = arch::differences(arch::fingerprint(Dims()), arch::fingerprint(all_on()), {});
  EXPECT_EQ(names_of(found.refused), (Names{"model.rope.factor", "mtp.depth"}));
  EXPECT_TRUE(found.not_told_by_us.empty());
  EXPECT_EQ(found.not_told_by_them.size(), 10u);
  EXPECT_EQ(found.not_told_by_them.at(0), "model.rope.original");
}

TEST(Fingerprint, AcceptedAndUntoldNamesAreApart) {
  Fingerprint theirs, ours;
  theirs.set("a", "1"), theirs.set("b", "2"), theirs.set("c", "3"), theirs.set("old", "x");
  ours.set("new", "y"), ours.set("c", "4"), ours.set("b", "5"), ours.set("a", "1");
  const auto found = arch::differences(theirs, ours, {"b", "a", "nothing"});
  ASSERT_EQ(names_of(found.refused), Names{"c"});
  EXPECT_EQ(found.refused[0].theirs, "3");
  EXPECT_EQ(found.refused[0].ours, "4");
  EXPECT_EQ(names_of(found.accepted), Names{"b"});
  EXPECT_EQ(found.not_told_by_them, Names{"new"});
  EXPECT_EQ(found.not_told_by_us, Names{"old"});
}

TEST(Fingerprint, JsonAndBack) {
  const Fingerprint f = arch::fingerprint(all_on());
  const auto json = nlohmann::json::parse(f.to_json().dump());
  EXPECT_EQ(json.at("model.router.scale"), "2.5");
  EXPECT_EQ(json.at("router.mask"), "-inf");
  const Fingerprint back = Fingerprint::from_json(json, "here");
  EXPECT_EQ(back.entries.size(), f.entries.size());
  const auto found = arch::differences(back, f, {});
  EXPECT_TRUE(found.refused.empty() && found.not_told_by_them.empty());
  // Numbers as another writer may give them.
  const auto other = Fingerprint::from_json({{"model.rope.theta", 10000}, {"x", {1, 2}}}, "here");
  EXPECT_EQ(*other.find("model.rope.theta"), *f.find("model.rope.theta"));
  EXPECT_EQ(*other.find("x"), "[1,2]");
  for (const char *bad : {"[]", "null", "\"text\"", "3"}) try {
      Fingerprint::from_json(nlohmann::json::parse(bad), "here");
      FAIL() << bad;
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.number(), "E211");
      EXPECT_EQ(error.code(), base::Exit::checkpoint);
    }
}

TEST(Fingerprint, TablesAreAlignedAndSafe) {
  EXPECT_EQ(arch::table({{"router.mask", "0", "-inf"}, {"x", "softmax\n\x1b[31m", "y"}},
                        "checkpoint", "this run"),
            "name        | checkpoint          | this run\n"
            "router.mask | 0                   | -inf\n"
            "x           | softmax\\x0A\\x1B[31m | y");
  std::string wide; // two bytes a character: the cut at byte 60 falls between or inside
  for (int i = 0; i < 40; ++i) wide += "\xC3\xA4";
  const std::string cut = arch::table({{"n", wide, "a" + wide}}, "a", "b");
  EXPECT_NE(cut.find("\xC3\xA4..."), std::string::npos) << cut;
  EXPECT_EQ(cut.find("\xC3..."), std::string::npos) << cut;
  Fingerprint f;
  f.set("a", "1"), f.set("long", "2"), f.set("a", "3");
  EXPECT_EQ(arch::table(f), "a     3\nlong  2\n");
}

} // namespace
