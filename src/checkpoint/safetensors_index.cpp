// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: {"metadata": {"total_size": N, ...}, "weight_map": {tensor: file, ...}}. Other members are passed
// over, but they must be sound JSON without repeated keys.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "checkpoint/json_events.hpp"
#include "checkpoint/safetensors.hpp"

namespace checkpoint::safetensors {
namespace {

constexpr const char *kAdvice =
    "The index is damaged or not one of safetensors files. Fetch it again; nothing was written.";
constexpr std::size_t kMostDepth = 64, kMostName = 1024, kMostFileName = 255;

bool has_controls(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

class IndexEvents final : public JsonEvents {
public:
  explicit IndexEvents(const std::string &where) : JsonEvents(where, "E142", kAdvice) {}
  Index index;
  bool map_seen = false;

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("true or false"); }
  bool number_integer(number_integer_t value) override {
    return other(fmt::format("the number {}", value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!at_total()) return other(fmt::format("the number {}", value));
    index.total_size = value;
    return true;
  }
  bool number_float(number_float_t value, const string_t &text) override {
    if (!at_total()) return other("the number " + shown(text, 24));
    // Some writers divide, and so write 1024.0.
    if (!(value >= 0 && value <= 9007199254740992.0) ||
        value != static_cast<double>(static_cast<std::uint64_t>(value)))
      refuse("the number " + shown(text, 24));
    index.total_size = static_cast<std::uint64_t>(value);
    return true;
  }
  bool string(string_t &text) override {
    if (!in_map()) return other("the text " + shown(text));
    check_file(text);
    index.files.back().second = std::move(text);
    return true;
  }
  bool start_object(std::size_t) override {
    open("an object", true);
    if (depth_.size() == 2 && top_ == "weight_map") map_seen = true;
    return true;
  }
  bool start_array(std::size_t) override { return open("an array", false); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t &name) override {
    if (in_map()) { // looked through for repeated names at the end: there may be very many
      if (name.empty() || name.size() > kMostName || has_controls(name))
        fail(fmt::format("weight_map: {} cannot be the name of a tensor", shown(name)));
      index.files.emplace_back(std::move(name), "");
      return true;
    }
    if (!depth_.back().insert(name).second) fail(fmt::format("{} stands twice", shown(name)));
    if (depth_.size() == 1) top_ = name;
    key_ = std::move(name);
    return true;
  }

private:
  bool in_map() const { return depth_.size() == 2 && top_ == "weight_map"; }
  bool at_total() const { return depth_.size() == 2 && top_ == "metadata" && key_ == "total_size"; }

  // A value that is of no interest, unless it stands where one is.
  bool other(const std::string &what) {
    const bool part = depth_.size() == 1 && (top_ == "weight_map" || top_ == "metadata");
    if (depth_.empty() || part || in_map() || at_total()) refuse(what);
    return true;
  }
  bool open(const char *what, bool object) {
    if (depth_.empty() ? !object : in_map() || at_total()) refuse(what);
    if (depth_.size() == 1 && !object && (top_ == "weight_map" || top_ == "metadata")) refuse(what);
    if (depth_.size() == kMostDepth) fail(fmt::format("nested more than {} deep", kMostDepth));
    depth_.emplace_back();
    return true;
  }
  bool close() {
    depth_.pop_back();
    return true;
  }

  void check_file(const std::string &file) const {
    const std::string &tensor = index.files.back().first;
    const char *fault = nullptr;
    if (file.empty())
      fault = "an empty name";
    else if (file == "." || file == "..")
      fault = "a folder";
    else if (file.find_first_of("/\\") != std::string::npos)
      fault = "a path; files lie beside the index";
    else if (has_controls(file))
      fault = "a name with control characters";
    else if (file.size() > kMostFileName)
      fault = "a name too long for a file";
    if (fault)
      fail(fmt::format("weight_map: the file of tensor {} is {}: {}", shown(tensor), shown(file),
                       fault));
  }

  std::string refusal(const std::string &what) const override {
    if (depth_.empty()) return fmt::format("the index is {}; an object is needed", what);
    if (in_map())
      return fmt::format("weight_map: the file of tensor {} is {}; a text is needed",
                         shown(index.files.back().first), what);
    if (at_total())
      return fmt::format("metadata.total_size is {}; a whole number of bytes is needed", what);
    return fmt::format("{} is {}; an object is needed", top_, what);
  }

  std::vector<std::set<std::string>> depth_; // keys of every open object (none for arrays)
  std::string top_, key_;
};

} // namespace

Index parse_index(std::string_view text, const std::string &where) {
  IndexEvents events(where);
  events.read(text);
  Index &index = events.index;
  if (!events.map_seen) events.fail("weight_map is missing");
  if (index.files.empty()) events.fail("weight_map is empty");
  std::vector<std::string_view> names;
  names.reserve(index.files.size());
  for (const auto &[tensor, file] : index.files) names.emplace_back(tensor);
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
    events.fail(fmt::format("weight_map: tensor {} stands twice", shown(*twice)));
  return std::move(index);
}

std::string make_index(const Index &index) {
  nlohmann::ordered_json out;
  out["metadata"]["total_size"] = index.total_size;
  nlohmann::ordered_json &map = out["weight_map"] = nlohmann::ordered_json::object();
  // ordered_json finds keys by looking at all of them; names are unique here, so they are put in directly.
  auto &members = map.get_ref<nlohmann::ordered_json::object_t &>();
  for (const auto &[tensor, file] : index.files) members.push_back({tensor, file});
  return out.dump(2) + "\n";
}

} // namespace checkpoint::safetensors
