// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/parts.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace checkpoint {

using nlohmann::json;

namespace {

struct Given {
  const StoredPiece *piece;
  int writer;
};

std::string seal(const json &part) { return base::hash128(part.dump()).hex(); }

json json_of(const FileSum &sum) { return {{"bytes", sum.bytes}, {"xxh3_128", sum.xxh3_128}}; }
FileSum sum_from(const json &j) {
  return {j.at("bytes").get<std::uint64_t>(), j.at("xxh3_128").get<std::string>()};
}

json json_of(const StoredPiece &piece) {
  return {{"file", piece.file},
          {"first", piece.first},
          {"count", piece.count},
          {"offset", piece.offset},
          {"xxh3_128", piece.xxh3_128}};
}

void require_alike(const std::vector<Part> &parts) {
  for (const Part &part : parts)
    HADAL_CHECK(part.common == parts.front().common,
                "writers {} and {} of a checkpoint were given other tensors, values or hashes",
                parts.front().writer, part.writer);
}

// The pieces of one tensor in order: no hole, no overlap.
json cover(const std::string &name, const Item &item, std::vector<Given> given) {
  std::ranges::sort(given, {}, [](const Given &g) { return g.piece->first; });
  json pieces = json::array();
  std::uint64_t next = 0;
  int before = -1;
  for (const auto &[piece, writer] : given) {
    HADAL_CHECK(piece->first <= next, "{}: elements {} to {} are written by nobody", name, next,
                piece->first);
    HADAL_CHECK(piece->first == next, "{}: elements from {} are written by writers {} and {}", name,
                piece->first, before, writer);
    next += piece->count, before = writer;
    pieces.push_back(json_of(*piece));
  }
  HADAL_CHECK(next == item.tensor_size(), "{}: elements {} to {} are written by nobody", name, next,
              item.tensor_size());
  return pieces;
}

} // namespace

std::string part_file_of(int writer) { return fmt::format("part-{:05}.json", writer); }
std::string blocks_file_of(int writer) { return fmt::format("part-{:05}.blocks", writer); }

std::string common_of(const Snapshot &s, int writers) {
  json all = {s.step, s.attempt, writers, s.state_hash};
  for (const Section &section : s.whole) {
    json of_section = {section.name, section.scalars};
    for (const Item &item : section.items)
      of_section.push_back({item.name, item.shape, name_of(item.type)});
    all.push_back(std::move(of_section));
  }
  return base::hash128(all.dump(-1, ' ', false, json::error_handler_t::replace)).hex();
}

Part make_part(const Snapshot &s, const WriterOptions &options, const FileSum &state,
               const TensorOffsets &offsets, const Sums &sums) {
  Part part;
  part.writer = options.writer, part.state = state;
  part.common = common_of(s, options.writers);
  part.blocks = {sums.blocks.size(), base::hash128(sums.blocks).hex()};
  for (std::size_t i = 0; i < s.sections.size(); ++i)
    for (std::size_t k = 0; k < s.sections[i].items.size(); ++k) {
      const Item &item = s.sections[i].items[k];
      if (item.size() == 0) continue;
      part.tensors.push_back(
          {s.sections[i].name, item.name,
           StoredPiece{state_file_of(options.writer), static_cast<std::uint64_t>(item.first),
                       item.size(), offsets[i][k], sums.xxh3_128[i][k]}});
    }
  return part;
}

std::string text_of(const Part &part) {
  json j = {{"format", "hadal checkpoint part"},
            {"writer", part.writer},
            {"common", part.common},
            {"state", json_of(part.state)},
            {"blocks", json_of(part.blocks)},
            {"pieces", json::array()}};
  for (const Part::Tensor &t : part.tensors) {
    json piece = json_of(t.piece);
    piece["section"] = t.section, piece["tensor"] = t.name;
    j["pieces"].push_back(std::move(piece));
  }
  j["seal"] = seal(j);
  return j.dump(1, ' ') + "\n";
}

std::optional<Part> parse_part(const std::string &text) {
  json j = json::parse(text, nullptr, false);
  if (!j.is_object() || !j.contains("seal")) return std::nullopt;
  const json told = j["seal"];
  j.erase("seal");
  if (told != seal(j)) return std::nullopt;
  // Sealed: written by this program, of this version.
  Part part;
  j.at("writer").get_to(part.writer);
  j.at("common").get_to(part.common);
  part.state = sum_from(j.at("state")), part.blocks = sum_from(j.at("blocks"));
  for (const auto &p : j.at("pieces"))
    part.tensors.push_back(
        {p.at("section").get<std::string>(), p.at("tensor").get<std::string>(),
         StoredPiece{p.at("file").get<std::string>(), p.at("first").get<std::uint64_t>(),
                     p.at("count").get<std::uint64_t>(), p.at("offset").get<std::uint64_t>(),
                     p.at("xxh3_128").get<std::string>()}});
  return part;
}

json merge(const Snapshot &s, const std::vector<Part> &parts, const std::string &state_hash) {
  require_alike(parts);
  json m = manifest_head(s, 2, state_hash);
  std::map<std::pair<std::string, std::string>, std::vector<Given>> given;
  for (const Part &part : parts) {
    m["files"][state_file_of(part.writer)] = json_of(part.state);
    for (const Part::Tensor &t : part.tensors)
      given[{t.section, t.name}].push_back({&t.piece, part.writer});
  }
  m["sections"] = json::array();
  for (const Section &section : s.whole) {
    json tensors = json::array();
    for (const Item &item : section.items)
      tensors.push_back({{"name", item.name},
                         {"shape", item.shape},
                         {"type", name_of(item.type)},
                         {"pieces", cover(section.name + "/" + item.name, item,
                                          given[{section.name, item.name}])}});
    m["sections"].push_back(
        {{"name", section.name}, {"scalars", section.scalars}, {"tensors", std::move(tensors)}});
  }
  return m;
}

} // namespace checkpoint
