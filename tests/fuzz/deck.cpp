// SPDX-License-Identifier: Apache-2.0
// Decks: the model's tables are read; behind a line of only "---" stand overrides, one a line. The resolved deck of one that was
// read must read the same.
#include "deck/deck.hpp"

#include "arch/options.hpp"

#include "tests/fuzz/target.hpp"

namespace {

struct Listed {
  std::string name;
  std::vector<std::string> paths;
  double weight = 1;
  template <class R> void keys(R &r) {
    r.key(name, "name", "", "");
    r.key(paths, "paths", "");
    r.key(weight, "weight", 1.0, 0.0, 1e9, "", "");
  }
};

std::string resolve(std::string_view text, const std::vector<std::string> &overrides) {
  auto deck = deck::Deck::parse(text, "fuzz.toml", overrides);
  (void)deck.read_list<Listed>("data.source");
  (void)arch::read_dims(deck);
  deck.finish();
  (void)deck.echo();
  (void)deck.explain();
  return deck.resolved_toml();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  std::string_view text = fuzz::text_of(data, size);
  std::vector<std::string> overrides;
  if (const auto at = text.find("\n---\n"); at != std::string_view::npos) {
    std::string_view rest = text.substr(at + 5);
    while (!rest.empty()) {
      const auto end = rest.find('\n');
      overrides.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    text = text.substr(0, at + 1);
  }
  return fuzz::only_user_errors([&] {
    const std::string resolved = resolve(text, overrides);
    try {
      fuzz::require(resolve(resolved, {}) == resolved, "resolved decks resolve to themselves");
    } catch (const base::UserError &error) {
      fuzz::require(false, error.what());
    }
  });
}
