#include "dataplane/spam/view.h"

#include <cstring>
#include <span>

#include "dataplane/spam/address_list.h"
#include "dataplane/spam/decode.h"
#include "dataplane/spam/octets.h"

namespace sluice::spam {
namespace {

constexpr std::size_t kUsualAddresses = 8;

struct Request {
  std::string_view name;
  bool raw = false;
  bool address = false;
  bool display = false;  // :name
  bool host = false;
  bool domain = false;
  bool ip = false;
  bool reverse_ip = false;
  bool first = false;
  bool last = false;
};

Request read_request(std::string_view selector) {
  Request request;
  const std::size_t colon = selector.find(':');
  request.name = selector.substr(0, colon);
  std::string_view rest =
      colon == std::string_view::npos ? std::string_view() : selector.substr(colon + 1);
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    const std::string_view modifier = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    request.raw |= modifier == "raw";
    request.address |= modifier == "addr";
    request.display |= modifier == "name";
    request.host |= modifier == "host" || modifier == "domain";
    request.domain |= modifier == "domain";
    request.ip |= modifier == "ip" || modifier == "revip";
    request.reverse_ip |= modifier == "revip";
    request.first |= modifier == "first";
    request.last |= modifier == "last";
  }
  return request;
}

struct Tables {
  scan::Regex ip = constant_regex(R"((?<!\.)\b(%I)\b(?!\.))");
  scan::Regex host =
      constant_regex(R"((?<![._-])([^\s@]{1,251}\.[a-z\d-]{2,})(?![._-]))", scan::kRegexCaseless);
  scan::Regex for_address = constant_regex(R"( for <?(\S+\@(\S+?))>?;)");
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

std::string_view fields_as_text(std::span<const Field> fields, std::pmr::memory_resource* memory) {
  std::size_t octets = 0;
  for (const Field& field : fields) octets += field.name.size() + 2 + field.line.size();
  char* const begin = static_cast<char*>(memory->allocate(octets, 1));
  char* to = begin;
  for (const Field& field : fields) {
    for (const std::string_view text : {field.name, std::string_view(": "), field.line}) {
      std::memcpy(to, text.data(), text.size());
      to += text.size();
    }
  }
  return {begin, octets};
}

}  // namespace

std::string_view keep(std::string_view text, std::pmr::memory_resource* memory) {
  char* const copy = static_cast<char*>(memory->allocate(text.size(), 1));
  std::memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

void prepare_view() { tables(); }

View::View(const scan::SpamRules& the_rules, scan::RegexScratch& the_scratch,
           const FlowFacts& facts, std::pmr::memory_resource* resource)
    : rules(the_rules),
      scratch(the_scratch),
      memory(resource),
      flow(facts),
      relays(resource),
      htmls(resource),
      rendered(resource),
      images(resource),
      uris(the_rules, the_scratch, resource),
      body(resource),
      body_ends(resource),
      notes_(resource) {}

// Fields from the n-th Received field on (ALL-EXTERNAL, ALL-UNTRUSTED) or up to it.
void View::received_range(std::string_view selector, Texts& out) const {
  const bool upper = selector == "ALL-TRUSTED" || selector == "ALL-INTERNAL";
  const int last = selector == "ALL-TRUSTED" || selector == "ALL-UNTRUSTED" ? relays.last_trusted
                                                                            : relays.last_internal;
  const int border = last + 1;
  int received = -1;
  const auto& fields = parts->header().fields();
  auto begin = fields.begin();
  auto end = fields.end();
  for (auto field = fields.begin(); field != fields.end(); ++field) {
    if (field->lower_name == "received" && ++received == border) {
      (upper ? end : begin) = upper ? field + 1 : field;
      break;
    }
  }
  if (!upper && received < border) begin = fields.end();
  if (begin != end) out.push_back(fields_as_text({begin, end}, memory));
}

std::optional<std::string_view> View::envelope_from() const {
  if (flow.has_mail_from) return flow.mail_from;
  const Relay* hop = !relays.untrusted.empty() ? &relays.untrusted.front()
                     : !relays.trusted.empty() ? &relays.trusted.back()
                                               : nullptr;
  if (hop != nullptr && hop->has_envelope_from &&
      (hop->envelope_from.empty() || hop->envelope_from.find('@', 1) != std::string_view::npos)) {
    return hop->envelope_from;
  }
  const auto first_address = [&](const Selector& selector) -> std::optional<std::string_view> {
    const Texts& found = values(selector);
    if (found.empty()) return std::nullopt;
    return found.front();
  };
  const auto& fields = parts->header().fields();
  if (const auto sender = first_address("X-Sender:first:addr");
      sender && sender->find('@') != std::string_view::npos) {
    for (const Field& field : fields) {
      if (field.lower_name == "received" && sluice::spam::has(field.value, "(fetchmail"))
        return std::nullopt;
    }
  }
  // A field below a Received one may be that of another delivery.
  const auto below_received = [&](std::string_view name) {
    bool received = false;
    for (const Field& field : fields) {
      if (field.lower_name == "received") received = true;
      if (received && field.lower_name == name) return true;
    }
    return false;
  };
  if (auto found = first_address("X-Envelope-From:first:addr")) {
    if (below_received("x-envelope-from")) return std::nullopt;
    return found;
  }
  if (auto found = first_address("Envelope-Sender:first:addr");
      found && !below_received("envelope-sender"))
    return found;
  if (auto found = first_address("Return-Path:first:addr"); found && !below_received("return-path"))
    return found;
  return std::nullopt;
}

const scan::FieldNames& View::read_names() const {
  names_.emplace();
  for (const Field& one : parts->header().fields()) names_->add(one.hash);
  return *names_;
}

View::Entry& View::entry(const Selector& selector) const {
  Entry*& place = entries_[selector.hash >> 40 & (kPlaces - 1)];
  for (Entry* known = place; known != nullptr; known = known->next) {
    if (known->selector.hash == selector.hash && known->name == selector.name) return *known;
  }
  std::pmr::polymorphic_allocator<> allocator(memory);
  Entry* made = allocator.new_object<Entry>(selector, memory);
  read_values(made->name, made->values);
  // Reading may have read others.
  made->next = place;
  place = made;
  return *made;
}

const Texts& View::values(const Selector& selector) const {
  static const Texts kNone;
  return lacks(selector.field) ? kNone : entry(selector).values;
}

void View::read_values(std::string_view selector, Texts& out) const {
  const Request request = read_request(selector);
  const HeaderList& header = parts->header();
  const bool needs_raw = request.raw || request.address || request.display;
  const auto take_hashed = [&](std::string_view name, std::uint64_t hash, bool raw) {
    for (const Field& field : header.fields()) {
      if (field.hash == hash && equals_lower(name, field.lower_name))
        out.push_back(raw ? field.raw : field.line);
    }
  };
  const auto take_field = [&](std::string_view name, bool raw) {
    take_hashed(name, scan::FieldNames::hash(name), raw);
  };
  const auto is = [&](std::string_view name) { return equals_lower(request.name, name); };
  if (const std::uint64_t hash = scan::FieldNames::of_selector(selector);
      hash != scan::FieldNames::kNoField) {
    take_hashed(request.name, hash, needs_raw);
  } else if (request.name == "ALL") {
    out.push_back(request.raw ? parts->pristine_header() : fields_as_text(header.fields(), memory));
    return;
  } else if (request.name.starts_with("ALL-")) {
    return received_range(request.name, out);
  } else if (is("envelopefrom")) {
    if (const auto from = envelope_from()) out.push_back(*from);
  } else if (is("x-spam-relays-untrusted")) {
    out.push_back(relays.untrusted_text);
  } else if (is("x-spam-relays-trusted")) {
    out.push_back(relays.trusted_text);
  } else if (is("x-spam-relays-external")) {
    out.push_back(relays.external_text);
  } else if (is("x-spam-relays-internal")) {
    out.push_back(relays.internal_text);
  } else if (is("tocc")) {
    take_field("to", request.raw);
    take_field("cc", request.raw);
  } else if (request.name == "MESSAGEID") {
    for (const std::string_view field :
         {"x-message-id", "resent-message-id", "x-original-message-id", "message-id"}) {
      take_field(field, request.raw);
    }
  } else {
    take_field(request.name, needs_raw);
  }
  if (out.empty()) return;
  if (request.first) {
    out.erase(out.begin() + 1, out.end());
  } else if (request.last) {
    out.erase(out.begin(), out.end() - 1);
  }
  if (request.address || request.display) {
    Texts found(memory);
    std::pmr::vector<NamedAddress> addresses(memory);
    addresses.reserve(kUsualAddresses);
    for (const std::string_view line : out) {
      addresses.clear();
      read_addresses(line, scratch, addresses);
      for (const NamedAddress& address : addresses) {
        if (request.address) {
          if (address.has_address) found.push_back(address.address);
        } else if (address.has_name) {
          if (request.raw) {
            found.push_back(address.name);
            continue;
          }
          String decoded(memory);
          decode_header(address.name, "", decoded);
          std::string_view name = decoded;
          if (!trim(name).empty()) {
            squeeze(decoded);
            name = trim(decoded);
            if (name.size() > 1 && name.front() == '\'' && name.back() == '\'')
              name = name.substr(1, name.size() - 2);
          }
          found.push_back(keep(name, memory));
        }
      }
    }
    out = std::move(found);
  }
  if (!request.host && !request.ip) return;
  Texts found(memory);
  scan::Regex::Match m;
  for (const std::string_view line : out) {
    if (request.ip) {
      if (!tables().ip.find(line, scratch, &m)) continue;
      found.push_back(m.group(line, 1));
      continue;
    }
    std::string_view host;
    if (request.address) {
      const std::size_t at = line.rfind('@');
      if (at != std::string_view::npos) host = line.substr(at + 1);
    } else if (tables().host.find(line, scratch, &m)) {
      host = m.group(line, 1);
    }
    if (host.empty()) continue;
    if (request.domain) {
      String lowered(host, memory);
      lower(lowered);
      host = keep(uris.domains().registered(lowered), memory);
    }
    found.push_back(host);
  }
  out = std::move(found);
}

std::optional<std::string_view> View::joined(const Selector& selector, String& buffer) const {
  if (selector.field != scan::FieldNames::kNoField &&
      selector.name.find(':') == std::string_view::npos) {
    std::string_view all;
    std::size_t count = 0;
    for (const Field& one : parts->header().fields()) {
      if (one.hash != selector.hash || !equals_lower(selector.name, one.lower_name)) continue;
      if (++count == 1) {
        all = one.line;
        continue;
      }
      if (count == 2) buffer = all;
      buffer += one.line;
      all = buffer;
    }
    if (count == 0) return std::nullopt;
    return all;
  }
  const Texts& found = values(selector);
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return found.front();
  buffer.clear();
  const bool newline = found.front().ends_with('\n');
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i > 0 && !newline) buffer += '\n';
    buffer += found[i];
  }
  return buffer;
}

