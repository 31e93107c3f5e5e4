// RESTCONF's data part: paths, parts, edits, queries, as RFC 8040 says.
#include "control/api/restconf.h"

#include <gtest/gtest.h>

#include "control/api/config.h"
#include "control/api/http_server.h"
#include "control/api/operations.h"

namespace sluice::control::restconf {
namespace {

using nlohmann::json;

class Restconf : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Model::create();
    ASSERT_TRUE(made) << made.error();
    model = std::move(*made);
    whole = json::parse(R"({"sluice:sluice":{
      "wire":[{"name":"w1","inside":"a","outside":"b","mode":"enforce"},{"name":"w2"}],
      "mail":{"port":[25,587]},
      "inside":{"prefix":[{"prefix":"203.0.113.0/24","role":"shared-web"}]},
      "detection":{"window":300}}})");
  }
  Target target(std::string_view path) {
    Target t;
    const auto steps = parse_path(path);
    EXPECT_TRUE(steps) << path;
    const Fault f = resolve(*model, *steps, t);
    EXPECT_FALSE(f) << path << ": " << f.message;
    return t;
  }
  int status(std::string_view path) {
    Target t;
    const auto steps = parse_path(path);
    if (!steps) return 400;
    json out;
    if (const Fault f = resolve(*model, *steps, t); f) return f.status;
    if (const Fault f = get(whole, t, out); f) return f.status;
    return 200;
  }
  json got(std::string_view path) {
    json out;
    EXPECT_FALSE(get(whole, target(path), out)) << path;
    return out;
  }
  Edited edited(std::string_view path, Method method, const json& body = {}) {
    Edited out;
    const Fault f = edit(*model, whole, target(path), method, body, out);
    EXPECT_FALSE(f) << path << ": " << f.message;
    return out;
  }
  Fault refused(std::string_view path, Method method, const json& body = {}) {
    Edited out;
    Fault f = edit(*model, whole, target(path), method, body, out);
    EXPECT_TRUE(f) << path;
    return f;
  }
  std::unique_ptr<Model> model;
  json whole;
};

TEST_F(Restconf, PartsByPath) {
  EXPECT_EQ(got("/sluice:sluice/wire=w1/mode"), json({{"sluice:mode", "enforce"}}));
  EXPECT_EQ(got("sluice:sluice/wire=w2"), json({{"sluice:wire", {{{"name", "w2"}}}}}));
  EXPECT_EQ(got("/sluice:sluice/wire")["sluice:wire"].size(), 2u);
  EXPECT_EQ(got("/sluice:sluice/mail/port=587"), json({{"sluice:port", {587}}}));
  EXPECT_EQ(got("/sluice:sluice/inside/prefix=203.0.113.0%2F24/role"),
            json({{"sluice:role", "shared-web"}}));
  EXPECT_EQ(got(""), json({{"ietf-restconf:data", whole}}));
  EXPECT_EQ(status("/sluice:sluice/wire=w9"), 404);
  EXPECT_EQ(status("/sluice:sluice/nothing"), 404);
  EXPECT_EQ(status("/other:sluice"), 404);
  EXPECT_EQ(status("/sluice"), 404) << "the first name carries its module";
  EXPECT_EQ(status("/sluice:sluice/wire/mode"), 400) << "no key";
  EXPECT_EQ(status("/sluice:sluice/wire=w1,w2/mode"), 400);
  EXPECT_EQ(status("/sluice:sluice/detection=1"), 400);
  EXPECT_EQ(status("/sluice:sluice/mail/port=notaport"), 400);
  EXPECT_EQ(status("/sluice:sluice//wire"), 400);
}

