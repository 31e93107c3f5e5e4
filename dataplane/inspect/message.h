// One message in progress: MIME parsing, scanning and hashing of its octets, and what its event
// will say. The summary outlives the parser, until the server has answered.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

#include "dataplane/contract/event_record.h"
#include "dataplane/inspect/flow_scan.h"
#include "dataplane/mime/parser.h"

namespace sluice::inspect {

struct Attachment {
  mime::PartNumber part = 0;
  std::pmr::string name;        // the worse, when two differ
  std::pmr::string other_name;  // the other; empty if there is none
  std::pmr::string type;        // by content, or as declared
  std::uint64_t octets = 0;
  contract::AttachmentCut cut{};  // it has no hashes then
  bool has_md5 = false;
  bool has_sha256 = false;
  std::array<std::uint8_t, 16> md5{};
  std::array<std::uint8_t, 32> sha256{};
};

// Says that it is not whole, if so.
void put_cut(contract::EventWriter& writer, const Attachment& attachment);

// Bounds of what is kept for one event; the event record itself is bounded too.
inline constexpr std::size_t kMaxListed = 256;         // URLs, addresses, attachments
inline constexpr std::size_t kMaxListedOctets = 1024;  // of one of them

struct MessageSummary {
  explicit MessageSummary(std::pmr::memory_resource* memory)
      : from(memory),
        to(memory),
        cc(memory),
        subjects(memory),
        date(memory),
        message_id(memory),
        x_mailer(memory),
        urls(memory),
        attachments(memory) {}

  std::pmr::string from;
  std::pmr::vector<std::pmr::string> to;
  std::pmr::vector<std::pmr::string> cc;
  std::pmr::vector<std::pmr::string> subjects;
  std::pmr::string date;
  std::pmr::string message_id;
  std::pmr::string x_mailer;
  struct Url {
    mime::PartNumber part;
    std::pmr::string text;
  };
  std::pmr::vector<Url> urls;  // each once; in the order of their parts when the message has ended
  std::pmr::vector<Attachment> attachments;
  std::uint64_t size = 0;  // octets as sent
  bool has_sha256 = false;
  std::array<std::uint8_t, 32> sha256{};
  bool parsed = false;  // the parser saw the end

  void put(contract::EventWriter& writer) const;  // the `email` and attachment fields
};

// Tells the owner what becomes known while a message goes by.
class MessageObserver {
 public:
  virtual void on_attachment(const Attachment& attachment) = 0;
  virtual void on_message_anomaly(contract::Anomaly anomaly) = 0;

 protected:
  ~MessageObserver() = default;
};

class Message final : public mime::ParserSink {
 public:
  struct Options {
    bool hash_message = false;
    bool hash_attachments = true;
    bool hash_md5 = false;
    std::uint64_t scan_budget = 0;  // octets; 0: no bound
    // Of another reading of the stream: scanned beside the first one's.
    bool other_reading = false;
  };
  // `scans`, `observer` and `summary` must outlive the message.
  Message(const Options& options, FlowScan& scans, MessageObserver& observer,
          MessageSummary& summary, std::pmr::memory_resource* memory);
  ~Message();

  void data(Bytes octets);  // dot-stuffing undone
  void stuffed_dot();
  // So many octets of it went by behind the budget.
  void passed(std::uint64_t octets) { summary_.size += octets; }
  // A few octets wait for more, since each piece costs as much as a hundred octets do: what is
  // known of the message is up to date behind this, and at the end.
  void settle();
  // Octets are missing here: neither the message nor what is open of it has a hash.
  void gap();
  // Hashes and the event's fields are final. `whole`: it has come to its end.
  void finish(bool whole);
  // More octets came than are to be read.
  bool over_budget() const { return over_budget_; }
  // Octets that are still read. Those behind them are counted, and nothing else.
  std::uint64_t budget_left() const {
    return options_.scan_budget == 0 ? UINT64_MAX : options_.scan_budget - scanned_ - waiting_;
  }

 private:
  void on_header(mime::PartNumber part, std::string_view name, std::string_view raw_value,
                 std::string_view value) override;
  void on_header_raw(mime::PartNumber part, Bytes octets) override;
  void on_header_end(mime::PartNumber part) override;
  void on_part_begin(const mime::Part& part) override;
  void on_part_data(mime::PartNumber part, mime::DataKind kind, Bytes octets) override;
  void on_part_end(const mime::PartEnd& end) override;
  void on_url(mime::PartNumber part, std::string_view url, std::string_view host) override;
  void on_anomaly(contract::Anomaly anomaly) override;

  // An attachment that has not ended.
  struct OpenPart {
    mime::PartNumber number;
    std::pmr::string name;
    std::pmr::string other_name;
    std::pmr::string type;  // as declared
    bool gap = false;
  };
  struct DigestFree {
    void operator()(EVP_MD_CTX* c) const { EVP_MD_CTX_free(c); }
  };

  void take(Bytes octets);
  void cut_off();
  void list_url(mime::PartNumber part, std::string_view text);
  void look_up_addresses(std::string_view raw_value);

  void scan(scan::Buffer buffer, Bytes octets);
  void scan_whole(scan::Buffer buffer, Bytes item, bool another = false);
  void end_scan(scan::Buffer buffer);
  // Its parts are numbered apart.
  mime::PartNumber number_of(mime::PartNumber part) const {
    return options_.other_reading ? part | 1u << 30 : part;
  }
  bool wanted(scan::Buffer buffer) const { return !over_budget_ && scans_.wanted(buffer); }

  Options options_;
  FlowScan& scans_;
  MessageObserver& observer_;
  MessageSummary& summary_;
  std::pmr::memory_resource* memory_;
  std::unique_ptr<EVP_MD_CTX, DigestFree> digest_;
  std::pmr::vector<OpenPart> open_;  // attachments not yet ended
  static constexpr std::size_t kWaiting = 128;
  std::array<std::uint8_t, kWaiting> waiting_octets_;
  std::size_t waiting_ = 0;
  std::uint64_t scanned_ = 0;
  bool over_budget_ = false;
  bool gap_ = false;
  bool ended_early_ = false;
  mime::Parser parser_;
};

}  // namespace sluice::inspect
