// SPDX-License-Identifier: Apache-2.0
#include "distil/options.hpp"

#include <algorithm>
#include <filesystem>

namespace distil {

Options read_options(deck::Deck &deck) {
  Options o;
  deck.read_table("distil", o);
  o.sources = deck.read_list<SourceOptions>("distil.source");
  const auto refuse = [&](const char *key, const char *why) {
    deck.fail("distil", key, "E370", why);
  };
  if (o.checkpoint.empty() == o.url.empty())
    refuse("checkpoint", "Who is asked? Give one of distil.checkpoint and distil.url.");
  if (!o.url.empty() && o.model.empty()) refuse("model", "A url wants the name of its model.");
  if (o.sources.empty()) refuse("", "no problems: give a [[distil.source]] with name and paths");
  for (const SourceOptions &source : o.sources)
    if (std::count_if(o.sources.begin(), o.sources.end(),
                      [&](const SourceOptions &other) { return other.name == source.name; }) > 1)
      refuse("", "two [[distil.source]] have the same name");
  if (o.forms.empty()) o.forms = {"plain"};
  for (const std::string &form : o.forms) {
    if (form != "plain" && form != "system") refuse("forms", "forms are \"plain\" and \"system\"");
    if (std::count(o.forms.begin(), o.forms.end(), form) > 1)
      refuse("forms", "a form stands here twice");
    if (form == "system" && o.system.empty()) refuse("system", "the form \"system\" wants a text");
  }
  if (o.keep > o.samples) refuse("keep", "at most as many as distil.samples");
  if (!o.chat.empty() && o.chat != "original" && o.chat != "corrected")
    refuse("chat", "\"original\" or \"corrected\"");
  if (o.directory.empty())
    o.directory =
        (std::filesystem::path("checkpoints") / std::filesystem::path(deck.path()).stem()).string();
  if (o.output.empty()) o.output = (std::filesystem::path(o.directory) / "sft.jsonl").string();
  return o;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {{"distil", deck::declare<Options>("distil")},
          {"distil.source", deck::declare<SourceOptions>("distil.source")}};
}

} // namespace distil
