// What HTTP requests and answers of the API have in common: dates and tags, conditions, query
// parameters, errors as RFC 8040 wants them.
#pragma once

#include <httplib.h>

#include <ctime>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "control/api/restconf.h"

namespace sluice::control {

inline constexpr const char* kYangData = "application/yang-data+json";

// The entity tag of the configuration, of an answer that holds its digest.
std::string tag_of(const nlohmann::json& result);
// IMF-fixdate (RFC 9110 section 5.6.7).
std::string http_date(std::time_t seconds);
// RFC 3339 to seconds since the Unix epoch; what cannot be read has passed (0).
std::time_t seconds_of_rfc3339(const std::string& text);
// The target without its query, not decoded: a key may hold an encoded slash.
std::string raw_path(const httplib::Request& request);

void put(httplib::Response& response, int status, const nlohmann::json& body,
         const char* type = kYangData);
void put(httplib::Response& response, const restconf::Fault& fault);
// What the socket's protocol says went wrong, as HTTP.
restconf::Fault fault_of(const nlohmann::json& answer);
// A resource, after the query parameters `depth` and `fields`.
void put_resource(const httplib::Request& request, httplib::Response& response,
                  nlohmann::json resource);

// Conditions of RFC 9110 section 13 that RFC 8040 section 3.4.1 wants. False: one does not hold,
// and the answer says so.
bool conditions(const httplib::Request& request, httplib::Response& response,
                const std::string& tag, std::time_t changed, bool reading);
// Each parameter once, and none that is not claimed (RFC 8040 section 4.8).
restconf::Fault check_parameters(const httplib::Request& request,
                                 std::initializer_list<const char*> allowed);

}  // namespace sluice::control
