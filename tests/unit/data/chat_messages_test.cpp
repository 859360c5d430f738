// SPDX-License-Identifier: Apache-2.0
// Messages in OpenAI's form: what is read, and what is refused with its place.
#include "data/chat_messages.hpp"
#include "data_support.hpp"

namespace {

using namespace data::test;
using namespace data::chat;
using base::Exit;
using data::Json;

Messages read(const std::string &json) { return read_messages(json, "chat.json"); }

void refused(const std::string &json, const std::string &number,
             const std::vector<std::string> &parts) {
  const auto error = error_of([&] { read(json); });
  expect_error(error, Exit::data, number, parts);
  expect_error(error, Exit::data, number, {"chat.json"});
}

std::string call(const std::string &function) {
  return R"([{"role":"user","content":"Q"},{"role":"assistant","content":null,"tool_calls":[{"id":"a",)"
         R"("type":"function","function":)" +
         function + "}]}]";
}

TEST(ChatMessages, readsBothOuterForms) {
  const std::string list = R"([{"role":"user","content":"Q"}])";
  for (const std::string &json : {list, R"({"model":"m","messages":)" + list + R"(,"tools":[]})"}) {
    const Messages messages = read(json);
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].role, Role::user);
    EXPECT_EQ(messages[0].content, "Q");
  }
}

TEST(ChatMessages, readsCallsAndResults) {
  const Messages messages = read(R"([{"role":"user","content":"Q","name":"me"},
    {"role":"assistant","content":"","refusal":null,"annotations":[],"tool_calls":[
      {"id":"a","type":"function","index":0,"function":{"name":"f","arguments":"{ \"x\" :1}"}},
      {"function":{"name":"g","arguments":{"y":[1,2.5],"z":"é\u0001<"}}}]},
    {"role":"tool","tool_call_id":"a","content":"R"}])");
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1].content, std::nullopt);
  ASSERT_EQ(messages[1].tool_calls.size(), 2u);
  EXPECT_EQ(messages[1].tool_calls[0].id, "a");
  EXPECT_EQ(messages[1].tool_calls[0].arguments, "{ \"x\" :1}") << "text stays as it is";
  EXPECT_EQ(messages[1].tool_calls[1].type, "function");
  EXPECT_EQ(messages[1].tool_calls[1].arguments, R"({"y": [1, 2.5], "z": "é\u0001<"})");
  EXPECT_EQ(messages[2].tool_call_id, "a");
}

TEST(ChatMessages, emptyListsOfCallsAreNone) {
  const Messages messages = read(
      R"([{"role":"assistant","content":"A","tool_calls":[]},{"role":"assistant","content":"B","tool_calls":null}])");
  EXPECT_TRUE(messages[0].tool_calls.empty());
  EXPECT_EQ(messages[1].content, "B");
}

TEST(ChatMessages, damagedJson) {
  refused("", "E130", {"line 1"});
  refused(R"([{"role":"user","content":"Q"})", "E130", {"no valid JSON"});
  refused("[{\"role\":\"user\",\"content\":\"a\xFF\"}]", "E130", {"no valid JSON", "\\xff"});
  refused(R"([{"role":"user","content":"\ud800"}])", "E130", {"no valid JSON"});
  refused(R"([{"role":"user","role":"user","content":"Q"}])", "E130", {"role", "twice"});
  refused(std::string(100000, '[') + std::string(100000, ']'), "E130", {"nested more than"});
  refused(R"([{"role":"user","content":"Q"}] x)", "E130", {"no valid JSON"});
}