TEST_F(Restconf, PostMakesAChildOnce) {
  const json body = {{"sluice:wire", {{{"name", "w3"}, {"mode", "monitor"}}}}};
  const Edited e = edited("/sluice:sluice", Method::post, body);
  EXPECT_TRUE(e.created);
  EXPECT_EQ(e.location, "/sluice:sluice/wire=w3");
  EXPECT_EQ(e.whole["sluice:sluice"]["wire"].size(), 3u);
  EXPECT_EQ(refused("/sluice:sluice", Method::post, {{"sluice:wire", {{{"name", "w1"}}}}}).status,
            409);
  EXPECT_EQ(refused("/sluice:sluice", Method::post, {{"sluice:wire", {{{"mode", "monitor"}}}}}).tag,
            "missing-element");
  EXPECT_EQ(refused("/sluice:sluice", Method::post, {{"wire", {{{"name", "w3"}}}}}).tag,
            "unknown-namespace");
  EXPECT_EQ(refused("/sluice:sluice", Method::post, json::object()).tag, "malformed-message");
  EXPECT_EQ(refused("/sluice:sluice/wire=w1/mode", Method::post, body).status, 405);
  EXPECT_EQ(refused("/sluice:sluice/wire=w9", Method::post, {{"sluice:mode", "monitor"}}).status,
            404);
  const Edited prefix = edited("/sluice:sluice/inside", Method::post,
                               {{"sluice:prefix", {{{"prefix", "2001:db8::/32"}}}}});
  EXPECT_EQ(prefix.location, "/sluice:sluice/inside/prefix=2001%3Adb8%3A%3A%2F32");
}

TEST_F(Restconf, PutCreatesOrReplaces) {
  const Edited made =
      edited("/sluice:sluice/wire=w3", Method::put, {{"sluice:wire", {{{"name", "w3"}}}}});
  EXPECT_TRUE(made.created);
  const Edited replaced =
      edited("/sluice:sluice/wire=w1", Method::put, {{"sluice:wire", {{{"name", "w1"}}}}});
  EXPECT_FALSE(replaced.created);
  EXPECT_EQ(replaced.whole["sluice:sluice"]["wire"][0], json({{"name", "w1"}}))
      << "what the body does not have is gone";
  EXPECT_EQ(
      refused("/sluice:sluice/wire=w3", Method::put, {{"sluice:wire", {{{"name", "w4"}}}}}).tag,
      "invalid-value");
  EXPECT_EQ(refused("/sluice:sluice/wire", Method::put, {{"sluice:wire", json::array()}}).status,
            405);
  EXPECT_TRUE(
      edited("/sluice:sluice/hashing/messages", Method::put, {{"sluice:messages", true}}).created)
      << "containers on the way are made";
  EXPECT_EQ(
      edited("", Method::put, {{"ietf-restconf:data", {{"sluice:sluice", json::object()}}}}).whole,
      json({{"sluice:sluice", json::object()}}));
}

TEST_F(Restconf, KeysStay) {
  EXPECT_EQ(refused("/sluice:sluice/wire=w1/name", Method::put, {{"sluice:name", "w9"}}).status,
            400);
  EXPECT_EQ(refused("/sluice:sluice/wire=w1/name", Method::patch, {{"sluice:name", "w9"}}).status,
            400);
  EXPECT_EQ(edited("/sluice:sluice/wire=w1/name", Method::put, {{"sluice:name", "w1"}}).whole,
            whole);
}

TEST_F(Restconf, WhatIsWrittenCounts) {
  whole["sluice:sluice"]["detection"]["@window"] = {{"sluice:inactive", true}};
  const json after =
      edited("/sluice:sluice/detection/window", Method::put, {{"sluice:window", 60}}).whole;
  EXPECT_EQ(after["sluice:sluice"]["detection"], json({{"window", 60}}));
}

TEST_F(Restconf, PatchMergesIntoWhatIsThere) {
  const Edited e = edited("/sluice:sluice", Method::patch,
                          {{"sluice:sluice",
                            {{"wire", {{{"name", "w2"}, {"mode", "enforce"}}, {{"name", "w5"}}}},
                             {"mail", {{"port", {25, 2525}}}},
                             {"detection", {{"limit-threshold", 4}}}}}});
  const json& s = e.whole["sluice:sluice"];
  EXPECT_EQ(s["wire"].size(), 3u);
  EXPECT_EQ(s["wire"][0]["mode"], "enforce") << "w1 is left alone";
  EXPECT_EQ(s["wire"][1]["mode"], "enforce");
  EXPECT_EQ(s["mail"]["port"], json({25, 587, 2525}));
  EXPECT_EQ(s["detection"], json({{"window", 300}, {"limit-threshold", 4}}));
  EXPECT_EQ(refused("/sluice:sluice/wire=w9", Method::patch, {{"sluice:wire", {{{"name", "w9"}}}}})
                .status,
            404);
}

