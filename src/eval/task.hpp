// SPDX-License-Identifier: Apache-2.0
#pragma once
// A task is data: a TOML file that says where the rows lie, how a prompt is made of a row, and how the answer is judged
// (docs/tasks.md). New tasks need no C++.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "deck/deck.hpp"
#include "eval/template.hpp"

namespace eval {

enum class Kind {
  choice,   // log-likelihoods of the choices
  generate, // a text is generated and judged
  text,     // bits per byte of documents
  synthetic // prompts made up here: needles, variables, words
};
enum class Layout { csv, jsonl, json, text };
enum class AnswerIs { letter, index, index1, label, text };
enum class Pick { first, random };
enum class Extract { none, first_line, number, letter, boxed, regex, code };
enum class Compare { exact, normalised, math, drop, contains, instructions, program };
enum class Puzzle { needle, variables, words };

struct TaskTable {
  std::string name, about;
  std::int64_t version = 1, shots = 0;
  Kind kind = Kind::choice;
  template <class R> void keys(R &r) {
    r.required(name, "name", "name in tables and file names: letters, digits, - and _");
    r.key(about, "about", "", "one line: what it asks, where its files come from");
    r.key(version, "version", 1, 0, 1 << 20, "", "raised whenever results change");
    r.key(shots, "shots", 0, 0, 1 << 10, "examples", "examples before the question");
    r.template choice<Kind>(kind, "kind", Kind::choice,
                            {{"choice", Kind::choice},
                             {"generate", Kind::generate},
                             {"text", Kind::text},
                             {"synthetic", Kind::synthetic}},
                            "choice: log-likelihoods of given answers; generate: a text that is "
                            "judged; text: bits per byte; synthetic: made-up prompts");
  }
};
struct DataTable {
  Layout reader = Layout::jsonl;
  std::string folder, labels, rows, group, shot_group;
  std::vector<std::string> files, shots, columns;
  bool header = true;
  template <class R> void keys(R &r) {
    r.template choice<Layout>(reader, "reader", Layout::jsonl,
                              {{"csv", Layout::csv},
                               {"jsonl", Layout::jsonl},
                               {"json", Layout::json},
                               {"text", Layout::text}},
                              "layout of the files");
    r.key(folder, "folder", "", "below evaluate.data; empty: the task's name");
    r.key(files, "files", "files of the questions, below the folder; globs are allowed");
    r.key(shots, "shots", "files of the examples; empty: the questions' own");
    r.key(labels, "labels", "", "file with one answer a line, which becomes the field label");
    r.key(header, "header", true, "csv: the first row names the columns");
    r.key(columns, "columns", "csv: names of the columns; with a header: which must be there");
    r.key(rows, "rows", "", "json: where the rows lie, such as Data.* or *.qa_pairs.*");
    r.key(group, "group", "", "template: what the results are also listed by");
    r.key(shot_group, "shot_group", "",
          "template, of the examples: equal to the question's group; empty: as group");
  }
};
struct ChoicesTable {
  std::vector<std::string> texts;
  std::string list, text, label, labels;
  bool shuffle = false;
  template <class R> void keys(R &r) {
    r.key(texts, "texts",
          "templates of the choices, one each; those that come out empty are left out");
    r.key(list, "list", "", "in place of texts: the field that holds an array of them");
    r.key(text, "text", "", "of list: the member with the text; empty: the element itself");
    r.key(label, "label", "", "of list: the member with the label; empty: A, B, C ...");
    r.key(labels, "labels", "", "the field that holds an array of labels");
    r.key(shuffle, "shuffle", false, "the order is drawn by evaluate.seed and the row");
  }
};
struct AnswerTable {
  std::string value, list;
  AnswerIs is = AnswerIs::text;
  template <class R> void keys(R &r) {
    r.key(value, "value", "", "template of the right answer");
    r.key(list, "list", "", "field with an array of right answers, any of which counts");
    r.template choice<AnswerIs>(is, "is", AnswerIs::text,
                                {{"letter", AnswerIs::letter},
                                 {"index", AnswerIs::index},
                                 {"index1", AnswerIs::index1},
                                 {"label", AnswerIs::label},
                                 {"text", AnswerIs::text}},
                                "what the value is: a letter, a number from 0 or from 1, the label "
                                "or the text of a choice; without choices: a text");
  }
};
struct PromptTable {
  std::string description, context, continuation, choice_line, separator;
  Pick pick = Pick::first;
  template <class R> void keys(R &r) {
    r.key(description, "description", "", "template of what stands before the first example");
    r.key(context, "context", "", "template of the question; {{choice}} makes one for each choice");
    r.key(continuation, "continuation", "",
          "template of the answer behind it, in examples too; empty: a space and the answer");
    r.key(choice_line, "choice_line", "{{letter}}. {{choice}}\n",
          "template of one line of {{choices}}");
    r.key(separator, "separator", "\n\n", "what stands between examples");
    r.template choice<Pick>(pick, "pick", Pick::first,
                            {{"first", Pick::first}, {"random", Pick::random}},
                            "which examples: the first of their file, or drawn by evaluate.seed "
                            "and the row");
  }
};
struct GenerateTable {
  std::int64_t max_tokens = 256, samples = 1;
  double temperature = 0, top_p = 1;
  std::vector<std::string> stop;
  template <class R> void keys(R &r) {
    r.key(max_tokens, "max_tokens", 256, 1, 1 << 20, "tokens", "generated at most");
    r.key(samples, "samples", 1, 1, 1 << 16, "", "answers drawn to each question");
    r.key(temperature, "temperature", 0.0, 0.0, 100.0, "", "0: the most probable token always");
    r.key(top_p, "top_p", 1.0, 1e-9, 1.0, "", "the fewest tokens that add up to this");
    r.key(stop, "stop", "texts that end an answer");
  }
};
struct ScoreTable {
  Compare compare = Compare::exact;
  bool ignore_case = false;
  std::vector<double> k;
  std::vector<std::string> metrics;
  std::string program, stdin_cases;
  template <class R> void keys(R &r) {
    r.template choice<Compare>(
        compare, "compare", Compare::exact,
        {{"exact", Compare::exact},
         {"normalised", Compare::normalised},
         {"math", Compare::math},
         {"drop", Compare::drop},
         {"contains", Compare::contains},
         {"instructions", Compare::instructions},
         {"program", Compare::program}},
        "exact: the same text; normalised: without case, punctuation and articles, exact match and "
        "F1 of words; math: the same value or formula; drop: as DROP is scored; contains: share of "
        "the answers that stand in the text; instructions: checks of form; program: tests pass");
    r.key(metrics, "metrics", "which metrics are reported; empty: all that there are");
    r.key(ignore_case, "ignore_case", false, "of exact and contains");
    r.key(k, "k", std::vector<double>{1.0}, 1.0, 65536.0, "", "of program: pass@k for these");
    r.key(program, "program", "",
          "of program: template of what is run; {{completion}} is the answer");
    r.key(stdin_cases, "stdin_cases", "",
          "of program: field with an array (or its JSON text) of {input, output}");
  }
};
// One [[filter]]: a way to find the answer in the text; each has its rows in the table.
struct FilterTable {
  std::string name, pattern;
  Extract extract = Extract::none;
  template <class R> void keys(R &r) {
    r.required(name, "name", "name in the column Filter");
    r.template choice<Extract>(extract, "extract", Extract::none,
                               {{"none", Extract::none},
                                {"first_line", Extract::first_line},
                                {"number", Extract::number},
                                {"letter", Extract::letter},
                                {"boxed", Extract::boxed},
                                {"regex", Extract::regex},
                                {"code", Extract::code}},
                               "first_line; number: the last one; letter: of a choice; boxed: the "
                               "last \\boxed{}; regex: the last match; code: the first ``` block");
    r.key(pattern, "pattern", "",
          "of regex: what stands before \\K in it is not part of the match");
  }
};
struct SyntheticTable {
  Puzzle puzzle = Puzzle::needle;
  std::vector<double> lengths, depths;
  std::int64_t samples = 5, distractors = 0, digits = 7, chains = 1, hops = 4, common = 10,
               often = 30, rare = 3;
  std::string needle, question;
  template <class R> void keys(R &r) {
    r.template choice<Puzzle>(
        puzzle, "puzzle", Puzzle::needle,
        {{"needle", Puzzle::needle}, {"variables", Puzzle::variables}, {"words", Puzzle::words}},
        "needle: one sentence in filler text is asked for; variables: which "
        "ones got a value through chains of assignments; words: the most "
        "frequent of a list");
    r.key(lengths, "lengths", std::vector<double>{512.0}, 16.0, 1e9, "tokens", "of the prompts");
    r.key(depths, "depths", std::vector<double>{0.0, 0.25, 0.5, 0.75, 1.0}, 0.0, 1.0, "",
          "needle: where it stands; 0 is the beginning");
    r.key(samples, "samples", 5, 1, 1 << 20, "", "prompts of each length (and depth)");
    r.key(distractors, "distractors", 0, 0, 1 << 16, "", "needle: others that are not asked for");
    r.key(digits, "digits", 7, 1, 18, "", "needle, variables: digits of a value");
    r.key(chains, "chains", 1, 1, 64, "", "variables: chains, of which the first is asked for");
    r.key(hops, "hops", 4, 1, 64, "", "variables: assignments in a chain behind the first");
    r.key(common, "common", 10, 1, 1000, "words", "words: how many are asked for");
    r.key(often, "often", 30, 2, 1 << 16, "", "words: times that a common word stands there");
    r.key(rare, "rare", 3, 1, 1 << 16, "", "words: times that any other word stands there");
    r.key(needle, "needle", "The secret number of {{name}} is {{value}}.", "needle: its template");
    r.key(question, "question", "",
          "what stands behind the text; {{name}}, {{value}}, {{common}} as the puzzle has them");
  }
};

struct Task {
  std::string file, source; // path; text (for the fingerprint)
  TaskTable task;
  DataTable data;
  ChoicesTable choices;
  AnswerTable answer;
  PromptTable prompt;
  GenerateTable generate;
  ScoreTable score;
  SyntheticTable synthetic;
  std::vector<FilterTable> filters; // one at least
  // The templates, parsed.
  Template group, shot_group, description, context, continuation, choice_line, value, program,
      needle, question;
  std::vector<Template> choice_texts;

  // Can examples be made: is it known what stands behind their questions?
  bool can_show_answers() const {
    return (task.kind == Kind::choice || task.kind == Kind::generate) &&
           (!value.empty() || !answer.list.empty() || !continuation.empty());
  }
  bool has_choices() const { return !choice_texts.empty() || !choices.list.empty(); }
};

// Errors E300 (no such file), E001-E009 (as for decks), E307 (keys that contradict each other or are missing), E308 (templates), E316
// (a pattern that is no regular expression).
Task read_task(const std::filesystem::path &file);
// All tables with their keys, for docs/tasks.md.
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_task_keys();

} // namespace eval
