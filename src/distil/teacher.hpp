// SPDX-License-Identifier: Apache-2.0
#pragma once
// Who answers. A teacher puts each answer into the journal as soon as it has it.
#include <functional>
#include <string>
#include <vector>

#include "distil/journal.hpp"
#include "distil/problems.hpp"

namespace distil {

struct Asked {
  const Question *question;
  std::int64_t sample;
};
using Progress = std::function<void(std::int64_t answered)>; // of any thread, one at a time

class Teacher {
public:
  virtual ~Teacher() = default;
  virtual std::string name() const = 0; // what of the teacher answers depend on
  virtual void answer(const std::vector<Asked> &asked, Journal &journal,
                      const Progress &progress) = 0;
};

} // namespace distil
