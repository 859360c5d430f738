// SPDX-License-Identifier: Apache-2.0
#include "data/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <fmt/format.h>

#include "base/error.hpp"

namespace data {

namespace {

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char *>(buffer);
}

// What a thread needs for matching: one result, one stack for compiled patterns.
struct Workspace {
  pcre2_match_data *data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context *context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack *stack = pcre2_jit_stack_create(32 * 1024, 64 * 1024 * 1024, nullptr);
  Workspace() {
    HADAL_CHECK(data && context && stack, "out of memory");
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Workspace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;
};

} // namespace

struct Regex::Code {
  pcre2_code *code = nullptr;
  Code() = default;
  ~Code() { pcre2_code_free(code); }
  Code(const Code &) = delete;
  Code &operator=(const Code &) = delete;
};

Regex Regex::compile(std::string_view pattern, bool literal) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const std::uint32_t options =
      literal ? PCRE2_UTF | PCRE2_LITERAL
              : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_compile_context *context = pcre2_compile_context_create(nullptr);
  HADAL_CHECK(context, "out of memory");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF); // as Oniguruma: only LF ends a line for ^, $ and .
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options,
                             &error, &at, context);
  pcre2_compile_context_free(context);
  if (!code->code) throw PatternError(fmt::format("{} (at character {})", message_of(error), at));
  std::uint32_t empty = 0;
  pcre2_pattern_info(code->code, PCRE2_INFO_MATCHEMPTY, &empty);
  if (empty) throw PatternError("it can match an empty text");
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE); // without it matching is slower, not different
  return Regex(std::move(code));
}

bool Regex::find(std::string_view subject, std::size_t from, Match &match) const {
  static thread_local Workspace work;
  const auto *text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  int found = pcre2_match(code_->code, text, subject.size(), from, PCRE2_NO_UTF_CHECK, work.data,
                          work.context);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) { // the interpreter keeps its frames on the heap
    found = pcre2_match(code_->code, text, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        work.data, work.context);
  }
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) throw PatternError(message_of(found));
  const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(work.data);
  match = {ends[0], ends[1]};
  return true;
}

} // namespace data
