// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a model means beyond the shapes of its tensors, as a list of names and values (docs/fingerprint.md). Two models with the
// same tensors and different fingerprints compute different numbers. A name is the deck key that sets it, where there is one;
// what the program has no key for has a name of its own ("router.mask"). What has no effect is left out: YaRN's keys at
// factor 1, the groups' at one group, the router's without experts. Then the key that switches it off says so.
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "arch/dims.hpp"

namespace arch {

struct Fingerprint {
  std::vector<std::pair<std::string, std::string>> entries; // name, value; in the order of display

  void set(const std::string &name, const std::string &value); // at the end, or in place of the old
  const std::string *find(const std::string &name) const;
  // An object of texts, as info["fingerprint"] of a checkpoint.
  nlohmann::json to_json() const;
  // Values that are no texts are taken as JSON writes them. E211 when it is no object; where: for the message.
  static Fingerprint from_json(const nlohmann::json &json, const std::string &where);
};

// A number as the values write it: the shortest text that reads back as the same number.
std::string fingerprint_text(double value);

// The part that belongs to the model.
Fingerprint fingerprint(const Dims &dims);
// Every name that fingerprint() may give, whatever the dims.
std::vector<std::string> fingerprint_names();

struct Difference {
  std::string name, theirs, ours;
};
struct Differences {
  std::vector<Difference> refused, accepted;                 // values differ
  std::vector<std::string> not_told_by_them, not_told_by_us; // names that one side alone has
};
// accepted: names whose values may differ.
Differences differences(const Fingerprint &theirs, const Fingerprint &ours,
                        const std::vector<std::string> &accepted);

// Aligned columns "name | <their_title> | <our_title>", a line each, without a line break at the end.
std::string table(const std::vector<Difference> &list, const std::string &their_title,
                  const std::string &our_title);
// Two aligned columns, a line each, each line with its break.
std::string table(const Fingerprint &fingerprint);

} // namespace arch
