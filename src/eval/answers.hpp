// SPDX-License-Identifier: Apache-2.0
#pragma once
// Judging texts: finding the answer in what a model said, and comparing it with the right ones.
#include <string>
#include <string_view>
#include <vector>

#include "data/json.hpp"
#include "eval/task.hpp"
#include "reward/extract.hpp"

namespace eval {

// The answer in a text, "" where there is none. letters: what extract = letter may find.
std::string extract(const FilterTable &filter, std::string_view text,
                    const std::vector<std::string> &letters);
using reward::last_number, reward::code_block;
// A choice named in the text: "answer is (B)", "Answer: B", "(B)", "B.", "B" alone; the last phrase with "answer" wins, else the first
// letter that stands alone at the beginning, else "".
std::string choice_letter(std::string_view text, const std::vector<std::string> &letters);

// Lower case, no punctuation, no a/an/the, single blanks (as SQuAD and TriviaQA are scored).
std::string normalised(std::string_view text);
// F1 of the bags of words of normalised texts; both empty: 1.
double word_f1(std::string_view said, std::string_view gold);

// DROP: numbers by value, words normalised; gold is an answer object {number, date, spans} of its files.
struct DropScore {
  double exact = 0, f1 = 0;
};
DropScore drop_score(std::string_view said, const data::Json &answer);
// The spans of such an object: the number, the date in words, or the spans. Empty: none of them.
std::vector<std::string> drop_spans(const data::Json &answer);

} // namespace eval
