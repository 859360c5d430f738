// SPDX-License-Identifier: Apache-2.0
#include "arch/fingerprint.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"

namespace arch {
namespace {

// Names and values may come from a file: one line, no controls, not too long, no character cut.
std::string shown(const std::string &text) {
  constexpr std::size_t kMost = 60;
  std::size_t end = std::min(text.size(), kMost);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  std::string out;
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02X}", byte);
    else
      out += c;
  }
  return end < text.size() ? out + "..." : out;
}

std::string text_of(Index value) { return fmt::format("{}", value); }
std::string text_of(bool value) { return value ? "true" : "false"; }

// Texts that stand here as constants say what src/layers does, where no key says it. Who changes that arithmetic changes the
// text: then older checkpoints are not taken for what they are not.
void add_norms(Fingerprint &f, const Dims &d) {
  f.set("model.norm_eps", fingerprint_text(d.norm_eps));
  f.set("norm.latent_eps", "model.norm_eps");
  f.set("norm.places", "before attention, feed-forward and head; on latents");
}

void add_attention(Fingerprint &f, const Dims &d) {
  f.set("model.attention.heads", text_of(d.heads));
  f.set("model.attention.nope_dim", text_of(d.nope));
  f.set("model.attention.rope_dim", text_of(d.rope));
  f.set("model.attention.value_dim", text_of(d.value));
  f.set("attention.rows", "a head [nope; rope], [nope; value]");
  f.set("attention.scale", "(nope_dim + rope_dim)^-0.5");
  f.set("attention.mask", "causal");
}

void add_rope(Fingerprint &f, const Dims &d) {
  f.set("model.rope.theta", fingerprint_text(d.rope_theta));
  f.set("rope.pairs", "(2i, 2i + 1)");
  f.set("model.rope.factor", fingerprint_text(d.yarn.on() ? d.yarn.factor : 1.0));
  if (!d.yarn.on()) return;
  f.set("model.rope.original", text_of(d.yarn.original));
  f.set("model.rope.beta_fast", fingerprint_text(d.yarn.beta_fast));
  f.set("model.rope.beta_slow", fingerprint_text(d.yarn.beta_slow));
  f.set("model.rope.mscale", fingerprint_text(d.yarn.mscale));
  f.set("model.rope.mscale_all_dim", fingerprint_text(d.yarn.mscale_all_dim));
  f.set("rope.yarn", "at every length");
}

void add_router(Fingerprint &f, const Dims &d) {
  f.set("model.router.score", d.score == Score::sigmoid ? "sigmoid" : "softmax");
  f.set("model.router.bias", text_of(d.router_bias));
  f.set("model.router.chosen", text_of(d.chosen));
  f.set("model.router.normalise", text_of(d.normalise));
  f.set("model.router.scale", fingerprint_text(d.route_scale));
  f.set("router.weights", "scores without bias");
  f.set("router.normalise_eps", "1e-20");
  f.set("router.ties", "lower expert first");
  f.set("model.router.groups", text_of(d.groups));
  if (d.groups <= 1) return;
  f.set("model.router.chosen_groups", text_of(d.chosen_groups));
  f.set("model.router.group_score", d.group_score == GroupScore::top2_sum ? "top2_sum" : "maximum");
  f.set("router.mask", "-inf");
}

void add_mtp(Fingerprint &f, const Dims &d) {
  f.set("mtp.depth", text_of(d.mtp_depth));
  if (d.mtp_depth == 0) return;
  f.set("mtp.hidden", d.mtp_hidden == MtpHidden::post_norm ? "post_norm" : "pre_norm");
  f.set("mtp.projection", "[embedding ; state]");
  f.set("mtp.norms", "embedding, state, before the head");
  f.set("mtp.positions", "not shifted");
}

} // namespace

void Fingerprint::set(const std::string &name, const std::string &value) {
  for (auto &[known, old] : entries)
    if (known == name) {
      old = value;
      return;
    }
  entries.emplace_back(name, value);
}

const std::string *Fingerprint::find(const std::string &name) const {
  for (const auto &[known, value] : entries)
    if (known == name) return &value;
  return nullptr;
}

nlohmann::json Fingerprint::to_json() const {
  nlohmann::json json = nlohmann::json::object();
  for (const auto &[name, value] : entries) json[name] = value;
  return json;
}

Fingerprint Fingerprint::from_json(const nlohmann::json &json, const std::string &where) {
  if (!json.is_object())
    throw base::UserError(base::Exit::checkpoint, "E211", where, "the fingerprint is no object",
                          "The checkpoint was not written by this program, or was edited.");
  Fingerprint f; // an object has each name once
  for (const auto &[name, value] : json.items())
    f.entries.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  return f;
}

std::string fingerprint_text(double value) { return fmt::format("{}", value); }

Fingerprint fingerprint(const Dims &dims) {
  Fingerprint f;
  add_norms(f, dims);
  f.set("ffn.gate", "silu");
  add_attention(f, dims);
  add_rope(f, dims);
  if (dims.moe() || dims.mtp_depth > 0) add_router(f, dims);
  add_mtp(f, dims);
  return f;
}

std::vector<std::string> fingerprint_names() {
  Dims all; // everything switched on
  all.yarn.factor = 2, all.groups = 2, all.mtp_depth = 1;
  std::vector<std::string> names;
  for (const auto &entry : fingerprint(all).entries) names.push_back(entry.first);
  return names;
}

Differences differences(const Fingerprint &theirs, const Fingerprint &ours,
                        const std::vector<std::string> &accepted) {
  const std::set<std::string> allowed(accepted.begin(), accepted.end());
  Differences all;
  for (const auto &[name, value] : ours.entries) {
    const std::string *other = theirs.find(name);
    if (other == nullptr)
      all.not_told_by_them.push_back(name);
    else if (*other != value)
      (allowed.contains(name) ? all.accepted : all.refused).push_back({name, *other, value});
  }
  for (const auto &entry : theirs.entries)
    if (ours.find(entry.first) == nullptr) all.not_told_by_us.push_back(entry.first);
  return all;
}

std::string table(const std::vector<Difference> &list, const std::string &their_title,
                  const std::string &our_title) {
  std::size_t first = 4, second = their_title.size();
  for (const Difference &d : list)
    first = std::max(first, shown(d.name).size()),
    second = std::max(second, shown(d.theirs).size());
  std::string text =
      fmt::format("{:<{}} | {:<{}} | {}", "name", first, their_title, second, our_title);
  for (const Difference &d : list)
    text += fmt::format("\n{:<{}} | {:<{}} | {}", shown(d.name), first, shown(d.theirs), second,
                        shown(d.ours));
  return text;
}

std::string table(const Fingerprint &fingerprint) {
  std::size_t width = 0;
  for (const auto &[name, value] : fingerprint.entries) width = std::max(width, shown(name).size());
  std::string text;
  for (const auto &[name, value] : fingerprint.entries)
    text += fmt::format("{:<{}}  {}\n", shown(name), width, shown(value));
  return text;
}

} // namespace arch