TEST_F(Restconf, DeleteTakesOneThing) {
  EXPECT_EQ(edited("/sluice:sluice/wire=w1", Method::remove).whole["sluice:sluice"]["wire"].size(),
            1u);
  EXPECT_FALSE(edited("/sluice:sluice/detection/window", Method::remove)
                   .whole["sluice:sluice"]["detection"]
                   .contains("window"));
  EXPECT_EQ(edited("/sluice:sluice/mail/port=25", Method::remove).whole["sluice:sluice"]["mail"],
            json({{"port", {587}}}));
  EXPECT_EQ(refused("/sluice:sluice/wire=w9", Method::remove).status, 404);
  EXPECT_EQ(refused("/sluice:sluice/wire", Method::remove).status, 405);
  EXPECT_EQ(refused("", Method::remove).status, 405);
}

TEST_F(Restconf, DepthAndFields) {
  const json one = limit_depth(got("/sluice:sluice"), 1);
  EXPECT_EQ(one, json({{"sluice:sluice", json::object()}}));
  const json two = limit_depth(got("/sluice:sluice"), 2);
  EXPECT_EQ(two["sluice:sluice"]["detection"], json::object());
  const json three = limit_depth(got("/sluice:sluice"), 3);
  EXPECT_EQ(three["sluice:sluice"]["detection"]["window"], 300);
  json r = got("/sluice:sluice");
  ASSERT_FALSE(select_fields("wire(name;mode);mail/port", r));
  EXPECT_EQ(r["sluice:sluice"].size(), 2u);
  EXPECT_EQ(r["sluice:sluice"]["wire"][0], json({{"name", "w1"}, {"mode", "enforce"}}));
  for (const char* bad : {"", "wire(", "wire)", "a;;b", "/a", "a(b", "a/"}) {
    json copy = got("/sluice:sluice");
    EXPECT_TRUE(select_fields(bad, copy)) << bad;
  }
}

TEST_F(Restconf, ErrorsAreInTheirForm) {
  const json e = errors_json({404, "application", "invalid-value", "no", "/sluice:sluice"});
  const json& one = e["ietf-restconf:errors"]["error"][0];
  EXPECT_EQ(one["error-type"], "application");
  EXPECT_EQ(one["error-tag"], "invalid-value");
  EXPECT_EQ(one["error-path"], "/sluice:sluice");
  EXPECT_EQ(percent_decoded("a%2Fb%zz%4"), "a/b%zz%4");
  EXPECT_EQ(percent_decoded(percent_encoded("ü/ =,%")), "ü/ =,%");
}

TEST_F(Restconf, TheDescriptionCoversTheModelAndTheOperations) {
  const json doc = openapi(*model, "test");
  EXPECT_EQ(doc["openapi"], "3.0.3");
  const json& paths = doc["paths"];
  EXPECT_TRUE(paths.contains("/restconf/data/sluice:sluice/wire={wire-name}"));
  EXPECT_TRUE(paths.contains("/restconf/data/sluice:sluice/wire={wire-name}/mode"));
  EXPECT_EQ(paths["/restconf/data/sluice:sluice/detection/window"]["put"]["requestBody"]["content"]
                 ["application/yang-data+json"]["schema"]["properties"]["sluice:window"]["minimum"],
            10);
  for (const Operation& o : operations()) {
    EXPECT_TRUE(paths.contains("/restconf/operations/sluice-operations:" + std::string(o.name)));
  }
  // Every parameter of a path is declared.
  for (const auto& [path, item] : paths.items()) {
    const auto braces = std::count(path.begin(), path.end(), '{');
    EXPECT_EQ(static_cast<std::size_t>(braces),
              item.contains("parameters") ? item["parameters"].size() : 0u)
        << path;
  }
}

}  // namespace
}  // namespace sluice::control::restconf
