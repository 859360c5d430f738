// SPDX-License-Identifier: Apache-2.0
// The safetensors container and its index: files made by hand, and hostile ones, each with what must be said of it.
#include "checkpoint/safetensors.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace {

namespace st = checkpoint::safetensors;
using st::Dtype, st::Entry;

std::string file(const std::string &json, std::size_t data_bytes, std::uint64_t length) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i) & 0xFF);
  return out + json + std::string(data_bytes, 'x');
}
std::string file(const std::string &json, std::size_t data_bytes) {
  return file(json, data_bytes, json.size());
}
st::Header parse(const std::string &bytes) {
  return st::parse_header(bytes, bytes.size(), "model.safetensors");
}

// The message of a refusal; "" when there was none.
template <class F> std::string refusal(const F &f, const char *number) {
  try {
    f();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), number);
    EXPECT_EQ(error.code(), base::Exit::checkpoint);
    return error.what();
  }
  return "";
}

// The body of an entry.
std::string body(const std::string &dtype, const std::string &shape, const std::string &offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}
std::string one(const std::string &dtype, const std::string &shape, const std::string &offsets) {
  return "{\"a\":" + body(dtype, shape, offsets) + "}";
}
std::string two(const std::string &first, const std::string &second) {
  return "{\"a\":" + body("U8", "[4]", first) + ",\"b\":" + body("U8", "[4]", second) + "}";
}

TEST(safetensors, reads_a_file_made_by_hand) {
  const std::string json = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[16,28]},"
                           "\"a\":{\"shape\":[4],\"data_offsets\":[0,16],\"dtype\":\"F32\"}}   ";
  const st::Header h = parse(file(json, 28));
  EXPECT_EQ(h.data_begin, 8 + json.size());
  EXPECT_EQ(h.metadata.at("format"), "pt");
  ASSERT_EQ(h.entries.size(), 2U);
  EXPECT_EQ(h.entries[0].name, "a"); // by offset
  EXPECT_EQ(h.entries[0].dtype, Dtype::f32);
  EXPECT_EQ(h.entries[0].bytes(), 16U);
  EXPECT_EQ(h.entries[1].name, "b");
  EXPECT_EQ(h.entries[1].dtype, Dtype::bf16);
  EXPECT_EQ(h.entries[1].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(h.entries[1].size(), 6U);
  EXPECT_EQ(h.entries[1].begin, 16U);
}

TEST(safetensors, the_header_alone_is_enough) {
  const std::string bytes = file(one("U8", "[1000000]", "[0,1000000]"), 0);
  EXPECT_EQ(st::parse_header(bytes, bytes.size() + 1000000, "f").entries.size(), 1U);
}

TEST(safetensors, empty_tensors_and_scalars) {
  const std::string json = "{\"none\":" + body("F32", "[3,0,2]", "[4,4]") +
                           ",\"one\":" + body("F32", "[]", "[0,4]") +
                           ",\"last\":" + body("F8_E4M3", "[4]", "[4,8]") + "}";
  const st::Header h = parse(file(json, 8));
  ASSERT_EQ(h.entries.size(), 3U);
  EXPECT_EQ(h.entries[0].size(), 1U);
  EXPECT_TRUE(h.entries[0].shape.empty());
  EXPECT_EQ(h.entries[1].name, "none"); // before the tensor that begins where it lies
  EXPECT_EQ(h.entries[1].size(), 0U);
  EXPECT_EQ(h.entries[2].dtype, Dtype::f8_e4m3);
  EXPECT_EQ(parse(file("{}", 0)).entries.size(), 0U);
}

