// SPDX-License-Identifier: Apache-2.0
// The readers: what each layout may hold, and what is refused with file and line.
#include "tests/unit/eval/tools.hpp"

namespace {

using namespace eval_test;

std::string text(const eval::Record &record, const std::string &path) {
  std::string out = "(missing)";
  if (const data::Json *value = eval::field(record.row, path))
    if (!eval::scalar_text(*value, out)) eval::write_line(out = "", *value);
  return out;
}

TEST(Csv, QuotesCommasAndLineBreaks) {
  const auto rows = eval::read_csv("id,q,a\r\n1,\"a, \"\"b\"\"\nc\",x\n\n2,,\"\"\n3,d\"e,f",
                                   "dir/set.csv", {true, {"q"}});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(text(rows[0], "q"), "a, \"b\"\nc");
  EXPECT_EQ(text(rows[0], "a"), "x");
  EXPECT_EQ(rows[0].place, "dir/set.csv:2");
  EXPECT_EQ(rows[1].place, "dir/set.csv:5"); // the cell above has a line break, then an empty line
  EXPECT_EQ(text(rows[1], "q") + text(rows[1], "a"), "");
  EXPECT_EQ(text(rows[2], "q"), "d\"e");
  EXPECT_EQ(text(rows[2], "file"), "set");
  EXPECT_EQ(text(rows[2], "line"), "6");
}

TEST(Csv, WithoutHeader) {
  const auto rows = eval::read_csv("\xEF\xBB\xBFq1,A\nq2,B\n", "x.csv", {false, {"q", "a"}});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(text(rows[0], "q"), "q1");
  EXPECT_EQ(text(rows[1], "a"), "B");
}

TEST(Csv, Faults) {
  const eval::CsvLayout layout{true, {"question"}};
  const auto read = [&](const std::string &csv) {
    return [&, csv] { eval::read_csv(csv, "f.csv", layout); };
  };
  expect_error(read("quesion,a\n"), "E302", "is quesion meant");
  expect_error(read("a,b\n"), "E302", "f.csv:1");
  expect_error(read("question,question\n"), "E302", "twice");
  expect_error(read("question,a\nx,y\nz\n"), "E302", "f.csv:3");
  expect_error(read("question,a\nx,y\nz,\"open\nstill\n"), "E302", "f.csv:3");
  expect_error(read("question,a\nx,y\nz,\xFF\n"), "E317", "f.csv:3");
}

TEST(Jsonl, RowsAndFaults) {
  const auto rows =
      eval::read_jsonl("{\"a\": 1}\n\n{\"a\": {\"b\": [\"x\", 2.5, true]}}\r\n", "d/r.jsonl");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(text(rows[0], "a"), "1");
  EXPECT_EQ(rows[1].place, "d/r.jsonl:3");
  EXPECT_EQ(text(rows[1], "a.b.0"), "x");
  EXPECT_EQ(text(rows[1], "a.b.1"), "2.5");
  EXPECT_EQ(text(rows[1], "a.b.3"), "(missing)");
  EXPECT_EQ(text(rows[1], "a.b"), "[\"x\", 2.5, true]");
  expect_error([] { eval::read_jsonl("{\"a\": 1}\n{\"a\": \n", "r"); }, "E303", "r:2");
  expect_error([] { eval::read_jsonl("[1]\n", "r"); }, "E303", "an array");
}

TEST(Json, PathsWithStarsInheritMembers) {
  const std::string squad =
      R"({"p1": {"passage": "P", "url": "U", "qa": [{"q": 1}, {"q": 2, "url": "V"}]},
                                "p2": {"passage": "R", "url": "", "qa": [{"q": 3}]}})";
  const auto rows = eval::read_json(squad, "s.json", "*.qa.*");
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(text(rows[1], "passage"), "P");
  EXPECT_EQ(text(rows[1], "url"), "V");
  EXPECT_EQ(text(rows[1], "key"), "p1");
  EXPECT_EQ(text(rows[2], "q"), "3");
  EXPECT_EQ(rows[2].place, "s.json: row 3");
  EXPECT_EQ(eval::read_json("[{\"a\": 1}, {\"a\": 2}]", "s", "").size(), 2U);
  EXPECT_EQ(eval::read_json("{\"a\": 1}", "s", "").size(), 1U);
  expect_error([&] { eval::read_json(squad, "s.json", "Data.*"); }, "E303", "no member Data");
  expect_error([&] { eval::read_json("[1]", "s.json", ""); }, "E303", "row 1");
  expect_error([&] { eval::read_json("{", "s.json", ""); }, "E303", "s.json");
}

TEST(Labels, OneForEachRow) {
  auto rows = eval::read_jsonl("{\"a\": 1}\n{\"a\": 2}\n", "r");
  eval::join_labels(rows, "1\r\n0\n", "labels.lst");
  EXPECT_EQ(text(rows[0], "label"), "1");
  EXPECT_EQ(text(rows[1], "label"), "0");
  expect_error([&] { eval::join_labels(rows, "1\n", "labels.lst"); }, "E309", "1 labels");
}

std::string render(const std::string &text, const std::string &json,
                   const eval::Extras &extras = {}) {
  return eval::Template(text, "task.toml:3: context").render(record(json), extras);
}

TEST(Template, FieldsAndFilters) {
  EXPECT_EQ(render("a {{x}} b{{y.0}}", R"({"x": " q ", "y": [7]})"), "a  q  b7");
  EXPECT_EQ(render("{{ x | trim | upper }}", R"({"x": " q\n"})"), "Q");
  EXPECT_EQ(render("{{x|before:_}}|{{x|after:_}}|{{x|after_last:_}}", R"({"x": "a_b_c"})"),
            "a|b_c|c");
  EXPECT_EQ(render("{{x|replace: [t]=>. |cut:[]}}", R"({"x": "A [t]B [gone]C"})"), "A. B C");
  EXPECT_EQ(render("{{x|join:; }} {{x}}", R"({"x": [1, "b"]})"), "1; b 1, b");
  EXPECT_EQ(render("{{x|boxed}}", R"({"x": "\\boxed{1} so \\boxed{\\frac{1}{2}}."})"),
            "\\frac{1}{2}");
  EXPECT_EQ(render("{{x|capitalize}}", R"({"x": "hE SAID"})"), "He said");
  EXPECT_EQ(render("{{gone?}}{{x?}}", R"({"x": 1})"), "1");
  EXPECT_EQ(render("{{x}}", R"({"x": "row"})", {{"x", "extra"}}), "extra");
  EXPECT_EQ(render("{{a b|first_line}}", R"({"a b": "1\n2"})"), "1");
}

TEST(Template, Faults) {
  expect_error([] { render("{{x", "{}"); }, "E308", "task.toml:3");
  expect_error([] { render("{{}}", "{}"); }, "E308", "missing");
  expect_error([] { render("{{x|trin}}", "{}"); }, "E308", "did you mean trim");
  expect_error([] { render("{{x|replace:a}}", "{}"); }, "E308", "X=>Y");
  expect_error([] { render("{{question}}", R"({"qestion": 1})"); }, "E305", "is qestion meant");
  expect_error([] { render("{{x}}", R"({"x": {"y": 1}})"); }, "E305", "file.jsonl:7");
}

} // namespace
