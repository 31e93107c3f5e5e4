// What the server says of itself: ietf-yang-library (RFC 8525) and ietf-restconf-monitoring (RFC
// 8040 section 9).
#include "control/api/digest.h"
#include "control/api/http_server.h"
#include "control/api/operations.h"

namespace sluice::control {

using nlohmann::json;

json yang_library() {
  const auto module = [](std::string_view name, std::string_view revision, std::string_view space) {
    return json{{"name", name},
                {"revision", revision},
                {"namespace", space},
                {"location", {"/yang/" + std::string(name) + ".yang"}}};
  };
  json modules =
      json::array({module("sluice", model_revision(), "urn:sluice:configuration"),
                   module(kOperationsModule, kOperationsRevision, kOperationsNamespace)});
  json imports = json::array({{{"name", "ietf-inet-types"},
                               {"revision", "2013-07-15"},
                               {"namespace", "urn:ietf:params:xml:ns:yang:ietf-inet-types"}},
                              {{"name", "ietf-yang-types"},
                               {"revision", "2013-07-15"},
                               {"namespace", "urn:ietf:params:xml:ns:yang:ietf-yang-types"}}});
  const std::string id = sha256_text(std::string(model_source()) + operations_yang()).substr(0, 32);
  return {
      {"ietf-yang-library:yang-library",
       {{"module-set", {{{"name", "all"}, {"module", modules}, {"import-only-module", imports}}}},
        {"schema", {{{"name", "all"}, {"module-set", {"all"}}}}},
        {"datastore", {{{"name", "ietf-datastores:running"}, {"schema", "all"}}}},
        {"content-id", id}}}};
}
json restconf_state() {
  json capabilities = json::array();
  for (const char* c :
       {"defaults:1.0?basic-mode=explicit", "with-defaults:1.0", "depth:1.0", "fields:1.0"}) {
    capabilities.push_back("urn:ietf:params:restconf:capability:" + std::string(c));
  }
  return {{"ietf-restconf-monitoring:restconf-state",
           {{"capabilities", {{"capability", capabilities}}},
            {"streams",
             {{"stream",
               {{{"name", "events"},
                 {"description", "Events as they come, EVE JSON"},
                 {"replay-support", false},
                 {"access", {{{"encoding", "json"}, {"location", "/streams/events"}}}}}}}}}}}};
}

}  // namespace sluice::control
