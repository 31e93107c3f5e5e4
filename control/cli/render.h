// Answers of sluiced as a person reads them. Pure: JSON in, text out. A member that is missing or
// of another type than expected shows as nothing, never as a fault: versions may differ.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace sluice::control {

struct RenderOptions {
  std::size_t width = 80;
};

using Render = std::string (*)(const nlohmann::json& result, const RenderOptions& options);

std::string render_version(const nlohmann::json& result, const RenderOptions& options);
std::string render_hosts(const nlohmann::json& result, const RenderOptions& options);
std::string render_flows(const nlohmann::json& result, const RenderOptions& options);
std::string render_messages(const nlohmann::json& result, const RenderOptions& options);
std::string render_events(const nlohmann::json& result, const RenderOptions& options);
std::string render_policies(const nlohmann::json& result, const RenderOptions& options);
std::string render_rules(const nlohmann::json& result, const RenderOptions& options);
std::string render_interfaces(const nlohmann::json& result, const RenderOptions& options);
std::string render_stats(const nlohmann::json& result, const RenderOptions& options);
std::string render_config(const nlohmann::json& result, const RenderOptions& options);
std::string render_would_have(const nlohmann::json& result, const RenderOptions& options);
std::string render_wire(const nlohmann::json& result, const RenderOptions& options);
std::string render_visibility(const nlohmann::json& result, const RenderOptions& options);
std::string render_explain_host(const nlohmann::json& result, const RenderOptions& options);
std::string render_explain_events(const nlohmann::json& result, const RenderOptions& options);
std::string render_order(const nlohmann::json& result, const RenderOptions& options);
std::string render_release(const nlohmann::json& result, const RenderOptions& options);
std::string render_commit(const nlohmann::json& result, const RenderOptions& options);
// What a commit, or its check, came to.
std::string render_commit_answer(const nlohmann::json& result, const RenderOptions& options);
std::string render_history(const nlohmann::json& result, const RenderOptions& options);
std::string render_text(const nlohmann::json& result, const RenderOptions& options);
std::string render_nothing(const nlohmann::json& result, const RenderOptions& options);
std::string render_audit(const nlohmann::json& result, const RenderOptions& options);
std::string render_test_policy(const nlohmann::json& result, const RenderOptions& options);
std::string render_tech_support(const nlohmann::json& result, const RenderOptions& options);
std::string render_evidence(const nlohmann::json& result, const RenderOptions& options);
std::string render_capture(const nlohmann::json& result, const RenderOptions& options);
std::string render_captures(const nlohmann::json& result, const RenderOptions& options);
std::string render_self_test(const nlohmann::json& result, const RenderOptions& options);
// One event as one line: time, type, ends, and what matters of the type.
std::string event_line(const nlohmann::json& event);

}  // namespace sluice::control
