// SPDX-License-Identifier: Apache-2.0
#include "eval/instructions.hpp"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "eval/instruction_checks.hpp"
#include "eval/template.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json;

namespace {

const Check *find(const std::string &id) {
  for (const Check &check : checks())
    if (id == check.id) return &check;
  return nullptr;
}

[[noreturn]] void fail(const Record &record, const std::string &read, const std::string &advice) {
  throw UserError(Exit::data, "E311", record.place, read, advice);
}

void require(const Record &record, const Check &check, const Json &arguments) {
  const auto need = [&](const char *name, bool right, const char *what) {
    if (!right)
      fail(record, check.id, fmt::format("Its argument {} in kwargs is to be {}.", name, what));
  };
  for (const char *name : check.numbers) {
    const Json *value = arguments.find(name);
    const auto *real = value == nullptr ? nullptr : value->as<double>();
    need(name,
         value != nullptr && (value->as<std::int64_t>() != nullptr ||
                              (real != nullptr && *real >= 0 && *real < 1e9)),
         "a number");
  }
  for (const char *name : check.texts) {
    const Json *value = arguments.find(name);
    need(name, value != nullptr && value->as<std::string>() != nullptr, "a text");
  }
  for (const char *name : check.lists) {
    const Json *value = arguments.find(name);
    need(name, value != nullptr && value->as<Json::Array>() != nullptr, "an array");
  }
}

} // namespace

std::vector<std::string> known_instructions() {
  std::vector<std::string> ids;
  for (const Check &check : checks()) ids.emplace_back(check.id);
  return ids;
}

std::vector<Instruction> read_instructions(const Record &record) {
  const Json *ids = record.row.find("instruction_id_list"), *kwargs = record.row.find("kwargs");
  const auto *names = ids == nullptr ? nullptr : ids->as<Json::Array>();
  const auto *arguments = kwargs == nullptr ? nullptr : kwargs->as<Json::Array>();
  if (names == nullptr || arguments == nullptr || names->size() != arguments->size() ||
      names->empty())
    fail(record, "instruction_id_list, kwargs", "Both are to be arrays of the same length.");
  std::vector<Instruction> all;
  for (std::size_t i = 0; i < names->size(); ++i) {
    const auto *id = (*names)[i].as<std::string>();
    if (id == nullptr || (*arguments)[i].as<Json::Object>() == nullptr)
      fail(record, "instruction_id_list, kwargs", "Texts and objects are wanted.");
    const Check *check = find(*id);
    if (check == nullptr) {
      const std::string near = base::text::nearest(*id, known_instructions());
      fail(record, *id,
           fmt::format("This check is not known{} There are: {}.",
                       near.empty() ? "." : fmt::format("; is {} meant?", near),
                       fmt::join(known_instructions(), ", ")));
    }
    require(record, *check, (*arguments)[i]);
    all.push_back({*id, (*arguments)[i]});
  }
  return all;
}

bool follows(const Instruction &instruction, std::string_view answer) {
  const std::string text = trimmed(answer);
  const Check *check = find(instruction.id);
  HADAL_CHECK(check != nullptr, "instruction {}", instruction.id);
  return !text.empty() && check->holds(text, instruction.arguments);
}

bool follows_loosely(const Instruction &instruction, std::string_view answer) {
  std::vector<std::string> lines = split(answer, "\n");
  const auto joined = [&](std::size_t first, std::size_t last) {
    std::string out;
    for (std::size_t i = first; i < last; ++i) out += (i > first ? "\n" : "") + lines[i];
    return out;
  };
  const std::size_t n = lines.size();
  std::array<std::string, 4> variants = {std::string(answer), joined(1, n), joined(0, n - 1),
                                         n > 2 ? joined(1, n - 1) : std::string()};
  for (std::string &variant : variants) {
    if (follows(instruction, variant)) return true;
    std::erase(variant, '*');
    if (follows(instruction, variant)) return true;
  }
  return false;
}

} // namespace eval