std::string_view View::get(const Selector& selector) const {
  if (lacks(selector.field)) return {};
  Entry& of = entry(selector);
  if (of.values.empty()) return {};
  std::string_view first = of.values.front();
  const bool one = selector.name.find(":addr") != std::string_view::npos ||
                   selector.name.find(":name") != std::string_view::npos ||
                   selector.name.find(":host") != std::string_view::npos ||
                   selector.name == "EnvelopeFrom";
  if (one) {
    if (first.ends_with('\n')) first.remove_suffix(1);
    return first;
  }
  if (of.values.size() == 1) return first;
  if (of.all.empty()) {
    for (const std::string_view value : of.values) of.all += value;
  }
  return of.all;
}

const Strings& View::from_addresses() const {
  if (from_addresses_) return *from_addresses_;
  Strings& all = from_addresses_.emplace(memory);
  const auto add = [&](const Selector& selector) {
    for (const std::string_view address : values(selector)) {
      // Some write two dots.
      String clean(memory);
      for (const char c : address) {
        if (c == '.' && clean.ends_with('.')) continue;
        clean += to_lower(c);
      }
      if (!clean.empty() && std::find(all.begin(), all.end(), clean) == all.end())
        all.push_back(std::move(clean));
    }
  };
  add("Resent-From:first:addr");
  if (!all.empty()) return all;
  static constexpr Selector kSenders[] = {"From:addr", "Envelope-Sender:addr", "Resent-Sender:addr",
                                          "X-Envelope-From:addr", "EnvelopeFrom:addr"};
  for (const Selector& selector : kSenders) add(selector);
  return all;
}

}  // namespace sluice::spam
