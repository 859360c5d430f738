// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/together.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include <fmt/format.h>

#include "base/files.hpp"
#include "checkpoint/block_hashes.hpp"
#include "checkpoint/meeting.hpp"
#include "checkpoint/placing.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

// (1) This writer's file, (2) its checksums, (3) its part, each on the disk before the next.
FileSum write_part(Meeting &meeting, const WriterOptions &o, const Snapshot &s) {
  const Pulse pulse = [&] { meeting.heed(); };
  const fs::path file = meeting.state_file();
  const TensorOffsets offsets = write_hdf5_pieces(file, s.sections, pulse);
  const Sums sums = fill_and_sum(file, s.sections, offsets, s.state_hash.empty(), pulse);
  sync(file);
  const FileSum sum = sum_of(file);
  const auto write = [&](const std::string &name, const std::string &text) {
    base::write_file_atomic(meeting.partial() / name, text, Exit::checkpoint, "E201");
  };
  if (s.state_hash.empty()) write(blocks_file_of(o.writer), sums.blocks);
  sync(meeting.partial());
  write(part_file_of(o.writer), text_of(make_part(s, o, sum, offsets, sums)));
  return sum;
}

std::string hash_of(const fs::path &partial, const Snapshot &s, const std::vector<Part> &parts) {
  if (!s.state_hash.empty()) return s.state_hash;
  std::vector<std::string> lists;
  for (const Part &part : parts) {
    const fs::path path = partial / blocks_file_of(part.writer);
    lists.push_back(base::read_file(path, Exit::checkpoint, "E201"));
    if (base::hash128(lists.back()).hex() != part.blocks.xxh3_128)
      cannot_write(path, "was read back with other bytes than were written");
  }
  return fold(s.whole, lists);
}

// Writer 0: all parts, one manifest, the seal, the name.
void bring_together(Meeting &meeting, const WriterOptions &o, const Snapshot &s) {
  const std::vector<Part> parts = meeting.gather();
  const fs::path &partial = meeting.partial();
  const nlohmann::json manifest = merge(s, parts, hash_of(partial, s, parts));
  write_texts(partial, s);
  base::write_file_atomic(partial / kAttemptFile, s.attempt + "\n", Exit::checkpoint, "E201");
  write_sealed(partial, manifest);
  for (const Part &part : parts)
    fs::remove(partial / part_file_of(part.writer)),
        fs::remove(partial / blocks_file_of(part.writer));
  move_into_place(partial, meeting.place());
  sync(o.directory);
  fs::remove_all(partial); // of a checkpoint of this step that was replaced
  set_aside_later(o.directory, s.step);
}

std::uint64_t attend(Meeting &meeting, const WriterOptions &o, const Snapshot &s) {
  try {
    meeting.join();
    require_space(o.directory, s);
    const FileSum sum = write_part(meeting, o, s);
    if (o.writer == 0)
      bring_together(meeting, o, s);
    else
      meeting.await_outcome();
    return sum.bytes;
  } catch (const Hdf5Failure &error) {
    meeting.explain();
    cannot_write(meeting.state_file(), error.what());
  } catch (const fs::filesystem_error &error) {
    meeting.explain();
    cannot_write(error.path1(), error.code().message());
  } catch (const UserError &) {
    meeting.explain();
    throw;
  }
}

bool usable(const std::string &attempt) {
  return !attempt.empty() && attempt.size() <= 64 && std::ranges::all_of(attempt, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_';
  });
}

} // namespace

std::string new_attempt() {
  std::random_device random;
  const auto word = [&random] { return static_cast<std::uint32_t>(random()); };
  return fmt::format("{:08x}{:08x}", word(), word());
}

bool in_parts(const WriterOptions &o, const Snapshot &s) {
  return o.writers > 1 || std::ranges::any_of(s.sections, [](const Section &section) {
           return std::ranges::any_of(section.items, [](const Item &i) { return !i.whole(); });
         });
}

std::vector<Section> joined(const Snapshot &s) {
  std::map<std::string, const Item *> given;
  for (const Section &section : s.sections)
    for (const Item &item : section.items) given[section.name + "/" + item.name] = &item;
  std::vector<Section> all = s.whole;
  for (Section &section : all)
    for (Item &item : section.items) {
      const auto found = given.find(section.name + "/" + item.name);
      if (found == given.end()) continue; // without data: found by the checks
      item = *found->second;
      given.erase(found);
    }
  HADAL_CHECK(given.empty(), "{} is no tensor of the whole", given.begin()->first);
  return all;
}

void check_parts(const WriterOptions &o, const Snapshot &s) {
  HADAL_CHECK(o.writer >= 0 && o.writer < o.writers, "writer {} of {}", o.writer, o.writers);
  HADAL_CHECK(usable(s.attempt), "attempt {}", s.attempt);
  std::map<std::string, const Item *> whole;
  for (const Section &section : s.whole)
    for (const Item &item : section.items)
      HADAL_CHECK(item.whole() && whole.emplace(section.name + "/" + item.name, &item).second,
                  "{}/{} in the whole: a piece, or twice", section.name, item.name);
  for (const Section &section : s.sections) {
    std::set<std::pair<std::string, std::int64_t>> begins;
    for (const Item &item : section.items) {
      const std::string name = section.name + "/" + item.name;
      const auto found = whole.find(name);
      HADAL_CHECK(found != whole.end(), "{} is no tensor of the whole", name);
      HADAL_CHECK(found->second->shape == item.shape && found->second->type == item.type,
                  "{} has another shape or type in the whole", name);
      const auto size = static_cast<std::int64_t>(item.tensor_size());
      HADAL_CHECK(item.first >= 0 && item.first <= size && item.count >= -1 &&
                      item.count <= size - item.first,
                  "{}: elements {} + {} of {}", name, item.first, item.count, size);
      HADAL_CHECK(begins.insert({item.name, item.first}).second,
                  "{}: two pieces begin at element {}", name, item.first);
    }
  }
}

std::uint64_t publish_part(const WriterOptions &options, const Snapshot &snapshot) {
  Meeting meeting(options, snapshot);
  try {
    return attend(meeting, options, snapshot);
  } catch (const UserError &error) {
    meeting.leave(error.number(), error.what());
    throw;
  } catch (const std::exception &error) {
    meeting.leave("E201", error.what());
    throw;
  }
}

} // namespace checkpoint
