// SPDX-License-Identifier: Apache-2.0
#include "deck/reference.hpp"
#include "options.hpp"

namespace {

TEST(Reference, HasARowForEveryKey) {
  const std::string page =
      deck::reference({{"batch", deck::declare<deck_test::BatchOptions>("batch")},
                       {"data.source", deck::declare<deck_test::SourceOptions>("data.source")},
                       {"odd", {{"odd", "k", "text", "\"a|b\"", "", "", "one | other"}}}},
                      {"data.source"});
  for (const char *part : {"\n## [batch]\n", "\n## [[data.source]]\n",
                           "| `sequence` | `4096` | whole number, 16 to 1,048,576 | tokens | "
                           "tokens in one packed sequence |\n",
                           "| `path` | required | text |  | folder of text |\n",
                           "| `k` | `\"a\\|b\"` | text |  | one \\| other |\n"})
    EXPECT_NE(page.find(part), std::string::npos) << part << "in\n" << page;
  for (const char *key : {"micro_batch", "seed", "rate", "betas", "weight"})
    EXPECT_NE(page.find("| `" + std::string(key) + "` |"), std::string::npos) << key;
}

} // namespace