TEST(safetensors, every_dtype_has_its_size) {
  const std::pair<const char *, int> bits[] = {
      {"F32", 32},        {"BF16", 16},       {"F16", 16},    {"F8_E4M3", 8}, {"BOOL", 8},
      {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},      {"I8", 8},
      {"F8_E5M2", 8},     {"F8_E8M0", 8},     {"I16", 16},    {"U16", 16},    {"I32", 32},
      {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U32", 32},    {"I64", 64},    {"U64", 64},
      {"F64", 64},        {"C64", 64}};
  for (const auto &[name, size] : bits) {
    SCOPED_TRACE(name);
    const int bytes = size; // of 8 elements
    const auto offsets = [](int n) { return "[0," + std::to_string(n) + "]"; };
    const st::Header h = parse(file(one(name, "[2,4]", offsets(bytes)), bytes));
    EXPECT_EQ(h.entries[0].dtype_name, name);
    EXPECT_EQ(h.entries[0].dtype, std::string(name) == "F32"       ? Dtype::f32
                                  : std::string(name) == "BF16"    ? Dtype::bf16
                                  : std::string(name) == "F16"     ? Dtype::f16
                                  : std::string(name) == "F8_E4M3" ? Dtype::f8_e4m3
                                                                   : Dtype::other);
    EXPECT_NE(
        refusal([&] { parse(file(one(name, "[2,4]", offsets(bytes + 1)), bytes + 1)); }, "E141"),
        "");
  }
  EXPECT_STREQ(st::name_of(Dtype::f8_e4m3), "F8_E4M3");
  EXPECT_EQ(st::bytes_of(Dtype::f16), 2U);
  EXPECT_EQ(st::bytes_of(Dtype::other), 0U);
}

TEST(safetensors, headers_written_are_read) {
  std::vector<Entry> entries(4);
  entries[0] = {"layer \"0\" \xc3\xa9", Dtype::bf16, "", {3, 5}, 0, 0};
  entries[1] = {"none", Dtype::f32, "", {0}, 0, 0};
  entries[2] = {"x", Dtype::f8_e4m3, "", {7}, 0, 0};
  entries[3] = {"y", Dtype::other, "I64", {}, 0, 0};
  const std::string header = st::make_header(entries, {{"format", "pt"}});
  EXPECT_EQ(header.size() % 8, 0U);
  EXPECT_EQ(entries[3].begin, 37U);
  EXPECT_EQ(entries[3].end, 45U);
  const st::Header h = st::parse_header(header, header.size() + 45, "f");
  EXPECT_EQ(h.data_begin, header.size());
  EXPECT_EQ(h.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(h.entries.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(h.entries[i].name, entries[i].name);
    EXPECT_EQ(h.entries[i].dtype, entries[i].dtype);
    EXPECT_EQ(h.entries[i].dtype_name, entries[i].dtype_name);
    EXPECT_EQ(h.entries[i].shape, entries[i].shape);
    EXPECT_EQ(h.entries[i].begin, entries[i].begin);
    EXPECT_EQ(h.entries[i].end, entries[i].end);
  }
  for (int length = 1; length < 20; ++length) { // every length of the JSON
    std::vector<Entry> named(1);
    named[0] = {std::string(static_cast<std::size_t>(length), 'n'), Dtype::f32, "", {2}, 0, 0};
    EXPECT_EQ(st::make_header(named, {}).size() % 8, 0U);
  }
}

struct Hostile {
  std::string bytes;
  const char *said;
};

void expect_refused(const std::vector<Hostile> &cases) {
  for (const Hostile &hostile : cases) {
    SCOPED_TRACE(hostile.said);
    const std::string said = refusal([&] { parse(hostile.bytes); }, "E141");
    EXPECT_NE(said.find(hostile.said), std::string::npos) << said;
    EXPECT_NE(said.find("model.safetensors: "), std::string::npos);
  }
}

TEST(safetensors, lengths_that_lie) {
  const std::string good = one("U8", "[4]", "[0,4]");
  expect_refused({
      {"", "has 0 bytes"},
      {"\x02\0\0\0", "already the header's length takes 8"},
      {file("", 0), "an empty header"},
      {file(good, 4, good.size() + 5), "in a file of"},
      {file(good, 4, std::uint64_t{1} << 63), "the format allows 100000000"},
      {file(good, 4, ~std::uint64_t{0}), "a header of 18446744073709551615 bytes"},
      {file(good, 4, 100'000'001), "the format allows 100000000"},
      {file(good, 4, 100'000'000), "a header of 100000000 bytes in a file of"},
      {file(good, 4, good.size() - 1), "no valid JSON"},
      {file(good, 4, good.size() + 1), "no valid JSON"},
      {file(good, 3), "ends at byte 4 of the data, the file has 3"},
      {file(good, 5), "the tensors end at byte 4 of the data, the file has 5"},
      {file("{}", 1), "the tensors end at byte 0"},
      {file(" {}", 0), "starts with \" \""},
      {file("[]", 0), "starts with \"[\""},
      {file("\xef\xbb\xbf{}", 0), "starts with \"\\xef\""},
      {file(std::string("{}\0\0", 4), 0), "a zero byte at byte 2"},
      {file("{}x", 0), "no valid JSON at byte 3"},
      {file("{} {}", 0), "no valid JSON at byte 4"},
  });
}

TEST(safetensors, json_that_is_none_or_of_other_form) {
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  expect_refused({
      {file("{\"a\":", 0), "no valid JSON"},
      {file("{\"a\xff\":{}}", 0), "no valid JSON"},
      {file("{\"a\\ud800\":{}}", 0), "no valid JSON"},
      {file("{\"a\nb\":{}}", 0), "no valid JSON"},
      {file("{'a':1}", 0), "no valid JSON at byte 2"},
      {file(deep, 0), "\"a\" is none of dtype, shape, data_offsets"},
      {file("{\"a\":" + std::string(100'000, '['), 0), "is an array; an object is needed"},
      {file("{\"a\":3}", 0), "tensor \"a\" is the number 3; an object is needed"},
      {file("{\"a\":null}", 0), "tensor \"a\" is null; an object is needed"},
      {file("{\"a\":{}}", 0), "dtype is missing"},
      {file("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}", 0), "shape is missing"},
      {file("{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0), "data_offsets is missing"},
      {file("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"offset\":1}}", 0), "\"offset\" is none of"},
      {file("{\"a\":{\"dtype\":32}}", 0), "dtype is the number 32; a text is needed"},
      {file("{\"a\":{\"dtype\":[\"F32\"]}}", 0), "dtype is an array; a text is needed"},
      {file("{\"a\":{\"shape\":4}}", 0), "shape is the number 4; an array is needed"},
      {file("{\"a\":{\"shape\":\"4\"}}", 0), "shape is the text \"4\""},
      {file(one("F32", "[[1]]", "[0,4]"), 4), "shape holds an array"},
      {file(one("F32", "[\"1\"]", "[0,4]"), 4), "shape holds the text"},
      {file(one("F33", "[1]", "[0,4]"), 4), "dtype \"F33\" is none of the format's (F32, BF16"},
      {file(one("f32", "[1]", "[0,4]"), 4), "dtype \"f32\" is none"},
      {file("{\"\":" + body("U8", "[0]", "[0,0]") + "}", 0), "a tensor without a name"},
      {file("{\"a\\u001b[2J\":{}}", 0), "\"a\\x1b[2J\": control characters in a name"},
      {file("{\"" + std::string(2000, 'n') + "\":{}}", 0), "a name of more than 1024 bytes"},
      {file("{\"__metadata__\":[]}", 0), "__metadata__ is an array"},
      {file("{\"__metadata__\":null}", 0), "__metadata__ is null"},
      {file("{\"__metadata__\":{\"a\":1}}", 0), "\"a\" is the number 1; a text is needed"},
      {file("{\"__metadata__\":{\"a\":{}}}", 0), "\"a\" is an object; a text is needed"},
  });
}

TEST(safetensors, names_that_stand_twice) {
  const std::string b = body("U8", "[4]", "[0,4]");
  expect_refused({
      {file("{\"a\":" + b + ",\"a\":" + b + "}", 4), "tensor \"a\" stands twice"},
      {file("{\"a\":" + b + ",\"\\u0061\":" + b + "}", 4), "tensor \"a\" stands twice"},
      {file("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\"}}", 4), "dtype stands twice"},
      {file("{\"a\":{\"shape\":[1],\"shape\":[1]}}", 4), "shape stands twice"},
      {file("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "__metadata__ stands twice"},
      {file("{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}", 0), "\"k\" stands twice"},
  });
}

TEST(safetensors, numbers_that_do_not_fit) {
  std::string rank = "[1";
  for (int i = 0; i < 64; ++i) rank += ",1";
  expect_refused({
      {file(one("U8", "[-4]", "[0,4]"), 4), "shape holds a negative number"},
      {file(one("U8", "[4.0]", "[0,4]"), 4), "shape holds the number \"4.0\""},
      {file(one("U8", "[4e0]", "[0,4]"), 4), "shape holds the number \"4e0\""},
      {file(one("U8", "[9223372036854775808]", "[0,4]"), 4), "only whole numbers from 0 to 2^63-1"},
      {file(one("U8", "[18446744073709551620]", "[0,4]"), 4), "18446744073709551620"},
      {file(one("U8", "[4294967296,4294967296]", "[0,4]"), 4), "more elements than can be counted"},
      {file(one("U8", "[4294967296,4294967296,0]", "[0,0]"), 0), "more elements than can be"},
      {file(one("U8", "[0,4294967296,4294967296]", "[0,0]"), 0), "more elements than can be"},
      {file(one("F64", "[2305843009213693952]", "[0,0]"), 0), "more elements than can be counted"},
      {file(one("U8", rank + "]", "[0,1]"), 1), "a shape of more than 64 dims"},
      {file(one("U8", "[4]", "[4,0]"), 4), "[4, 0] run backwards"},
      {file(one("U8", "[4]", "[0]"), 4), "data_offsets of 1 numbers"},
      {file(one("U8", "[4]", "[]"), 4), "data_offsets of 0 numbers"},
      {file(one("U8", "[4]", "[0,4,4]"), 4), "data_offsets of more than two numbers"},
      {file(one("U8", "[4]", "[-0,4]"), 4), "data_offsets holds a negative number"},
      {file(one("U8", "[4]", "[0,18446744073709551616]"), 4), "data_offsets holds the number"},
      {file(one("U8", "[4]", "[18446744073709551612,18446744073709551615]"), 4), "hold 3"},
      {file(one("U8", "[4]", "[18446744073709551611,18446744073709551615]"), 4),
       "ends at byte 18446744073709551615 of the data, the file has 4"},
      {file(one("F32", "[2,2]", "[0,15]"), 15), "[2, 2] of F32 take 16 bytes"},
      {file(one("F32", "[2,2]", "[0,8]"), 8), "data_offsets [0, 8] hold 8"},
      {file(one("F32", "[]", "[0,0]"), 0), "[] of F32 take 4 bytes"},
      {file(one("I64", "[1]", "[0,4]"), 4), "[1] of I64 take 8 bytes"}, // checked though not read
      {file(one("F4", "[3]", "[0,2]"), 2), "take 12 bits, no whole number of bytes"},
      {file(one("F6_E2M3", "[2]", "[0,1]"), 1), "take 12 bits"},
      {file(one("U8", "[1e400]", "[0,1]"), 1), "no valid JSON"},
  });
}

TEST(safetensors, holes_and_overlaps) {
  expect_refused({
      {file(two("[0,4]", "[0,4]"), 4),
       "tensor \"b\" begins at byte 0 of the data, inside tensor \"a\""},
      {file(two("[0,4]", "[3,7]"), 7),
       "begins at byte 3 of the data, inside tensor \"a\", which ends at 4"},
      {file(two("[3,7]", "[0,4]"), 7), "tensor \"a\" begins at byte 3"},
      {file(two("[0,4]", "[5,9]"), 9),
       "bytes [4, 5) of the data, before tensor \"b\", belong to no"},
      {file(two("[1,5]", "[5,9]"), 9), "bytes [0, 1) of the data, before tensor \"a\""},
      {file("{\"a\":" + body("U8", "[4]", "[0,4]") + ",\"z\":" + body("U8", "[0]", "[2,2]") + "}",
            4),
       "tensor \"z\" begins at byte 2 of the data, inside tensor \"a\""},
      {file("{\"z\":" + body("U8", "[0]", "[7,7]") + "}", 0), "ends at byte 7 of the data"},
  });
}

TEST(safetensors_index, read_and_written) {
  st::Index index{
      1234567890123,
      {{"b", "model-00001-of-00002.safetensors"}, {"a", "model-00002-of-00002.safetensors"}}};
  const st::Index again = st::parse_index(st::make_index(index), "i");
  EXPECT_EQ(again.total_size, index.total_size);
  EXPECT_EQ(again.files, index.files); // in the same order
}

TEST(safetensors_index, what_it_does_not_need_is_passed_over) {
  const st::Index index = st::parse_index(
      R"({"metadata":{"total_size":24.0,"total_parameters":{"all":[1,-2,1.5,null,{"total_size":7}]}},
          "more":[[{}],true],"weight_map":{"a":"s.safetensors"},"x":null})",
      "i");
  EXPECT_EQ(index.total_size, 24U);
  ASSERT_EQ(index.files.size(), 1U);
  EXPECT_EQ(st::parse_index(R"({"weight_map":{"a":"s"}})", "i").total_size, 0U);
}

TEST(safetensors_index, hostile) {
  const std::string map = R"("weight_map":{"a":"s"})";
  const std::vector<Hostile> cases = {
      {"", "no valid JSON"},
      {"{", "no valid JSON"},
      {"[]", "the index is an array"},
      {"7", "the index is the number 7"},
      {"null", "the index is null"},
      {"{}", "weight_map is missing"},
      {R"({"weight_map":{}})", "weight_map is empty"},
      {R"({"weight_map":[]})", "weight_map is an array"},
      {R"({"weight_map":"s"})", "weight_map is the text \"s\""},
      {R"({"weight_map":{"a":1}})", "the file of tensor \"a\" is the number 1"},
      {R"({"weight_map":{"a":null}})", "the file of tensor \"a\" is null"},
      {R"({"weight_map":{"a":["s"]}})", "the file of tensor \"a\" is an array"},
      {R"({"weight_map":{"a":{"b":"s"}}})", "the file of tensor \"a\" is an object"},
      {R"({"weight_map":{"a":"s","a":"s"}})", "tensor \"a\" stands twice"},
      {R"({"weight_map":{"a":"s","\u0061":"t"}})", "tensor \"a\" stands twice"},
      {R"({"weight_map":{"":"s"}})", "\"\" cannot be the name of a tensor"},
      {R"({"weight_map":{"a\u0000":"s"}})", "\"a\\x00\" cannot be the name"},
      {R"({"weight_map":{"a":""}})", "an empty name"},
      {R"({"weight_map":{"a":"."}})", "a folder"},
      {R"({"weight_map":{"a":".."}})", "a folder"},
      {R"({"weight_map":{"a":"../s"}})", "\"../s\": a path"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "\"/etc/passwd\": a path"},
      {R"({"weight_map":{"a":"x/s"}})", "a path"},
      {R"({"weight_map":{"a":"x\\s"}})", "a path"},
      {R"({"weight_map":{"a":"s\u0000.safetensors"}})", "control characters"},
      {R"({"weight_map":{"a":")" + std::string(300, 's') + "\"}}", "too long for a file"},
      {"{" + map + "," + map + "}", "\"weight_map\" stands twice"},
      {"{\"metadata\":{\"total_size\":1,\"total_size\":1}," + map + "}",
       "\"total_size\" stands twice"},
      {"{\"metadata\":{\"total_size\":-1}," + map + "}", "metadata.total_size is the number -1"},
      {"{\"metadata\":{\"total_size\":1.5}," + map + "}",
       "metadata.total_size is the number \"1.5\""},
      {"{\"metadata\":{\"total_size\":1e300}," + map + "}", "metadata.total_size is the number"},
      {"{\"metadata\":{\"total_size\":\"1\"}," + map + "}", "metadata.total_size is the text"},
      {"{\"metadata\":{\"total_size\":[1]}," + map + "}", "metadata.total_size is an array"},
      {"{\"metadata\":7," + map + "}", "metadata is the number 7"},
      {"{\"x\":{\"k\":1,\"k\":2}," + map + "}", "\"k\" stands twice"},
      {"{\"x\":" + std::string(100'000, '['), "nested more than 64 deep"},
      {"{" + map + "} x", "no valid JSON"},
      {"{" + map + "}" + std::string(1, '\0'), "a zero byte"},
      {"\xff\xfe{", "no valid JSON"},
  };
  for (const Hostile &hostile : cases) {
    SCOPED_TRACE(hostile.said);
    const std::string said = refusal([&] { st::parse_index(hostile.bytes, "i.json"); }, "E142");
    EXPECT_NE(said.find(hostile.said), std::string::npos) << said;
    EXPECT_NE(said.find("i.json: "), std::string::npos);
  }
}

} // namespace
