// EVE JSON: names and forms of Suricata's fields, and text of any octets (case E14).
#include "control/events/eve.h"

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <random>

namespace sluice::control {
namespace {

using Json = nlohmann::json;
using contract::EventType;
using contract::Field;

contract::EventHeader header(EventType type) {
  contract::EventHeader h;
  h.type = type;
  h.wall_time = 1'764'096'094'123'456'789;
  h.flow_id = 1234567;
  const std::uint8_t client[4] = {192, 0, 2, 10};
  const std::uint8_t server[4] = {198, 51, 100, 25};
  h.source = Address::from_v4(client);
  h.destination = Address::from_v4(server);
  h.source_port = 40000;
  h.destination_port = 25;
  return h;
}

class Record {
 public:
  explicit Record(const contract::EventHeader& h) { writer_->begin(h); }
  Record& put(Field f, std::string_view text) {
    writer_->put(f, text);
    return *this;
  }
  template <typename T>
  Record& number(Field f, T v) {
    writer_->put_number(f, v);
    return *this;
  }
  std::string line() {
    return eve_json(writer_->finish(), {.host = "sensor", .wires = {{"w1", "in0", "out0"}}});
  }
  Json json() { return Json::parse(line()); }

 private:
  std::unique_ptr<contract::EventWriter> writer_ = std::make_unique<contract::EventWriter>();
};

TEST(Eve, CommonFields) {
  auto h = header(EventType::anomaly);
  h.vlan[0] = 10;
  h.vlan[1] = 20;
  h.vlan_count = 2;
  h.frame_number = 17;
  h.visibility = contract::Visibility::before_tls;
  const Json e =
      Record(h)
          .put(Field::community_id, "1:abc=")
          .number(Field::anomaly_kind, static_cast<std::uint8_t>(contract::Anomaly::bare_lf))
          .json();
  EXPECT_EQ(e["timestamp"], "2025-11-25T18:41:34.123456+0000");
  EXPECT_EQ(e["flow_id"], 1234567);
  EXPECT_EQ(e["host"], "sensor");
  EXPECT_EQ(e["event_type"], "anomaly");
  EXPECT_EQ(e["src_ip"], "192.0.2.10");
  EXPECT_EQ(e["src_port"], 40000);
  EXPECT_EQ(e["dest_ip"], "198.51.100.25");
  EXPECT_EQ(e["dest_port"], 25);
  EXPECT_EQ(e["proto"], "TCP");
  EXPECT_EQ(e["vlan"], Json({10, 20}));
  EXPECT_EQ(e["in_iface"], "in0");
  EXPECT_EQ(e["pcap_cnt"], 17);
  EXPECT_EQ(e["community_id"], "1:abc=");
  EXPECT_EQ(e["direction"], "outbound");
  EXPECT_EQ(e["visibility"], "before_tls");
  EXPECT_EQ(e["anomaly"], Json({{"type", "applayer"}, {"event", "bare-lf"}}));
}

TEST(Eve, AddressesOfBothVersions) {
  auto h = header(EventType::flow);
  h.source = {};
  h.source.octets[0] = 0x20;
  h.source.octets[1] = 0x01;
  h.source.octets[15] = 1;
  EXPECT_EQ(Record(h).json()["src_ip"], "2001::1");
}

TEST(Eve, SmtpWithRefusedRecipientsAndAttachments) {
  const Json e = Record(header(EventType::smtp))
                     .number(Field::tx_id, std::uint32_t{2})
                     .put(Field::rcpt_to, "<a@b>")
                     .put(Field::rcpt_refused, "<c@d>")
                     .number(Field::rcpt_code, std::uint16_t{550})
                     .put(Field::rcpt_refused, "<e@f>")
                     .number(Field::rcpt_code, std::uint16_t{452})
                     .put(Field::attachment, "a.zip")
                     .number(Field::attachment_size, std::uint64_t{5})
                     .put(Field::attachment_other_name, "b.txt")
                     .put(Field::attachment, "")
                     .number(Field::attachment_size, std::uint64_t{6})
                     .number(Field::score, std::int32_t{-150})
                     .number(Field::verdict, static_cast<std::uint8_t>(contract::Verdict::reject))
                     .json();
  EXPECT_EQ(e["tx_id"], 2);
  EXPECT_EQ(e["smtp"]["rcpt_to"], Json({"<a@b>"}));
  EXPECT_EQ(e["smtp"]["rcpt_refused"],
            Json({{{"to", "<c@d>"}, {"code", 550}}, {{"to", "<e@f>"}, {"code", 452}}}));
  EXPECT_EQ(e["email"]["attachment"], Json({"a.zip", "b.txt"}));
  EXPECT_EQ(e["sluice"]["attachments"],
            Json({{{"name", "a.zip"}, {"size", 5}, {"other_name", "b.txt"}},
                  {{"name", ""}, {"size", 6}}}));
  EXPECT_DOUBLE_EQ(e["sluice"]["score"], -1.5);
  // Not enforced: what it would have done.
  EXPECT_EQ(e["sluice"]["verdict"], "pass");
  EXPECT_EQ(e["sluice"]["would_have"], "reject");
}

TEST(Eve, FileOfWhichOctetsWereNotSeen) {
  using contract::AttachmentCut;
  for (const auto& [cut, state, gaps] : {std::tuple{AttachmentCut::none, "CLOSED", false},
                                         {AttachmentCut::end, "TRUNCATED", false},
                                         {AttachmentCut::gap, "TRUNCATED", true}}) {
    const Json file = Record(header(EventType::fileinfo))
                          .put(Field::attachment, "a.zip")
                          .number(Field::attachment_cut, static_cast<std::uint8_t>(cut))
                          .json()["fileinfo"];
    EXPECT_EQ(file["state"], state);
    EXPECT_EQ(file["gaps"], gaps);
  }
}

TEST(Eve, NamesOfACertificate) {
  const auto names = [](const std::vector<const char*>& list) {
    Record record(header(EventType::tls));
    for (const char* name : list) record.put(Field::tls_certificate_name, name);
    return record.json()["tls"];
  };
  EXPECT_EQ(names({"a.test", "a.test", "b.test"}),
            Json({{"subject", "CN=a.test"}, {"subjectaltname", {"a.test", "b.test"}}}));
  // A certificate without a common name was told with the first other one as its subject.
  EXPECT_EQ(names({"", "a.test"}), Json({{"subjectaltname", {"a.test"}}}));
}

TEST(Eve, EnforcedVerdict) {
  auto h = header(EventType::smtp);
  h.flags = contract::kEventEnforced;
  const Json e =
      Record(h).number(Field::verdict, static_cast<std::uint8_t>(contract::Verdict::drop)).json();
  EXPECT_EQ(e["sluice"]["verdict"], "drop");
  EXPECT_FALSE(e["sluice"].contains("would_have"));
}

TEST(Eve, HostileTextIsOneValidLine) {  // case E14
  using namespace std::string_view_literals;
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"a\r\nb\x1b[31m\"\\"sv, "a\r\nb\x1b[31m\"\\"sv},  // escaped by JSON itself
      {"\xff"sv, "\\xff"sv},
      {"\xc0\xaf"sv, "\\xc0\\xaf"sv},
      {"\xed\xa0\x80"sv, "\\xed\\xa0\\x80"sv},
      {"caf\xe9"sv, "caf\\xe9"sv},
      {"\xe4\xb8"sv, "\\xe4\\xb8"sv},
      {"\xf4\x90\x80\x80"sv, "\\xf4\\x90\\x80\\x80"sv},
      {"Z\xc3\xbcrich \xf0\x9f\x98\x80"sv, "Z\xc3\xbcrich \xf0\x9f\x98\x80"sv},
      {"nul\0nul"sv, "nul\0nul"sv},
      {"$(id);|&"sv, "$(id);|&"sv},
  };
  for (const auto& [octets, shown] : cases) {
    Record r(header(EventType::smtp));
    const std::string line = r.put(Field::helo, octets).line();
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(Json::parse(line)["smtp"]["helo"], std::string(shown));
  }
}

TEST(Eve, AnyFieldsInAnyEventAreOneValidLine) {
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) {
    auto h = header(static_cast<EventType>(1 + random() % 8));
    h.vlan_count = static_cast<std::uint8_t>(random());
    h.wire = static_cast<std::uint16_t>(random() % 3);
    Record r(h);
    for (int k = 0; k < 12; ++k) {
      std::string text(random() % 12, '\0');
      for (char& c : text) c = static_cast<char>(random());
      r.put(static_cast<Field>(random() % 80), text);
    }
    const std::string line = r.line();
    EXPECT_TRUE(Json::accept(line)) << line;
  }
}

TEST(Eve, RecordsThatAreNoEventsGiveNothing) {
  EXPECT_EQ(Record(header(EventType::flow_snapshot)).line(), "");
  EXPECT_EQ(eve_json(as_bytes("short"), {}), "");
}

}  // namespace
}  // namespace sluice::control