TEST(ChatMessages, partsOfTheWrongKind) {
  refused("3", "E131", {"a whole number"});
  refused("{}", "E131", {"messages"});
  refused(R"({"messages":"Q"})", "E131", {"a string"});
  refused("[1]", "E131", {"messages[0]", "a whole number"});
  refused("[{}]", "E131", {"messages[0]", "no \"role\""});
  refused(R"([{"role":7,"content":"Q"}])", "E131", {"messages[0]", "role is a whole number"});
  refused(R"([{"role":"user","content":"Q"},{"role":"User","content":"Q"}])", "E131",
          {"messages[1]", "\"User\"", "assistant"});
  refused(R"([{"role":"user"}])", "E131", {"messages[0]", "no \"content\""});
  refused(R"([{"role":"tool","content":null}])", "E131", {"content is null"});
  refused(R"([{"role":"assistant"}])", "E131", {"no \"content\"", "tool_calls"});
  refused(R"([{"role":"user","content":["Q"]}])", "E131", {"content is an array"});
  refused(R"([{"role":"user","content":{"text":"Q"}}])", "E131", {"content is an object"});
  refused(R"([{"role":"user","content":"Q","name":1}])", "E131", {"name is a whole number"});
  refused(R"([{"role":"tool","content":"Q","tool_call_id":1}])", "E131", {"tool_call_id"});
}

TEST(ChatMessages, whatTheLayoutWouldLose) {
  refused(R"([{"role":"assistant","content":"A","reasoning_content":"hm"}])", "E131",
          {"messages[0]", "reasoning_content", "Known"});
  refused(R"([{"role":"user","content":"Q","tool_calls":[{}]}])", "E131", {"tool_calls"});
  refused(R"({"messages":[],"tools":[{"type":"function"}]})", "E131", {"tools", "system message"});
}

TEST(ChatMessages, callsOfTheWrongKind) {
  refused(R"([{"role":"assistant","content":null,"tool_calls":{}}])", "E131",
          {"tool_calls is an object"});
  refused(R"([{"role":"assistant","content":null,"tool_calls":[7]}])", "E131",
          {"messages[0].tool_calls[0]", "a whole number"});
  refused(R"([{"role":"assistant","content":null,"tool_calls":[{"id":"a"}]}])", "E131",
          {"no \"function\""});
  refused(call("[]"), "E131", {"messages[1].tool_calls[0].function", "an array"});
  refused(call(R"({"arguments":"{}"})"), "E131", {"no \"name\""});
  refused(call(R"({"name":"","arguments":"{}"})"), "E131", {"empty name"});
  refused(call(R"({"name":"f"})"), "E131", {"no \"arguments\""});
  refused(call(R"({"name":"f","arguments":""})"), "E131", {"arguments", "no valid JSON"});
  refused(call(R"({"name":"f","arguments":"{x:1}"})"), "E131", {"arguments", "no valid JSON"});
  refused(call(R"({"name":"f","arguments":"[1]"})"), "E131", {"arguments", "an array"});
  refused(call(R"({"name":"f","arguments":3})"), "E131", {"arguments is a whole number"});
  refused(call(R"({"name":"f","arguments":{"id":98765432109876543210}})"), "E131",
          {"beyond 64 bits"});
  refused(R"([{"role":"assistant","content":null,"tool_calls":[
    {"id":"a","function":{"name":"f","arguments":"{}"}},
    {"id":"a","function":{"name":"f","arguments":"{}"}}]}])",
          "E131", {"tool_calls[1]", "same id"});
}

TEST(ChatMessages, numbersAsPythonWritesThem) {
  const auto compact = [](const std::string &json) { return compact_json(Json::parse(json)); };
  EXPECT_EQ(compact("[1.0,-0.0,0.1,1e16,1e15,1e-5,123456789.25,-7,1E2]"),
            "[1.0, -0.0, 0.1, 1e+16, 1000000000000000.0, 1e-05, 123456789.25, -7, 100.0]");
  EXPECT_EQ(compact("{}"), "{}");
  EXPECT_EQ(compact("{\"a\":{\"b\":[]},\"c\":[null,true,false]}"),
            "{\"a\": {\"b\": []}, \"c\": [null, true, false]}");
  EXPECT_EQ(compact("[9223372036854775807,-9223372036854775808]"),
            "[9223372036854775807, -9223372036854775808]");
  EXPECT_THROW(compact("[9223372036854775808]"), data::JsonError);
}

} // namespace
