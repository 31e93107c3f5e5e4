#include "dataplane/inspect/message.h"

#include <algorithm>
#include <utility>

#include "dataplane/mime/address.h"
#include "dataplane/mime/encoded_word.h"
#include "dataplane/mime/text.h"

namespace sluice::inspect {
namespace {

using contract::Field;

// Not in the middle of a character.
std::string_view bounded(std::string_view s) {
  if (s.size() <= kMaxListedOctets) return s;
  std::size_t size = kMaxListedOctets;
  const auto goes_on = [&] { return (static_cast<std::uint8_t>(s[size]) & 0xc0) == 0x80; };
  while (size > kMaxListedOctets - 4 && goes_on()) --size;
  return s.substr(0, goes_on() ? kMaxListedOctets : size);
}

std::string_view trimmed(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

// An address list cut at its commas, as EVE lists it: commas inside quotes, angle brackets and
// comments do not count, and those of encoded words are no commas yet (RFC 2047 6.2). `raw`: the
// unfolded value, not decoded. Of a group its members are listed (RFC 5322 3.4), or, when it has
// none, the group ("undisclosed-recipients:;").
class AddressLister {
 public:
  AddressLister(std::string_view raw, std::pmr::vector<std::pmr::string>& list)
      : raw_(raw), list_(list) {}

  void run() {
    for (std::size_t i = 0; i < raw_.size() && list_.size() < kMaxListed; ++i) {
      const char c = raw_[i];
      if (c == '\\') {
        ++i;
      } else if (!plain(c)) {
        continue;
      } else if (c == ',' || c == ';') {
        end_item(i, c == ';');
      } else if (c == '@') {
        address_ = true;
      } else if (c == ':' && !address_ && group_ == kNone) {
        group_ = begin_;
        members_ = list_.size();
        begin_ = i + 1;
      }
    }
    if (list_.size() < kMaxListed) end_item(raw_.size(), false);
  }

 private:
  static constexpr std::size_t kNone = std::string_view::npos;

  // Whether the character stands outside of quotes, brackets and comments.
  bool plain(char c) {
    if (c == '"' && comment_ == 0) quoted_ = !quoted_;
    if (quoted_) return false;
    if (c == '<') ++angle_;
    if (c == '>' && angle_ > 0) --angle_;
    if (c == '(') ++comment_;
    if (c == ')' && comment_ > 0) --comment_;
    return angle_ == 0 && comment_ == 0;
  }

  void end_item(std::size_t end, bool group_ends) {
    add(begin_, end);
    if (group_ends && group_ != kNone) {
      if (list_.size() == members_) add(group_, end + 1);
      group_ = kNone;
    }
    begin_ = end + 1;
    address_ = false;
  }

  void add(std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    std::pmr::string buffer(list_.get_allocator());
    const auto text = mime::decode_words(trimmed(raw_.substr(begin, end - begin)), buffer);
    if (!text.empty()) list_.emplace_back(bounded(text));
  }

  std::string_view raw_;
  std::pmr::vector<std::pmr::string>& list_;
  bool quoted_ = false;
  bool address_ = false;  // the item holds an '@'
  int angle_ = 0;
  int comment_ = 0;
  std::size_t begin_ = 0;
  std::size_t group_ = kNone;  // where the group that is open begins
  std::size_t members_ = 0;    // items listed before it
};

// Shares of a record that a list may take.
constexpr std::size_t kAddressRoom = 1500;
constexpr std::size_t kUrlRoom = 3500;

void put_texts(contract::EventWriter& writer, Field field,
               const std::pmr::vector<std::pmr::string>& list) {
  std::size_t room = kAddressRoom;
  for (const auto& item : list)
    if (!writer.put_within(room, field, std::string_view(item))) break;
}

}  // namespace

void MessageSummary::put(contract::EventWriter& writer) const {
  writer.put(Field::email_status, parsed ? std::string_view("PARSE_DONE") : "BODY_STARTED");
  if (!from.empty()) writer.put(Field::email_from, std::string_view(from));
  put_texts(writer, Field::email_to, to);
  put_texts(writer, Field::email_cc, cc);
  put_texts(writer, Field::email_subject, subjects);
  if (!date.empty()) writer.put(Field::email_date, std::string_view(date));
  if (!message_id.empty()) writer.put(Field::email_message_id, std::string_view(message_id));
  if (!x_mailer.empty()) writer.put(Field::email_x_mailer, std::string_view(x_mailer));
  // EVE lists the URL found last first.
  std::size_t room = kUrlRoom;
  for (auto url = urls.rbegin(); url != urls.rend(); ++url)
    if (!writer.put_within(room, Field::email_url, std::string_view(url->text))) break;
  for (const Attachment& a : attachments) {
    writer.put(Field::attachment, std::string_view(a.name));
    if (!a.other_name.empty())
      writer.put(Field::attachment_other_name, std::string_view(a.other_name));
    writer.put(Field::attachment_type, std::string_view(a.type));
    writer.put_number(Field::attachment_size, a.octets);
    put_cut(writer, a);
    if (a.has_md5) writer.put(Field::attachment_md5, Bytes(a.md5));
    if (a.has_sha256) writer.put(Field::attachment_sha256, Bytes(a.sha256));
  }
}

void put_cut(contract::EventWriter& writer, const Attachment& attachment) {
  if (attachment.cut != contract::AttachmentCut::none)
    writer.put_number(Field::attachment_cut, static_cast<std::uint8_t>(attachment.cut));
}

Message::Message(const Options& options, FlowScan& scans, MessageObserver& observer,
                 MessageSummary& summary, std::pmr::memory_resource* memory)
    : options_(options),
      scans_(scans),
      observer_(observer),
      summary_(summary),
      memory_(memory),
      open_(memory),
      parser_(
          [&] {
            mime::Limits limits;
            limits.hash_sha256 = options.hash_attachments;
            limits.hash_md5 = options.hash_md5;
            return limits;
          }(),
          *this, memory) {
  if (options_.hash_message) {
    digest_.reset(EVP_MD_CTX_new());
    if (digest_ && EVP_DigestInit_ex(digest_.get(), EVP_sha256(), nullptr) != 1) digest_.reset();
  }
}

Message::~Message() = default;

void Message::data(Bytes octets) {
  if (over_budget_) return take(octets);
  // What goes beyond the budget is told at once.
  if (octets.size() < kWaiting && octets.size() <= budget_left()) {
    if (waiting_ + octets.size() > kWaiting) settle();
    std::copy(octets.begin(), octets.end(), waiting_octets_.data() + waiting_);
    waiting_ += octets.size();
    return;
  }
  settle();
  take(octets);
}

void Message::settle() {
  if (waiting_ > 0) take(Bytes(waiting_octets_).first(std::exchange(waiting_, 0)));
}

void Message::take(Bytes octets) {
  // The budget ends at the same octet however they are cut.
  if (const std::uint64_t left = budget_left(); left > 0 && octets.size() > left) {
    take(octets.first(static_cast<std::size_t>(left)));
    octets = octets.subspan(static_cast<std::size_t>(left));
  }
  summary_.size += octets.size();
  if (digest_) EVP_DigestUpdate(digest_.get(), octets.data(), octets.size());
  if (budget_left() == 0) {
    if (!octets.empty()) cut_off();
    return;
  }
  scanned_ += octets.size();
  if (wanted(scan::Buffer::raw)) scan(scan::Buffer::raw, octets);
  if (!options_.other_reading) scans_.feed_spam(octets);
  parser_.feed(octets);
}

void Message::cut_off() {
  if (std::exchange(over_budget_, true)) return;
  observer_.on_message_anomaly(contract::Anomaly::scan_budget);
  parser_.cut_off();
}

void Message::stuffed_dot() {
  if (digest_) settle();
  ++summary_.size;
  if (digest_) EVP_DigestUpdate(digest_.get(), ".", 1);
}

void Message::gap() {
  settle();
  gap_ = true;
  digest_.reset();
  for (OpenPart& part : open_) part.gap = true;
}

void Message::finish(bool whole) {
  settle();
  ended_early_ = !whole;
  parser_.finish();
  if (!options_.other_reading) scans_.end_parts();
  // Parts of several readings end in an order that depends on the cuts; their numbers do not.
  const auto by_part = [](const auto& a, const auto& b) { return a.part < b.part; };
  const auto sort = [&](auto& list) {
    // It allocates.
    if (!std::is_sorted(list.begin(), list.end(), by_part))
      std::stable_sort(list.begin(), list.end(), by_part);
  };
  sort(summary_.urls);
  sort(summary_.attachments);
  if (wanted(scan::Buffer::raw)) end_scan(scan::Buffer::raw);
  if (!options_.other_reading) scans_.finish_spam();
  if (digest_) {
    unsigned size = 0;
    EVP_DigestFinal_ex(digest_.get(), summary_.sha256.data(), &size);
    summary_.has_sha256 = true;
    digest_.reset();
  }
  summary_.parsed = !over_budget_;
}

void Message::scan(scan::Buffer buffer, Bytes octets) {
  options_.other_reading ? scans_.feed_other(buffer, octets) : scans_.feed(buffer, octets);
}

void Message::scan_whole(scan::Buffer buffer, Bytes item, bool another) {
  options_.other_reading ? scans_.whole_other(buffer, item, another)
                         : scans_.whole(buffer, item, another);
}

void Message::end_scan(scan::Buffer buffer) {
  options_.other_reading ? scans_.end_other(buffer) : scans_.end_item(buffer);
}

void Message::look_up_addresses(std::string_view raw_value) {
  if (!scans_.wants(lists::Place::from)) return;
  struct Sink final : mime::MailboxSink {
    explicit Sink(FlowScan& s) : scans(s) {}
    void on_mailbox(const mime::Mailbox& mailbox) override {
      scans.look_up_address(lists::Place::from, mailbox.address);
    }
    FlowScan& scans;
  };
  Sink sink(scans_);
  mime::parse_addresses(raw_value, kMaxListed, sink, memory_);
}

void Message::on_header(mime::PartNumber part, std::string_view name, std::string_view raw_value,
                        std::string_view value) {
  if (part != 0 || over_budget_) return;
  const auto equals = mime::equals_ignoring_case;
  const auto text = bounded(trimmed(value));
  if (equals(name, "from") || equals(name, "sender") || equals(name, "reply-to"))
    look_up_addresses(raw_value);
  const auto scan_both = [&](scan::Buffer buffer) {
    if (!wanted(buffer)) return;
    scan_whole(buffer, as_bytes(value));
    if (const auto raw = trimmed(raw_value); raw != value) scan_whole(buffer, as_bytes(raw), true);
  };
  if (equals(name, "from")) {
    if (summary_.from.empty()) summary_.from = text;
    scan_both(scan::Buffer::from);
  } else if (equals(name, "to")) {
    AddressLister(raw_value, summary_.to).run();
    scan_both(scan::Buffer::to);
  } else if (equals(name, "cc")) {
    AddressLister(raw_value, summary_.cc).run();
    scan_both(scan::Buffer::cc);
  } else if (equals(name, "subject")) {
    if (summary_.subjects.size() < 4) summary_.subjects.emplace_back(text);
    scan_both(scan::Buffer::subject);
  } else if (equals(name, "date")) {
    if (summary_.date.empty()) summary_.date = text;
    scan_both(scan::Buffer::date);
  } else if (equals(name, "message-id")) {
    if (summary_.message_id.empty()) summary_.message_id = text;
    scan_both(scan::Buffer::message_id);
  } else if (equals(name, "x-mailer")) {
    if (summary_.x_mailer.empty()) summary_.x_mailer = text;
    scan_both(scan::Buffer::x_mailer);
  } else if (equals(name, "received")) {
    scan_both(scan::Buffer::received);
  }
}

void Message::on_header_raw(mime::PartNumber part, Bytes octets) {
  if (part == 0 && wanted(scan::Buffer::header)) scan(scan::Buffer::header, octets);
}

void Message::on_header_end(mime::PartNumber part) {
  if (part == 0 && wanted(scan::Buffer::header)) end_scan(scan::Buffer::header);
}

void Message::on_part_begin(const mime::Part& part) {
  if (over_budget_) return;
  if (wanted(scan::Buffer::name)) {
    if (!part.name.empty()) scan_whole(scan::Buffer::name, as_bytes(part.name));
    if (!part.other_name.empty())
      scan_whole(scan::Buffer::name, as_bytes(part.other_name), !part.name.empty());
  }
  for (const std::string_view name : {part.name, part.other_name})
    if (!name.empty()) scans_.look_up_name(name);
  // Members of archives are scanned, but the attachment is the archive.
  if (!part.attachment || (part.number & mime::kArchiveMember) != 0 ||
      summary_.attachments.size() + open_.size() >= kMaxListed)
    return;
  std::pmr::string declared(part.type, memory_);
  declared += '/';
  declared += part.subtype;
  open_.push_back({part.number, std::pmr::string(bounded(part.name), memory_),
                   std::pmr::string(bounded(part.other_name), memory_), std::move(declared)});
}

void Message::on_part_data(mime::PartNumber part, mime::DataKind kind, Bytes octets) {
  switch (kind) {
    case mime::DataKind::decoded:
      if (wanted(scan::Buffer::decoded)) scan(scan::Buffer::decoded, octets);
      break;
    case mime::DataKind::text:
      if (wanted(scan::Buffer::text)) scan(scan::Buffer::text, octets);
      break;
    case mime::DataKind::alternative:
      if (!over_budget_ && !scans_.feed_part(number_of(part), octets))
        observer_.on_message_anomaly(contract::Anomaly::part_limit);
      break;
  }
}

void Message::on_part_end(const mime::PartEnd& end) {
  scans_.end_part(number_of(end.number));
  if (!mime::is_alternative(end.number)) {
    for (const scan::Buffer b : {scan::Buffer::decoded, scan::Buffer::text})
      if (wanted(b)) end_scan(b);
  }
  const bool whole = !over_budget_ && !ended_early_;
  if (whole && end.has_md5) scans_.look_up_md5(end.md5);
  if (whole && end.has_sha256) scans_.look_up_sha256(end.sha256);
  const auto part = std::find_if(open_.begin(), open_.end(),
                                 [&](const OpenPart& p) { return p.number == end.number; });
  if (part == open_.end()) return;
  Attachment attachment{.part = part->number,
                        .name = std::move(part->name),
                        .other_name = std::move(part->other_name),
                        .type = std::move(part->type),
                        .cut = part->gap ? contract::AttachmentCut::gap
                               : whole   ? contract::AttachmentCut::none
                                         : contract::AttachmentCut::end};
  open_.erase(part);
  attachment.octets = end.octets;
  if (!end.detected_type.empty()) attachment.type = end.detected_type;
  const bool hashed = attachment.cut == contract::AttachmentCut::none;
  attachment.has_md5 = hashed && end.has_md5;
  attachment.has_sha256 = hashed && end.has_sha256;
  attachment.md5 = end.md5;
  attachment.sha256 = end.sha256;
  observer_.on_attachment(attachment);
  summary_.attachments.push_back(std::move(attachment));
}

void Message::on_url(mime::PartNumber part, std::string_view url, std::string_view host) {
  if (over_budget_) return;  // its end may be missing
  if (wanted(scan::Buffer::url)) {
    scan_whole(scan::Buffer::url, as_bytes(url));
    if (!host.empty() && url.find(host) == std::string_view::npos)
      scan_whole(scan::Buffer::url, as_bytes(host), true);
  }
  scans_.look_up_url(url, host);
  std::pmr::string shown(memory_);
  std::string_view text = bounded(url);
  // A long user part must not push the host out of what is shown.
  if (url.size() > kMaxListedOctets && !host.empty()) {
    const std::size_t at = url.rfind(host);
    if (at != std::string_view::npos && at + host.size() > text.size()) {
      shown = url.substr(0, kMaxListedOctets / 2);
      shown += "...";
      shown += url.substr(at - 1, kMaxListedOctets / 2);
      text = shown;
    }
  }
  list_url(part, text);
}

// Each URL once, in the order of the parts. Parts of several readings come in an order that depends
// on the cuts, so that a URL belongs to the first part that has it, and goes before those of later
// parts when there are too many.
void Message::list_url(mime::PartNumber part, std::string_view text) {
  auto& urls = summary_.urls;
  const auto known =
      std::find_if(urls.begin(), urls.end(), [&](const auto& url) { return url.text == text; });
  if (known != urls.end()) {
    if (known->part <= part) return;
    urls.erase(known);
  } else if (urls.size() >= kMaxListed) {
    // The last of the last part.
    const auto last = std::max_element(
        urls.rbegin(), urls.rend(), [](const auto& a, const auto& b) { return a.part < b.part; });
    if (last->part <= part) return;
    urls.erase(std::next(last).base());
  }
  urls.push_back({part, std::pmr::string(text, memory_)});
}

void Message::on_anomaly(contract::Anomaly anomaly) {
  // What was not seen may hold it.
  if (anomaly == contract::Anomaly::missing_boundary && (gap_ || ended_early_)) return;
  observer_.on_message_anomaly(anomaly);
}

}  // namespace sluice::inspect
